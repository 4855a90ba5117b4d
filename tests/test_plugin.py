"""Models of somebody else's: they keep the contract of kgrec.testing unedited."""

import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import pytest

from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.testing import ModelContract, trained
from kgrec.testing.model_checks import withheld_items_are_left_alone

PLUGIN = Path(__file__).parent / "plugin"


@pytest.fixture(scope="module", autouse=True)
def on_the_path() -> Iterator[None]:
    """The package's folder, as if it were installed without its entry points."""
    sys.path.insert(0, str(PLUGIN))
    yield
    sys.path.remove(str(PLUGIN))


class TestMultVAE(ModelContract):
    """Mult-VAE has one batch or a few an epoch, so it needs more of them."""

    model = "kgrec_extra.multvae"
    config: ClassVar = {"hidden": 32, "dim": 16, "batch_size": 20, "lr": 0.01}
    epochs = 30


def test_a_multvae_whose_softmax_is_over_withheld_items_breaks_the_contract() -> None:
    """It learns as well as the other, and pushes down what nobody could have had."""
    from kgrec_extra import multvae

    class DrawsWithheld(multvae.MultVAE):
        def objectives(self, graph: Graph) -> list[Objective]:
            return super().objectives(replace(graph, withheld=None))

    multvae.DrawsWithheld = DrawsWithheld
    subject = trained("kgrec_extra.multvae:DrawsWithheld", TestMultVAE.config, TestMultVAE.epochs)
    with pytest.raises(AssertionError, match=r"gradient for \['decoder\.2\.bias', 'decoder\.2\.weight'\]"):
        withheld_items_are_left_alone(subject)


def test_a_model_is_one_file_of_at_most_80_lines() -> None:
    lines = {path.name: len(path.read_text().splitlines()) for path in PLUGIN.rglob("*.py")}
    assert "multvae.py" in lines
    assert max(lines.values()) <= 80

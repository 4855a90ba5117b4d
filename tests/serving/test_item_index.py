"""An approximate index of items: what it finds is scored exactly, and it goes with one run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from kgrec import models
from kgrec.cli.entry import app
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.serving.item_index import PAYS, ItemIndex, index_advice
from kgrec.serving.list_options import ListOptions
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted
from kgrec.training.config import TrainingConfig
from tests.serving.test_service import said

pytest.importorskip("usearch", reason="needs the extra `index`")


@pytest.fixture(scope="module")
def folder(planted: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run of MF with biases of items, which count in its products, and its index beside it."""
    out, config = tmp_path_factory.mktemp("runs") / "mf.run", {"dim": 8, "biases": True}
    train("mf", planted, config=config, training=TrainingConfig(epochs=1), split="last_n:1", out=out)
    assert CliRunner().invoke(app, ["index", str(out)]).exit_code == 0
    return out


def test_lists_by_the_index_are_the_exact_ones(folder: Path) -> None:
    """40 items are few enough that all are found, whatever is left out of a list."""
    run = Run.load(folder)
    asked = [Wanted(f"u{number}", options=ListOptions(k=7)) for number in range(30)]
    asked += [Wanted("u1", options=ListOptions(k=7, include_seen=True)), Wanted("u1", options=ListOptions(k=40))]
    asked += [Wanted("u2", options=ListOptions(k=3, where="has_genre=g1")), Wanted(history=["i1", "i2"])]
    by_index = Service(run, index=f"{folder}.index").recommend(asked)
    assert said(by_index) == said(Service(run).recommend(asked))


def test_the_folder_says_what_was_measured_and_the_run_is_as_it_was(folder: Path) -> None:
    about = json.loads(Path(f"{folder}.index/index.json").read_text())
    assert about["measured"]["recall@10"] == 1.0
    assert (about["num_items"], about["measured"]["users"]) == (40, 60)
    assert Run.load(folder).name == "mf"
    refused = CliRunner().invoke(app, ["index", str(folder)])
    assert isinstance(refused.exception, KgrecError)
    assert f"{folder}.index" in str(refused.exception)
    again = CliRunner().invoke(app, ["index", str(folder), "--overwrite", "--json"])
    assert json.loads(again.stdout)["recall@10"] == 1.0


def test_an_index_of_another_run_or_an_altered_one_is_refused(folder: Path, planted: Graph, tmp_path: Path) -> None:
    run = Run.load(folder)
    with pytest.raises(KgrecError, match=r"is no index: it has no index.json; make one with `kgrec index RUN`"):
        Service(run, index=tmp_path)
    other = tmp_path / "mf.run"
    train("mf", planted, config={"dim": 8}, training=TrainingConfig(epochs=1), split="last_n:1", out=other)
    with pytest.raises(KgrecError, match="is the index of another run than"):
        Service(Run.load(other), index=f"{folder}.index")
    copy = tmp_path / "copy.index"
    ItemIndex.of(run).save(run, copy, {})
    (copy / "items.usearch").write_bytes(b"nothing")
    with pytest.raises(KgrecError, match=r"items.usearch is missing, truncated or altered"):
        Service(run, index=copy)


def test_a_model_without_products_has_no_index_and_an_index_is_advised_for_many_items(planted: Graph) -> None:
    with pytest.raises(KgrecError, match="ease has no vectors of users and items whose products are its scores"):
        ItemIndex.of(Run("ease", models.build("ease", planted), planted))
    few = Run("mf", models.build("mf", planted, {"dim": 8}), planted)
    many = Run("mf", models.build("mf", planted, {"dim": PAYS // 40}), planted)
    assert index_advice(few) is None
    assert Service(few).advice is None
    assert str(Service(many).advice).startswith(f"40 items of {PAYS // 40} numbers are scored for each request")

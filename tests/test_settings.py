"""Settings from text, and the messages for wrong ones."""

from __future__ import annotations

import json
from dataclasses import FrozenInstanceError, field
from pathlib import Path
from typing import Annotated, ClassVar, Literal

import pydantic
import pytest
from pydantic import PositiveInt

from kgrec import models
from kgrec._deprecation import FormerName
from kgrec.errors import KgrecError, UnknownName
from kgrec.run import Run, train
from kgrec.settings import (
    FieldInfo,
    configure,
    describe,
    former_names,
    parse_assignments,
    settings,
    stored_settings,
)
from kgrec.training.config import AdversarialConfig, TrainingConfig
from kgrec.training.job import TrainingJob


def config_of(model: str) -> type:
    return models.find(model).Config


@settings
class Config:
    dim: int = 64
    lr: float = 1e-3
    combine: Literal["sum", "attention"] = "sum"
    layers: tuple[int, ...] = (64, 32)
    patience: int | None = 10
    bias: bool = True
    decay: Literal["none", "linear"] = "linear"


@settings
class Ends:
    first: int = 1
    last: int = 2

    def __post_init__(self) -> None:
        if self.first > self.last:
            raise ValueError("first is after last")


def test_text_becomes_what_the_field_is():
    made = configure(Config, {"dim": "32", "lr": "1e-2", "layers": "[8, 4,]", "patience": "none", "bias": "false"})
    assert (made.dim, made.lr, made.layers, made.patience, made.bias) == (32, 0.01, (8, 4), None, False)
    assert configure(Config, {}) == Config()
    assert configure(Config, {"dim": 8, "layers": (1,)}) == Config(dim=8, layers=(1,))
    assert configure(Config, {"decay": "none"}).decay == "none"


def test_settings_do_not_change():
    with pytest.raises(FrozenInstanceError):
        Config().dim = 3


def test_an_unknown_field_names_the_near_one():
    with pytest.raises(UnknownName, match=r"no field 'dims' of mf; did you mean 'dim'\? There are: dim, lr, combine"):
        configure(Config, {"dims": "32"}, what="mf")


def test_a_wrong_value_names_field_value_and_kind():
    with pytest.raises(KgrecError, match=r"dim='many' of Config: .*valid integer.*; the field is whole number"):
        configure(Config, {"dim": "many"})
    with pytest.raises(KgrecError, match=r"combine='max' of mf: Input should be 'sum' or 'attention'"):
        configure(Config, {"combine": "max"}, what="mf")
    with pytest.raises(KgrecError, match=r"dim='1.5'.*\n?.*lr='x'"):
        configure(Config, {"dim": "1.5", "lr": "x"})
    with pytest.raises(KgrecError, match=r"dim='none' of Config: Input should be a valid integer"):
        configure(Config, {"dim": "none"})


def test_a_choice_in_another_case_is_nearly_right():
    with pytest.raises(KgrecError, match=r"'sum' or 'attention'; did you mean 'sum'\?$"):
        configure(Config, {"combine": "SUM"}, what="mf")


def test_what_the_class_itself_refuses_is_said_without_a_field():
    with pytest.raises(KgrecError, match=r"^Ends: Value error, first is after last$"):
        configure(Ends, {"first": "5"})


def test_assignments():
    assert parse_assignments(["dim=64", "training.epochs = 5", "note=a=b", "x="]) == {
        "dim": "64",
        "training.epochs": "5",
        "note": "a=b",
        "x": "",
    }
    with pytest.raises(KgrecError, match=r"--set 'dim': write it as field=value, such as dim=64"):
        parse_assignments(["dim"])


# ---------------------------------------------------------------------- former names


@settings
class Before:
    l2: float = 0.5
    init_std: float = 0.1

    FORMER: ClassVar = {"reg": "l2", "std": "init_std"}


@settings
class After(Before):
    std: int = 3  # a name that is a field again


def test_a_former_name_is_accepted_with_a_warning_of_the_line_that_used_it():
    with pytest.warns(
        FormerName, match=r"the setting 'reg' of mf is now 'l2'; the former name will be removed"
    ) as seen:
        made = configure(Before, {"reg": "0.25"}, "mf")
    assert (made.l2, made.init_std) == (0.25, 0.1) and seen[0].filename == __file__
    with pytest.warns(FormerName, match="'std' of Before is now 'init_std'") as seen:
        assert Before(std=2.0) == Before(init_std=2.0)
    assert len(seen) == 1 and seen[0].filename == __file__


def test_a_former_name_that_is_a_field_again_is_that_field():
    assert former_names(After) == {"reg": "l2"}
    assert configure(After, {"std": "4"}) == After(init_std=0.1, std=4)


def test_both_names_of_a_field_are_refused():
    with pytest.raises(KgrecError, match="'reg' of ials is the former name of 'l2', and both are set; leave 'reg' out"):
        configure(Before, {"reg": 1, "l2": 2}, "ials")


def test_former_names_of_what_was_kept_are_no_reason_for_a_warning():
    with stored_settings():
        assert configure(Before, {"reg": 1}).l2 == 1
    with pytest.warns(FormerName):
        configure(Before, {"reg": 1})


@pytest.mark.parametrize(
    ("model", "former", "present"),
    [
        ("ials", {"reg": 0.5, "std": 0.2}, {"l2": 0.5, "init_std": 0.2}),
        ("ncf", {"layers": [4]}, {"hidden": (4,)}),
        ("neumf", {"layers": [4]}, {"hidden": (4,)}),
        ("kgat", {"layers": [4]}, {"layer_dims": (4,)}),
        ("kgatseq", {"layers": [4]}, {"layer_dims": (4,)}),
        ("kgatseq", {"over": "gru"}, {"encoder": "gruatt"}),
        ("kgatseq", {"over": "self-attention"}, {"encoder": "sasrec"}),
        ("irgan", {"rows": 4}, {"adversarial_batch_size": 4}),
        ("dnen", {"rows": 4}, {"adversarial_batch_size": 4}),
        ("gan", {"turn": "epoch"}, {"alternate": "epoch"}),
        ("cke", {"noise": 0.5, "rebuilding": 2.0}, {"input_dropout": 0.5, "reconstruction_weight": 2.0}),
        ("xsimgcl", {"contrast": 0.5}, {"contrast_weight": 0.5}),
    ],
)
def test_former_settings_of_models(model, former, present):
    kind = models.find(model).Config
    with pytest.warns(FormerName):
        assert configure(kind, former, model) == kind(**present)
    with pytest.warns(FormerName):
        assert TrainingJob(model, config=former).config == dict(zip(present, former.values()))


def test_a_run_of_before_is_loaded_without_a_warning(tmp_path, planted):
    config = {"dim": 4, "l2": 0.25, "init_std": 0.2, "iterations": 2}
    made = train("ials", planted, split="last_n:1", config=config, out=tmp_path / "run")
    file = tmp_path / "run/config.json"
    document = json.loads(file.read_text())
    former = {"dim": "dim", "alpha": "alpha", "l2": "reg", "nu": "nu", "iterations": "iterations", "init_std": "std"}
    document["config"] = {before: document["config"][name] for name, before in {**former, "seed": "seed"}.items()}
    file.write_text(json.dumps(document))
    found = Run.load(tmp_path / "run")  # pytest makes an error of a warning
    assert found.model.config == made.model.config and found.model.config.l2 == 0.25


class Interrupt(Exception):
    """In the place of Ctrl-C."""


def test_a_training_that_was_begun_before_goes_on(tmp_path, planted):
    def stop(epoch, metrics):
        if epoch.number == 2:
            raise Interrupt

    how = {"split": "last_n:1", "config": {"dim": 4, "hidden": [4]}, "training": TrainingConfig(epochs=3, device="cpu")}
    straight = train("ncf", planted, **how)
    with pytest.raises(Interrupt):
        train("ncf", planted, out=tmp_path / "run", report=stop, **how)
    file = tmp_path / "run.checkpoint/state.json"
    document = json.loads(file.read_text())
    document["job"]["config"] = {"dim": 4, "layers": document["job"]["config"]["hidden"]}
    file.write_text(json.dumps(document))
    resumed = train("ncf", planted, out=tmp_path / "run", resume=True, **how)
    assert resumed.metrics["test"] == straight.metrics["test"]


# ---------------------------------------------------------------------- what the fields are


@settings
class Told:
    dim: PositiveInt = 64  #: numbers in a vector
    #: chance in training,
    #: on two lines
    dropout: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.5
    loss: Literal["bpr", "bce"] | None = "bpr"  #: which loss,
    #: or none
    widths: tuple[PositiveInt, ...] = (8, 4)  #: of layers
    seed: int = pydantic.Field(default=0, description="said by pydantic")  #: not by this
    path: Path | None = None
    extra: dict[str, int] = field(default_factory=dict)  #: whatever else


@settings
class More(Told):
    dim: PositiveInt = 32
    name: str = field(kw_only=True)  #: what it is called


def test_describe_says_what_a_field_is():
    found = {one.name: one for one in describe(Told)}
    assert found["dim"] == FieldInfo("dim", "whole number", 64, False, (), "more than 0", "numbers in a vector", None)
    assert found["dropout"].bounds == "at least 0, less than 1"
    assert found["dropout"].meaning == "chance in training, on two lines"
    assert found["loss"].choices == ("bpr", "bce", None) and found["loss"].meaning == "which loss, or none"
    assert (found["widths"].type, found["widths"].bounds) == ("list of whole numbers", "each more than 0")
    assert (found["widths"].default, found["widths"].meaning) == ([8, 4], "of layers")
    assert (found["seed"].default, found["seed"].meaning) == (0, "said by pydantic")
    assert (found["path"].type, found["path"].meaning) == ("path, or none", "")
    assert (found["extra"].type, found["extra"].default) == ("mapping", {})


def test_describe_follows_the_bases():
    found = {one.name: one for one in describe(More)}
    assert found["dim"].default == 32 and found["dim"].inherited_from is None
    assert found["dim"].meaning == "numbers in a vector"  # by the base: this class has no other
    assert found["loss"].inherited_from == "Told"
    assert found["name"].required and not found["dim"].required


def test_a_dataclass_of_no_file_has_no_texts():
    namespace: dict = {"__name__": __name__}
    exec("import dataclasses\n@dataclasses.dataclass\nclass Typed:\n    dim: int = 3  #: lost\n", namespace)
    assert [(one.name, one.default, one.meaning) for one in describe(namespace["Typed"])] == [("dim", 3, "")]


@pytest.mark.parametrize("kind", [AdversarialConfig, TrainingConfig, TrainingJob, *map(config_of, models.names())])
def test_every_field_says_what_it_means(kind):
    without = [one.name for one in describe(kind) if len(one.meaning) < 5]
    assert without == []


def test_a_wrong_choice_names_the_near_one():
    with pytest.raises(KgrecError, match=r"loss='bprr' of mf: Input should be 'bpr' or 'bce'; did you mean 'bpr'\?"):
        configure(Told, {"loss": "bprr"}, "mf")

"""Settings from text, and the messages for wrong ones."""

from __future__ import annotations

from dataclasses import FrozenInstanceError
from typing import Literal

import pytest

from kgrec.errors import KgrecError, UnknownName
from kgrec.settings import configure, parse_assignments, settings


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
    with pytest.raises(KgrecError, match=r"dim='many' of Config: .*valid integer.*; the field is int"):
        configure(Config, {"dim": "many"})
    with pytest.raises(KgrecError, match=r"combine='max' of mf: Input should be 'sum' or 'attention'"):
        configure(Config, {"combine": "max"}, what="mf")
    with pytest.raises(KgrecError, match=r"dim='1.5'.*\n?.*lr='x'"):
        configure(Config, {"dim": "1.5", "lr": "x"})
    with pytest.raises(KgrecError, match=r"dim='none' of Config: Input should be a valid integer"):
        configure(Config, {"dim": "none"})


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
    with pytest.raises(KgrecError, match=r"--set 'dim' is not of the form field=value"):
        parse_assignments(["dim"])

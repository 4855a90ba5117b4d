"""How the checks are run: as a class to inherit, as parameters of a test, or all at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from kgrec.testing.model_checks import CHECKS
from kgrec.testing.subject import EPOCHS, Model, Subject, trained

Config = Mapping[str, Any]  #: some of a model's settings
Skips = Mapping[str, str]  #: names of checks that a model cannot pass, and why


class ModelContract:
    """The contract as a class to inherit: see the module's beginning."""

    model: ClassVar[Model]  #: a name of `kgrec models`, a dotted path, or the class
    config: ClassVar[Config] = {}  #: settings for a graph of 60 users
    epochs: ClassVar[int] = EPOCHS  #: so many as it needs to learn there
    skips: ClassVar[Skips] = {}  #: by name of a check, why it cannot be passed

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(self, check: Callable[[Subject], None]) -> None:
        """Each check is a case."""
        _run(check, self.model, self.config, self.epochs, self.skips)


def checks(
    model: Model,
    config: Config | None = None,
    *,
    epochs: int = EPOCHS,
    skips: Skips | None = None,
) -> list[Any]:
    """The checks of a model as parameters for pytest, each to be called without arguments. skips: names of checks that
    it cannot pass, and why."""
    name = model if isinstance(model, str) else model.__name__
    return [
        pytest.param(functools.partial(_run, check, model, config, epochs, skips or {}), id=f"{name}-{check.__name__}")
        for check in CHECKS
    ]


def check_model(
    model: Model,
    config: Config | None = None,
    *,
    epochs: int = EPOCHS,
    skips: Skips | None = None,
) -> dict[str, str]:
    """Run all checks of a model; returns for each `passed`, or `skipped: ` and why. Raises AssertionError with all that
    failed."""
    result, failed = {}, []
    for check in CHECKS:
        try:
            _run(check, model, config, epochs, skips or {})
            result[check.__name__] = "passed"
        except pytest.skip.Exception as reason:
            result[check.__name__] = f"skipped: {reason}"
        except Exception as error:
            failed.append(f"{check.__name__}: {error}")
    assert not failed, f"{len(failed)} of {len(CHECKS)} checks failed\n" + "\n".join(failed)
    return result


def _run(
    check: Callable[[Subject], None],
    model: Model,
    config: Config | None,
    epochs: int,
    skips: Skips,
) -> None:
    wrong = set(skips) - {one.__name__ for one in CHECKS}
    assert not wrong, f"skips names {sorted(wrong)}, which are no checks"
    if check.__name__ in skips:
        pytest.skip(skips[check.__name__])
    check(trained(model, config, epochs))

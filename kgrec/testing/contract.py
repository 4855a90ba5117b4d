"""Ways to run the checks: as a class to inherit, as parameters of a test, or all at once."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, ClassVar

import pytest

from kgrec.testing.model_checks import CHECKS
from kgrec.testing.subject import EPOCHS, Model, Subject, trained

Config = Mapping[str, Any]  #: settings of a model; the others have their defaults
Skips = Mapping[str, str]  #: names of checks that a model cannot pass, each with the reason


class ModelContract:
    """The contract as a class to inherit; see the docstring of `kgrec.testing`."""

    model: ClassVar[Model]  #: a name of `kgrec models`, a dotted path, or the class
    config: ClassVar[Config] = {}  #: settings for a graph of 60 users
    epochs: ClassVar[int] = EPOCHS  #: as many as it needs to learn from this graph
    skips: ClassVar[Skips] = {}  #: names of checks that it cannot pass, each with the reason

    @pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
    def test_contract(self, check: Callable[[Subject], None]) -> None:
        """Runs one check; each check is a test case."""
        _run(check, self.model, self.config, self.epochs, self.skips)


def checks(
    model: Model,
    config: Config | None = None,
    *,
    epochs: int = EPOCHS,
    skips: Skips | None = None,
) -> list[Any]:
    """The checks of a model as parameters for pytest; each is called without arguments. skips: names of checks that it
    cannot pass, each with the reason."""
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
    """Run all checks of a model. Returns for each check `passed`, or `skipped: ` with the reason. Raises AssertionError
    with all checks that failed."""
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
    assert not wrong, f"skips names {sorted(wrong)}, but there are no such checks; see kgrec.testing.CHECKS"
    if check.__name__ in skips:
        pytest.skip(skips[check.__name__])
    check(trained(model, config, epochs))

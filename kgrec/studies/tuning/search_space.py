"""The search space of a tuning: which settings are varied, over what range, and where the search starts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kgrec import models
from kgrec.errors import KgrecError, unknown_name
from kgrec.search_ranges import Between, OneOf, SearchRange, ranges_of
from kgrec.settings import assigned, configure, describe
from kgrec.training.job import TrainingJob

FORM = "write it as FIELD=LOW..HIGH, such as lr=0.001..0.1, or as FIELD=A,B,C, such as dim=32,64,128"
WIDE = 100  #: a range whose high end is so many times the low one is searched on a log scale
DIGITS = 4  #: significant digits of a number that a trial tries


@dataclass(frozen=True)
class Searched:
    """A setting that trials vary."""

    name: str
    range: SearchRange
    start: Any  #: the value of the first trial
    is_whole: bool  #: whether it is a whole number

    @property
    def words(self) -> str:
        """The setting in plain words, such as `lr: 0.001 to 0.1, on a log scale`."""
        return f"{self.name}: {self.range.words}"

    def distribution(self) -> Any:
        """The same as Optuna takes it."""
        from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution

        if isinstance(self.range, OneOf):
            return CategoricalDistribution(self.range.values)
        low, high, log = self.range.low, self.range.high, self.range.log
        return IntDistribution(int(low), int(high), log=log) if self.is_whole else FloatDistribution(low, high, log=log)


def rounded(value: Any) -> Any:
    """A value as a trial tries it: a number with four significant digits, anything else unchanged.

    >>> rounded(0.0123456), rounded(64), rounded("bpr")
    (0.01235, 64, 'bpr')
    """
    return float(f"{value:.{DIGITS}g}") if isinstance(value, float) else value


def search_space(job: TrainingJob, fixed: Mapping[str, Any], wanted: Mapping[str, Any]) -> tuple[Searched, ...]:
    """The settings that trials of a job vary: those for which the settings class has a range, except those that the
    user sets, and those of `wanted`.

    job: with all settings of the first trial; fixed: the settings that the user has set; wanted: ranges of the user, by
    field, as texts or as ranges. Raises UnknownName for an unknown field; KgrecError for a range that cannot be read,
    that has values which the field does not take, or that leaves out the value of the first trial.
    """
    kind, what = models.find(job.model).Config, f"model {job.model!r}"
    config: Any = configure(kind, job.fields, what)
    known = {field.name: field for field in describe(kind)}
    declared = ranges_of(kind, job.trained_for)
    chosen: dict[str, SearchRange] = {name: one for name, one in declared.items() if name not in fixed}
    for name, one in wanted.items():
        if name not in known:
            raise unknown_name("field", name, known, f"of {what}")
        read = one if isinstance(one, Between | OneOf) else _read(name, str(one), known[name].type)
        chosen[name] = _checked(name, read, job, config)
    found = []
    for name, one in chosen.items():
        start = getattr(config, name)
        own = declared.get(name)
        if start is None and isinstance(own, Between) and own.none_is:
            start = getattr(config, own.none_is)
        if start not in one:
            if name in (job.config.keys() - fixed.keys()) - wanted.keys():
                continue  # a setting of the purpose that is outside the usual range stays as it is
            said = "value" if name in fixed else "default"
            raise KgrecError(
                f"the range of {name}, {one.words}, leaves out its {said} {assigned(start)}; the first trial has it, "
                f"so that no search ends below it: widen the range, or start elsewhere with --set {name}=VALUE"
            )
        found.append(Searched(name, one, start, known[name].type.startswith("whole number")))
    return tuple(found)


def parse_ranges(texts: Sequence[str]) -> dict[str, str]:
    """`["lr=0.001..0.1"]` as a dict. Raises KgrecError for one without `=`, and for a field that is named twice.

    >>> parse_ranges(["lr=0.001..0.1", "dim=32,64"])
    {'lr': '0.001..0.1', 'dim': '32,64'}
    """
    found: dict[str, str] = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals or not value.strip():
            raise KgrecError(f"--range {text!r}: {FORM}")
        if name.strip() in found:
            raise KgrecError(f"--range {text!r}: {name.strip()} has a range already; name each field once")
        found[name.strip()] = value.strip()
    return found


def _read(name: str, text: str, kind: str) -> SearchRange:
    """A range as a user writes it."""
    low, dots, high = text.partition("..")
    if not dots:
        return OneOf(tuple(one.strip() for one in text.split(",")))
    try:
        ends = float(low), float(high)
    except ValueError as error:
        raise KgrecError(f"range {text!r} of {name} has no numbers at its ends; {FORM}") from error
    if not (kind.startswith("whole number") or kind.startswith("number")):
        raise KgrecError(f"range {text!r} of {name}: the field is a {kind}; list its values, as in {name}=A,B,C")
    return Between(*ends, log=0 < ends[0] * WIDE <= ends[1])


def _checked(name: str, one: SearchRange, job: TrainingJob, config: Any) -> SearchRange:
    """The range, its values as the field has them. Raises KgrecError for a value that the field does not take."""
    kind = type(config)

    def read(value: Any) -> Any:
        return getattr(configure(kind, {**job.fields, name: value}, f"model {job.model!r}"), name)

    if isinstance(one, Between):
        if not one.low < one.high:
            raise KgrecError(f"the range of {name} goes from {one.low:g} to {one.high:g}; the first must be the lower")
        if one.log and one.low <= 0:
            raise KgrecError(f"the range of {name} begins at {one.low:g}, but a log scale needs more than 0")
        for end in (one.low, one.high):
            read(int(end) if end == int(end) else end)
        return one
    values = tuple(read(value) for value in one.values)
    for value in values:
        if not (value is None or isinstance(value, bool | int | float | str)):
            raise KgrecError(f"{name}={assigned(value)}: a list or mapping cannot be searched; set it with --set")
    if len(set(values)) < 2:
        raise KgrecError(f"the range of {name} has only {assigned(values[0])}; set it with --set {name}=...")
    return OneOf(values)

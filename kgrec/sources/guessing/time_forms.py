"""Which columns hold times: Unix times with their unit by range, ISO 8601, or a strptime format."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from kgrec.sources.tables.time_column import EARLIEST, NONE, PER_SECOND

CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M:%S %p", " %I:%M %p")
DAYS = (
    "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%m-%d-%Y", "%Y/%m/%d", "%Y.%m.%d", "%m/%d/%y", "%d/%m/%y",
    "%d.%m.%y", "%d-%b-%Y", "%d %b %Y", "%d %B %Y", "%b %d, %Y", "%B %d, %Y", "%m %d, %Y", "%d-%b-%y", "%b %d %Y",
    "%a %b %d", "%a, %d %b %Y",
)  # fmt: skip
OTHERS = ("%Y%m%d", "%Y%m%d%H%M%S", "%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M:%S %z %Y", "%d/%b/%Y:%H:%M:%S %z",
          "%Y-%m-%d-%H.%M.%S", "%Y-%m-%d %H:%M:%S UTC", "%Y-%m-%d %H:%M:%S.%f UTC", "%Y-%m-%d %H:%M UTC",
          "%Y-%m-%dT%H:%M:%S%z", "%d/%m/%Y, %H:%M", "%m/%d/%Y, %H:%M")  # fmt: skip
ISO = re.compile(r"^\d{4}-\d\d(-\d\d)?([T ]\d\d:\d\d(:\d\d([.,]\d+)?)?)?( ?(Z|[+-]\d\d:?\d\d))?$")
LOOKS = re.compile(
    r"^(\d[^:]*[/.\- ]|((mon|tue|wed|thu|fri|sat|sun|jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*\b.*)).*\d",
    re.IGNORECASE,
)
LONGEST = 40  #: characters of a date
MOST = 2000  #: values by which a form is found


@dataclass(frozen=True)
class TimeForm:
    """How a column's times are written. form: the keys of a recipe beside `column`."""

    form: dict[str, str]
    because: str
    share: float = 1.0  #: of the values that are times of this form
    other: dict[str, str] | None = None  #: another form that fits as well, such as the month before the day
    is_daily: bool = False


def time_form(values: Sequence[str]) -> TimeForm | None:
    """The form of the times among a column's values (not empty); None where most are no times."""
    few = [value.strip() for value in _spread(values)]
    if not few:
        return None
    numbers = _whole_numbers(few)
    if numbers is not None:
        return _unix(numbers) or _compact(few)
    if sum(len(value) <= LONGEST and bool(LOOKS.match(value)) for value in few) < 0.8 * len(few):
        return None
    iso = sum(bool(ISO.match(value)) for value in few) / len(few)
    if iso > 0.5 and _fit([value for value in few if ISO.match(value)][:200], "ISO8601") > 0.95:
        first, last = min(few)[:10], max(few)[:10]
        return TimeForm({"unit": "iso"}, f"ISO 8601, from {first} to {last}", iso, None, len(few[0]) <= 10)
    return _formatted(few)


def _spread(values: Sequence[str]) -> list[str]:
    """Some values from all places of a column."""
    step = max(1, len(values) // MOST)
    return list(values[::step])[:MOST]


def _whole_numbers(values: Sequence[str]) -> np.ndarray | None:
    if not all(re.fullmatch(r"\d{1,20}(\.0*|\.\d{1,6})?", value) for value in values):
        return None
    return np.array([float(value) for value in values])


def _unix(numbers: np.ndarray) -> TimeForm | None:
    """The unit that puts all numbers between 1980 and tomorrow."""
    latest = time.time() + 86_400
    for unit, scale in PER_SECOND.items():
        seconds = numbers / scale
        if ((seconds >= EARLIEST) & (seconds <= latest)).mean() > 0.99 and len(np.unique(numbers)) > 1:
            first, last = (pd.Timestamp(one, unit="s").date() for one in (seconds.min(), min(seconds.max(), latest)))
            return TimeForm({"unit": unit}, f"Unix times in {unit}, from {first} to {last}")
    return None


def _compact(values: Sequence[str]) -> TimeForm | None:
    """Dates such as 20240131."""
    if all(re.fullmatch(r"(19|20)\d{6}(\d{6})?", value) for value in values):
        form = "%Y%m%d" if len(values[0]) == 8 else "%Y%m%d%H%M%S"
        if _fit(values, form) > 0.99:
            return TimeForm({"format": form}, f"dates such as {values[0]}", is_daily=len(values[0]) == 8)
    return None


def _formatted(values: Sequence[str]) -> TimeForm | None:
    head = values[:60]
    candidates = [*(day + clock for day in DAYS for clock in CLOCKS), *OTHERS]
    shares = {form: _fit(values, form) for form in candidates if _fit(head, form) > 0.3}
    if not shares:
        return None
    best = max(shares.values())
    if best < 0.5:
        return None
    forms = [form for form, share in shares.items() if share > best - 0.001]
    chosen = min(forms, key=lambda form: _disorder(values, form)) if len(forms) > 1 else forms[0]
    same = [form for form in forms if form != chosen and _disorder(values, form) <= 2 * _disorder(values, chosen)]
    other = {"format": same[0]} if same and _differs(values, chosen, same[0]) else None
    said = f"dates such as {values[0]}, in the format {chosen}"
    if len(forms) > 1 and other is None:
        said += ", by which the rows are better in order than with the month and the day exchanged"
    return TimeForm({"format": chosen}, said, best, other, "%H" not in chosen and "%I" not in chosen)


def _fit(values: Sequence[str], form: str) -> float:
    """The share of values that have a format."""
    return float((_moments(values, form) != NONE).mean())


def _moments(values: Sequence[str], form: str) -> np.ndarray:
    """int64 [n]: seconds, NONE where a value does not have a format."""
    try:
        moments = pd.to_datetime(pd.Series(list(values), dtype=object), format=form, utc=True, errors="coerce")
    except (ValueError, TypeError, OverflowError):
        return np.full(len(values), NONE)
    return moments.to_numpy("datetime64[s]").astype(np.int64)


def _disorder(values: Sequence[str], form: str) -> float:
    """How far values in the order of rows go back in time, in days; or forward, where the latest come first."""
    moments = _moments(values, form)
    steps = np.diff(moments[moments != NONE])
    return float(np.minimum(-steps.clip(max=0).sum(), steps.clip(min=0).sum()) / 86_400)


def _differs(values: Sequence[str], one: str, other: str) -> bool:
    return bool((_moments(values, one) != _moments(values, other)).any())

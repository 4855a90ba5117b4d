"""What a race came to: tables, a plot, and a JSON file from which both are made again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import Any

from kgrec.files import whole
from kgrec.plots.charts import HEIGHT, line_chart, stacked
from kgrec.plots.markup import Markup
from racing.contestants import Training
from racing.curves import Point, best_of, highest, mean_curve, reached

SHARES = (0.95, 0.99)  #: of the best score
HEATS = {"tuned": "Equal tuning", "defaults": "Defaults"}
BEYOND = 1.3  #: how far the plot goes beyond the slowest time to the lower share


@dataclass
class Entry:
    """A contestant's trainings."""

    name: str
    not_run: str = ""  #: why it did not take part
    defaults: list[Training] = field(default_factory=list)  #: with the program's own defaults, one a seed
    trials: list[Training] = field(default_factory=list)  #: of the search
    tuned: list[Training] = field(default_factory=list)  #: with the settings that the search chose, one a seed

    def of(self, heat: str) -> list[Training]:
        """Its trainings in a heat, of HEATS."""
        return self.tuned if heat == "tuned" else self.defaults

    def curve(self, heat: str) -> list[Point]:
        """The mean of its trainings in a heat that did not fail."""
        return mean_curve([one.points for one in self.of(heat) if one.points and not one.failed])


@dataclass
class Results:
    """A whole race."""

    name: str
    title: str  #: the model and the data
    entries: Sequence[Entry]
    conditions: Mapping[str, Any]  #: what is the same for all, as the page says it

    @property
    def clock(self) -> str:
        """What the clock counted, as a heading has it."""
        return "CPU seconds" if self.conditions.get("clock") == "cpu" else "Seconds"

    @property
    def best(self) -> float:
        """The highest score of any contestant's mean curve, in any heat."""
        return highest(entry.curve(heat) for entry in self.entries for heat in HEATS)

    def seconds_to(self, entry: Entry, heat: str, share: float) -> Point | None:
        """When a contestant's mean curve comes to a share of the best."""
        return reached(entry.curve(heat), share * self.best)

    def first(self, heat: str, share: float) -> str | None:
        """The contestant that comes first to a share of the best; None: none comes there."""
        found = {one.name: self.seconds_to(one, heat, share) for one in self.entries}
        times = {name: point.seconds for name, point in found.items() if point is not None}
        return min(times, key=times.__getitem__) if times else None

    def figures(self) -> dict[str, float]:
        """Seconds by contestant, heat and share, for results.jsonl; what is not reached is left out."""
        found = {}
        for entry in self.entries:
            for heat in HEATS:
                for share in SHARES:
                    point = self.seconds_to(entry, heat, share)
                    if point is not None:
                        found[f"{entry.name}_{heat}_{share * 100:.0f}_seconds"] = point.seconds
        return {"best": self.best, **found}

    # ------------------------------------------------------------------ to read

    def tables(self) -> str:
        """A table of each heat in Markdown, with who is first."""
        lines = [f"Best score of any contestant: {self.best:.4f}."]
        for heat, title in HEATS.items():
            heads = ["Contestant", "Best NDCG@10", *(f"{self.clock} to {share:.0%}" for share in SHARES)]
            heads += [f"{self.clock} an epoch", "Set-up seconds", "Settings"]
            lines += ["", f"**{title}**", "", _row(heads), _row(["---"] * len(heads))]
            lines += [_row(self._cells(entry, heat)) for entry in self.entries]
            first = [f"{share:.0%}: {self.first(heat, share) or 'nobody'}" for share in SHARES]
            lines += ["", f"First to {', to '.join(first)}."]
        lines += ["", *(f"{entry.name}: {entry.not_run}" for entry in self.entries if entry.not_run)]
        return "\n".join(lines).rstrip() + "\n"

    def _cells(self, entry: Entry, heat: str) -> list[str]:
        curve, trainings = entry.curve(heat), entry.of(heat)
        if entry.not_run or not trainings:
            return [entry.name, "not run", *[""] * (len(SHARES) + 3)]
        settings = ", ".join(f"`{name}` {value}" for name, value in trainings[0].settings.items()) or "none set"
        if not curve:
            ended = next((one.ended for one in trainings if one.failed), "no list was scored")
            return [entry.name, ended.replace("|", "/"), *[""] * (len(SHARES) + 2), settings]
        setup = fmean(one.setup for one in trainings if not one.failed)
        times = [self._time(entry, heat, share) for share in SHARES]
        each = curve[-1].seconds / curve[-1].epoch
        return [entry.name, f"{best_of(curve):.4f}", *times, _short(each), f"{setup:.1f}", settings]

    def _time(self, entry: Entry, heat: str, share: float) -> str:
        """Seconds to a share of the best, the epoch, and the range over seeds where all of them come there."""
        point = self.seconds_to(entry, heat, share)
        if point is None:
            cut = any(one.ended == "time" for one in entry.of(heat))
            return "not in its time" if cut else "not reached"
        own = [reached(one.points, share * self.best) for one in entry.of(heat) if not one.failed]
        seconds = [one.seconds for one in own if one is not None]
        span = f", {_short(min(seconds))} to {_short(max(seconds))}" if len(seconds) == len(own) > 1 else ""
        return f"{_short(point.seconds)} (epoch {point.epoch}{span})"

    def plot(self) -> Markup:
        """The curves of both heats below each other: NDCG@10 over seconds of training."""
        charts = []
        for heat, title in HEATS.items():
            times = [self.seconds_to(entry, heat, SHARES[0]) for entry in self.entries]
            end = BEYOND * max((point.seconds for point in times if point is not None), default=float("inf"))
            series = {
                one.name: [(p.seconds, p.score) for p in one.curve(heat) if p.seconds <= end] for one in self.entries
            }
            shown = {name: _thinned(points) for name, points in series.items() if points}
            below = f"{self.clock} of training"
            charts.append(line_chart(f"{self.title}: {title.lower()}", shown, below, "NDCG@10 on valid"))
        return stacked(self.title, [(HEIGHT, chart) for chart in charts])

    # ------------------------------------------------------------------ on disk

    def save(self, path: Path) -> None:
        """Write a JSON file of all trainings, whole or not at all."""
        with whole(path, overwrite=True) as draft:
            draft.write_text(json.dumps(dataclasses.asdict(self)) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Results:
        """Read what `save` wrote."""
        found = json.loads(path.read_text(encoding="utf-8"))
        return cls(found["name"], found["title"], list(map(_entry, found["entries"])), found["conditions"])


def _entry(found: Mapping[str, Any]) -> Entry:
    def trainings(kind: str) -> Iterator[Training]:
        for one in found[kind]:
            yield Training(**{**one, "points": [Point(**point) for point in one["points"]]})

    return Entry(found["name"], found["not_run"], *(list(trainings(kind)) for kind in ("defaults", "trials", "tuned")))


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _short(seconds: float) -> str:
    return f"{seconds:.3f}" if seconds < 0.1 else f"{seconds:.2f}" if seconds < 10 else f"{seconds:.1f}"


def _thinned(points: Sequence[tuple[float, float]], most: int = 30) -> list[tuple[float, float]]:
    """At most so many points, so that a picture stays small: the last, and before it every so many."""
    every = -(-len(points) // most)
    return list(points[::-1][::every][::-1])

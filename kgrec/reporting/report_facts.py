"""Everything that a report and a model card say: of each run, and of all of them side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.reporting.list_facts import ListFacts, list_facts
from kgrec.reporting.run_facts import RunFacts, labels_of, read_run
from kgrec.run import Run
from kgrec.studies.comparison import Comparison, compare

MOST_USERS = 10_000  #: lists of at most so many users are described
EXAMPLES = 5  #: lists of so many users are shown


@dataclass(frozen=True, eq=False)
class ReportFacts:
    """What a report is written from."""

    runs: Sequence[RunFacts]
    lists: Mapping[str, ListFacts]  #: by the run's label, of runs that have results by user
    comparison: Comparison | None  #: None if there is one run, or if they may not be compared
    notes: Sequence[str]  #: of the report as a whole

    @property
    def title(self) -> str:
        return f"Report: {', '.join(run.label for run in self.runs)}"


def report_facts(
    runs: Sequence[str | Path],
    *,
    graph: str | Path | Graph | None = None,
    groups: str | None = None,
    k: int = 10,
    users: int = MOST_USERS,
    examples: int = EXAMPLES,
    trust: str | None = None,
    device: str = "cpu",
) -> ReportFacts:
    """Read runs and make their lists. Arguments, and what is raised, are those of `kgrec.report`."""
    paths = [Path(run) for run in runs]
    if not paths:
        raise KgrecError("there is no run to report; name one or more run folders")
    twice = {str(path) for path in paths if [one.resolve() for one in paths].count(path.resolve()) > 1}
    if twice:
        raise KgrecError(f"{', '.join(sorted(twice))} is named twice; name each run once")
    for name, value, least in (("k", k, 1), ("users", users, 1), ("examples", examples, 0)):
        if value < least:
            raise KgrecError(f"{name} is {value}, but must be at least {least}")
    found = [read_run(path, label) for path, label in zip(paths, labels_of(paths))]
    whole = Graph.load(graph) if isinstance(graph, str | Path) else graph
    notes, lists = list[str](), dict[str, ListFacts]()
    graphs = {run.graph for run in found}
    if whole is not None and len(graphs) > 1:
        raise KgrecError(
            f"the runs are of {len(graphs)} different graphs, so one graph cannot be held against all; report the runs "
            "of each graph alone, or leave --graph out"
        )
    kept: dict[Any, Any] = {}
    for run in found:
        if run.measured is None:
            continue
        loaded = Run.load(run.path, trust=trust, device=device)
        lists[run.label] = list_facts(
            run, loaded, k=k, most=users, examples=examples, graph=whole, groups=groups, kept=kept
        )
    if groups is not None and not lists:
        raise KgrecError(f"no run has results by user, so there are no groups by {groups!r}; leave --groups out")
    if len(graphs) > 1:
        notes.append(
            "The runs were trained on different graphs. They stand side by side, but a difference between them may "
            "come from the data, so none is computed."
        )
    comparison = None
    measured = [run.path for run in found if run.measured is not None]
    if len(measured) > 1 and len(graphs) == 1:
        try:
            comparison = compare(measured)
        except KgrecError as error:
            notes.append(f"The runs are not compared with each other: {error}.")
    return ReportFacts(found, lists, comparison, notes)

"""report(): what runs are worth, written as one HTML file and a model card."""

from __future__ import annotations

from pathlib import Path

from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole
from kgrec.graph import Graph
from kgrec.reporting.model_card import model_card
from kgrec.reporting.report_facts import EXAMPLES, MOST_USERS, ReportFacts, report_facts
from kgrec.reporting.report_page import html


def report(
    runs: list[str | Path] | str | Path,
    out: str | Path | None = None,
    *,
    card: str | Path | None = None,
    graph: str | Path | Graph | None = None,
    groups: str | None = None,
    k: int = 10,
    users: int = MOST_USERS,
    examples: int = EXAMPLES,
    trust: str | None = None,
    device: str = "cpu",
    overwrite: bool = False,
) -> ReportFacts:
    """Describe one or several runs: data, split, metrics with intervals, training curves, warm and cold items, users by
    activity and items by popularity, coverage, novelty, diversity, calibration, popularity bias, the users that are
    served worst, example lists with reasons, settings, versions, and the commands that repeat them.

    runs: run folders; one that was stopped is described by its checkpoint. out: an HTML file to write, one file that
    needs no network and no script; None: none. card: a Markdown file to write, a model card from the same facts. graph:
    the graph of the runs; with it the report says which held-out items were found. groups: a column of users, whose
    groups are compared. k: length of the lists. users: lists of at most so many users are made. examples: number of
    users whose lists are shown. trust, device: as in `Run.load`. overwrite: whether files that are there are replaced.

    Returns the facts. Raises KgrecError for folders that are no runs, altered or named twice, for files that are there
    already, for a graph with other ids, and for a column that makes one group.
    """
    paths = [runs] if isinstance(runs, str | Path) else list(runs)
    targets = {"--out": (out, ".html"), "--card": (card, ".md")}
    for option, (path, ending) in targets.items():
        if path is None:
            continue
        if Path(path).suffix.lower() not in (ending, ending.replace("html", "htm")):
            raise KgrecError(
                f"{option} {path}: the name must end in {ending}, such as {Path(path).stem or 'report'}{ending}"
            )
        refuse_existing(Path(path), overwrite)
    facts = report_facts(
        paths, graph=graph, groups=groups, k=k, users=users, examples=examples, trust=trust, device=device
    )
    for path, text in ((out, lambda: html(facts)), (card, lambda: model_card(facts))):
        if path is not None:
            content = text()
            with whole(path, overwrite) as draft:
                draft.write_text(content, encoding="utf-8")
    return facts

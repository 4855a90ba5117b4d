"""A model card in Markdown, from the facts of a report (Mitchell et al. 2019, "Model Cards for Model Reporting")."""

from __future__ import annotations

import re
from collections.abc import Sequence

from kgrec.printable import printable
from kgrec.reporting.list_facts import ListFacts
from kgrec.reporting.report_facts import ReportFacts
from kgrec.reporting.run_facts import RunFacts, by_activity, repeated_by, settings_yaml

MEANING = re.compile(r"([\\`*_{}\[\]<>#|~!&])")


def plain(text: object) -> str:
    """Any text as Markdown that is shown as it is: no markup, no HTML, one line.

    >>> print(plain("a|b <img src=x> [x](y)"))
    a\\|b \\<img src=x\\> \\[x\\](y)
    """
    return MEANING.sub(r"\\\1", printable(text))


def model_card(facts: ReportFacts) -> str:
    """The card: one section for each run."""
    lines = [f"# {plain(facts.title.replace('Report: ', 'Model card: '))}", ""]
    lines += [f"> {plain(note)}\n" for note in facts.notes]
    for run in facts.runs:
        lines += _of_run(run, facts.lists.get(run.label))
    return "\n".join(lines).rstrip() + "\n"


def _of_run(run: RunFacts, lists: ListFacts | None) -> list[str]:
    versions = ", ".join(f"{name} {version}" for name, version in (run.config.get("versions") or {}).items())
    about = [
        ("Model", run.model),
        ("State", "finished" if run.finished else "stopped before its end, not measured on test"),
        ("Parameters", f"{run.metrics['num_parameters']:,}" if "num_parameters" in run.metrics else ""),
        ("Trained on the graph with content hash", run.graph),
        ("Split", run.config.get("split") or "standard"),
        ("Protocol", run.protocol),
        ("Best epoch", f"{run.metrics.get('best_epoch', 0)} of {run.metrics.get('epochs', 0)}"),
        ("Versions", versions),
    ]
    lines = [f"## {plain(run.label)}", "", *(f"- {name}: {plain(value)}" for name, value in about if value), ""]
    lines += [f"> {plain(note)}\n" for note in [*run.notes, *(lists.notes if lists else ())]]
    if run.test:
        rows = [[name, f"{value:.4f}", _range(run.intervals.get(name))] for name, value in run.test.items()]
        lines += ["### Metrics on test", "", *_table(["metric", "value", "95 % interval"], rows)]
    for part, title in (
        ("test_warm", "warm items"),
        ("test_cold", "cold items"),
        ("test_with_history", "users with history"),
    ):
        found = run.metrics.get(part)
        if isinstance(found, dict) and found:
            lines += [
                f"On {title}: " + ", ".join(f"{plain(name)} {value:.4f}" for name, value in found.items()) + ".",
                "",
            ]
    if lists is not None:
        lines += _of_lists(run, lists)
    lines += ["### Limits", "", *_limits(run, lists), ""]
    lines += ["### How to repeat it", "", "GRAPH is the folder of the graph.", "", "```console"]
    lines += [f"$ {line}" for line in repeated_by(run)]
    lines += [
        "```",
        "",
        f"`{run.path.name.removesuffix('.run')}.yaml`:".replace("``", "`"),
        "",
        *_fenced(settings_yaml(run)),
        "",
    ]
    return lines


def _of_lists(run: RunFacts, lists: ListFacts) -> list[str]:
    rows = []
    for name, (mean, half) in lists.quality.items():
        rows.append([name, f"{mean:.4f}", "" if half is None else f"{mean - half:.4f} to {mean + half:.4f}"])
    lines = [f"### Beyond accuracy: lists of {lists.k}", "", *_table(["metric", "mean", "95 % interval"], rows)]
    main = run.main_metric
    if run.measured is not None and main is not None:
        rows = [
            [name, f"{users:,}", f"{mean:.4f}", f"{low:.4f} to {high:.4f}"]
            for name, users, mean, low, high in by_activity(run.measured.values[main], lists.activity)
        ]
        lines += [
            f"### {plain(main)} by training edges of the user",
            "",
            *_table(["training edges", "users", "mean", "95 % interval"], rows),
        ]
    if lists.groups is not None:
        rows = []
        for metric, one in lists.groups["metrics"].items():
            for name, of in one["groups"].items():
                rows.append([metric, name, f"{of['users']:,}", f"{of['mean']:.4f}", _range(of["interval"])])
        lines += [
            f"### By {plain(lists.groups['column'])} of users",
            "",
            *_table(["metric", "group", "users", "mean", "95 % interval"], rows),
        ]
    return lines


def _limits(run: RunFacts, lists: ListFacts | None) -> list[str]:
    """What the figures cannot say, and what they do say of weak sides."""
    found = [
        "- The figures are of held-out interactions of the past. What people would have done with other lists "
        "is not known."
    ]
    if lists is not None and lists.popularity:
        edges, places = lists.popularity[0]
        found.append(
            f"- The most popular tenth of the items has {100 * edges:.0f} % of the training edges and gets "
            f"{100 * places:.0f} % of the places in lists."
        )
    cold = run.metrics.get("test_cold")
    users = (run.metrics.get("counts") or {}).get("test_cold", {}).get("users")
    if isinstance(cold, dict) and cold:
        found.append(f"- Items without a training edge are measured apart, over {users or 0:,} users.")
    elif run.finished:
        found.append("- No item without a training edge was held out, so nothing is known of new items.")
    return found


def _table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [" | ".join(plain(cell) for cell in row) for row in (columns, *rows)]
    return [f"| {lines[0]} |", f"|{'---|' * len(columns)}", *(f"| {line} |" for line in lines[1:]), ""]


def _range(interval: Sequence[float] | None) -> str:
    return "" if interval is None else f"{interval[0]:.4f} to {interval[1]:.4f}"


def _fenced(text: str) -> list[str]:
    """A block of code whose fence is longer than any in it."""
    longest = max((len(one) for one in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return [f"{fence}yaml", *(printable(line) for line in text.rstrip().splitlines()), fence]

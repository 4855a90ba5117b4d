"""The results of an audit as tables, Markdown, CSV and a plot."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError
from kgrec.files import whole
from kgrec.studies.audit_results import Audit, Worth
from kgrec.studies.robustness_results import empty_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def write_results(result: Audit, out: Path) -> list[str]:
    """Write the results beside the trials: JSON, Markdown, CSV and a plot. Returns a note if there is no plot."""
    texts = {
        "audit.json": json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n",
        "audit.md": markdown(result),
        "arms.csv": _csv(_arm_rows(result)),
        "worth.csv": _csv(_worth_rows(result)),
    }
    for name, text in texts.items():
        with whole(out / name, True) as draft:
            draft.write_text(text, encoding="utf-8")
    try:
        figure = plot(result)
    except KgrecError as error:
        return [f"no plot was drawn: {str(error).partition(', or leave')[0]}"]
    with whole(out / "audit.png", True) as draft:
        figure.savefig(draft, dpi=150, format="png")
    return []


def _csv(rows: Sequence[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _arm_rows(result: Audit) -> list[dict[str, Any]]:
    """A row for each arm, scope, metric and seed; one row without a value for an arm that was skipped."""
    rows = list[dict[str, Any]]()
    for arm in result.arms:
        about = {
            "arm": arm.arm, "kind": arm.kind, "part_kind": arm.part_kind, "part": arm.part, "facts": arm.facts,
            "same_as": arm.same_as, "skipped": arm.skipped,
        }  # fmt: skip
        measured = [
            {"scope": scope, "metric": metric, "seed": seed, "value": value}
            for scope, by_metric in arm.by_seed.items()
            for metric, values in by_metric.items()
            for seed, value in zip(result.seeds, values)
        ]
        rows += [{**about, **one} for one in measured or [dict.fromkeys(("scope", "metric", "seed", "value"))]]
    return rows


def _worth_rows(result: Audit) -> list[dict[str, Any]]:
    """A row for each comparison."""
    rows = []
    for one in result.worth:
        low, high = one.interval or (None, None)
        rows.append(
            {
                "what": one.what, "part_kind": one.part_kind, "part": one.part, "arm": one.arm,
                "against": one.against, "scope": one.scope, "metric": one.metric, "difference": one.difference,
                "low": low, "high": high, "p": one.p, "p_alone": one.p_alone, "num_users": one.num_users,
            }
        )  # fmt: skip
    return rows


# ---------------------------------------------------------------------- tables


def worth_table(result: Audit, scope: str, metric: str | None = None) -> list[list[str]]:
    """What facts are worth in one scope, as rows of text: what, alone, interval, p, left out, interval, p. First the
    rows of all facts, then relations and node types, those that are worth most alone first."""
    rows = result.of(scope, metric)
    parts: dict[tuple[str, str], dict[str, Worth]] = {}
    table = []
    for row in rows:
        if row.part is None:
            table.append([ALL_FACTS[row.what], *_cells(row), "", "", ""])
        else:
            parts.setdefault((str(row.part_kind), row.part), {})[row.what] = row

    def worth_alone(item: tuple[tuple[str, str], dict[str, Worth]]) -> tuple[bool, float]:
        (kind, _), found = item
        return kind != "relation", -(found["alone"].difference if "alone" in found else float("-inf"))

    for (kind, name), found in sorted(parts.items(), key=worth_alone):
        cells = [cell for what in ("alone", "left out") for cell in _cells(found.get(what))]
        table.append([name if kind == "relation" else f"type {name}", *cells])
    return table


ALL_FACTS = {
    "graph": "all facts",
    "shuffled facts": "shuffled facts",
    "facts beyond their number": "all, less shuffled",
}
LEAST_P = 1e-99  #: smaller p values are not written out
COLUMNS = ("facts", "alone", "95 % interval", "p", "left out", "95 % interval", "p")


def _cells(row: Worth | None) -> tuple[str, str, str]:
    if row is None:
        return "", "", ""
    interval = "" if row.interval is None else f"{row.interval[0]:+.4f} to {row.interval[1]:+.4f}"
    return f"{row.difference:+.4f}", interval, "" if row.p is None else f"{row.p:.3g}" if row.p >= LEAST_P else "<1e-99"


def about(result: Audit, scope: str) -> str:
    """What was measured in a scope, in one line."""
    arms = {arm.arm: arm.test.get(scope, {}).get(result.metric) for arm in result.arms}
    figures = [f"{name} {arms[name]:.4f}" for name in ("whole", "removed", "shuffled") if arms.get(name) is not None]
    counts = result.counts[scope]
    measured = ", ".join(f"{counts[name]:,.0f} {name}" for name in ("users", "items", "pairs") if name in counts)
    return f"{result.metric} on {scope} items: {', '.join(figures)} ({measured}; {result.protocols[scope]})"


def markdown(result: Audit) -> str:
    """The results as a page of Markdown."""
    seeds = f"{len(result.seeds)} seed{'s' * (len(result.seeds) != 1)}"
    lines = [f"# What the facts are worth to {result.model}", "", result.sentence, ""]
    lines += [f"Features of nodes: {result.features}. {result.trainings} trainings, {seeds}.", ""]
    for scope in result.scopes:
        lines += [f"## {scope[0].upper()}{scope[1:]}", "", about(result, scope), ""]
        lines += [f"| {' | '.join(COLUMNS)} |", "|---|" + "---:|" * (len(COLUMNS) - 1)]
        lines += [f"| {' | '.join(row)} |" for row in worth_table(result, scope)]
        lines.append("")
    skipped = [f"- arm `{arm.arm}` was skipped: {arm.skipped}" for arm in result.arms if arm.skipped]
    same = [f"- arm `{arm.arm}` has the same facts as `{arm.same_as}`" for arm in result.arms if arm.same_as]
    notes = [f"- {note}" for note in result.notes]
    if notes or skipped or same:
        lines += ["## Notes", "", *notes, *skipped, *same, ""]
    return "\n".join(lines)


# ---------------------------------------------------------------------- plot


def plot(result: Audit) -> Figure:
    """A plot with a panel for each of warm and cold items: what all facts, shuffled ones, and each part alone and left
    out are worth, with their intervals. Raises KgrecError if matplotlib is not installed."""
    figure = empty_figure()
    scopes = [scope for scope in result.scopes if scope in ("warm", "cold")]
    tables = {scope: worth_table(result, scope) for scope in scopes}
    names = [row[0] for row in tables[scopes[-1]]]
    figure.set_size_inches(5.5 * len(scopes), 1.8 + 0.32 * len(names))
    panels = figure.subplots(1, len(scopes), sharey=True, squeeze=False)[0]
    for axes, scope in zip(panels, scopes):
        rows = {(row.what, row.part, row.part_kind): row for row in result.of(scope)}
        for (what, part, kind), row in rows.items():
            name = ALL_FACTS[what] if part is None else part if kind == "relation" else f"type {part}"
            place = len(names) - names.index(name)
            low, high = row.interval or (row.difference, row.difference)
            left = what == "left out"
            axes.errorbar(
                row.difference, place + (-0.18 if left else 0.0), fmt="s" if left else "o", markersize=4, capsize=2,
                xerr=[[row.difference - low], [high - row.difference]], color="tab:orange" if left else "tab:blue",
            )  # fmt: skip
        axes.axvline(0, color="gray", linewidth=0.8)
        axes.set_title(f"{scope} items", fontsize="medium")
        axes.set_xlabel(f"worth in {result.metric}")
        axes.grid(axis="x", alpha=0.3)
        axes.locator_params(axis="x", nbins=5)
    panels[0].set_yticks([len(names) - number for number in range(len(names))], names)
    panels[0].set_ylim(0.4, len(names) + 0.6)
    panels[-1].errorbar([], [], fmt="o", color="tab:blue", label="all, or alone: gain")
    panels[-1].errorbar([], [], fmt="s", color="tab:orange", label="left out: loss")
    panels[-1].legend(fontsize="small")
    figure.suptitle(f"{result.model}: what facts are worth, 95 % intervals", fontsize="medium")
    return figure

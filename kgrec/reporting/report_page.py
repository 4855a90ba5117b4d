"""A report as one HTML file: no script, nothing from a network, all text escaped."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from kgrec import __version__
from kgrec.errors import KgrecError
from kgrec.evaluation.metrics import higher_is_better
from kgrec.plots.charts import bar_chart, interval_chart, line_chart, style
from kgrec.plots.markup import Markup, element, escaped, joined
from kgrec.reporting.list_facts import ListFacts
from kgrec.reporting.report_facts import ReportFacts
from kgrec.reporting.run_facts import RunFacts, by_activity, curves, repeated_by, settings_yaml

POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
PARTS = {
    "valid": "valid",
    "test": "test",
    "test_with_history": "test, users with history",
    "test_warm": "test, warm items",
    "test_cold": "test, cold items",
    "test_seen_ends": "test, ends seen",
    "test_unseen_ends": "test, ends unseen",
}
BESIDE = {
    "coverage": "share of the catalog that is on any list",
    "tail_coverage": "share of the long tail that is on any list",
    "gini": "how unequally items are recommended: 0 equally, 1 one item alone",
    "novelty": "bits: 1 for an item that half of all users had, 10 for one of a thousandth",
    "popularity": "mean number of training edges of listed items",
    "tail_share": "share of listed items from the long tail",
    "diversity": "how little the items of a list share facts: 0 all, 1 none",
    "calibration_error": "distance of the list's facts from those of the user's history: 0 none",
}


def html(facts: ReportFacts) -> str:
    """The whole document."""
    sections: list[tuple[str, str, Markup]] = []
    for name, title, make in _SECTIONS:
        body = make(facts)
        if body:
            sections.append((name, title, body))
    nav = element(
        "nav",
        element("ul", (element("li", element("a", t, href=f"#{n}")) for n, t, _ in sections)),
        aria_label="Sections",
    )
    css = Path(__file__).with_name("report.css").read_text("utf-8")
    head = element(
        "head",
        element("meta", charset="utf-8"),
        element("meta", name="viewport", content="width=device-width, initial-scale=1"),
        element("meta", http_equiv="Content-Security-Policy", content=POLICY),
        element("title", facts.title),
        element("style", Markup(css + style())),
    )
    body = element(
        "body",
        element("header", element("h1", facts.title), element("p", f"kgrec {__version__}", class_="quiet"), nav),
        element("main", (element("section", element("h2", t, id=n), one, aria_labelledby=n) for n, t, one in sections)),
    )
    return f"<!DOCTYPE html>\n{element('html', head, body, lang='en')}\n"


def table(columns: Sequence[str], rows: Sequence[Sequence[object]], caption: str, numbers: bool = True) -> Markup:
    """A table whose first column names its rows. numbers: whether the other columns are aligned right."""
    kind = "number" if numbers else None
    head = element(
        "tr", (element("th", name, scope="col", class_=kind if place else None) for place, name in enumerate(columns))
    )
    body = [
        element("tr", element("th", row[0], scope="row"), (element("td", cell, class_=kind) for cell in row[1:]))
        for row in rows
    ]
    content = element("table", element("caption", caption), element("thead", head), element("tbody", body))
    return element("div", content, class_="card wide", tabindex="0", role="group", aria_label=caption)


def _figure(drawing: Markup) -> Markup:
    return element("div", drawing, class_="card")


def _note(text: str) -> Markup:
    return element("p", text, class_="note")


def _value(value: float | None, interval: tuple[float, float] | None = None) -> Markup:
    if value is None:
        return Markup("")
    form = ".4f" if abs(value) < 1000 else ",.0f"
    if interval is None:
        return joined(f"{value:{form}}")
    between = f"{interval[0]:{form}} to {interval[1]:{form}}"
    return joined([f"{value:{form}}", element("span", between, class_="range")])


def _code(text: str) -> Markup:
    lines = [escaped(line) for line in text.rstrip().split("\n")]
    return element("pre", element("code", Markup("\n".join(lines))), tabindex="0")


def _text(title: object) -> Markup:
    return element("bdi", title)


# ---------------------------------------------------------------------- sections


def _overview(facts: ReportFacts) -> Markup:
    rows = []
    for run in facts.runs:
        main = run.main_metric or next(iter(run.test), None)
        state = "finished" if run.finished else "stopped before its end"
        value = (
            Markup("") if main is None else joined([f"{main} ", _value(run.test.get(main), run.intervals.get(main))])
        )
        epochs = f"{run.metrics.get('best_epoch', 0)} of {run.metrics.get('epochs', 0)}"
        rows.append(
            [
                run.label,
                run.model,
                state,
                value,
                epochs,
                _seconds(run.metrics.get("fit_seconds")),
                f"{run.metrics['num_parameters']:,}" if run.finished and "num_parameters" in run.metrics else "",
            ]
        )
    notes = [*facts.notes, *(f"{run.label}: {note}" for run in facts.runs for note in run.notes)]
    columns = ["run", "model", "state", "on test, with 95 % interval", "best epoch", "fit", "parameters"]
    below = []
    for run in facts.runs:
        control = run.metrics.get("below_control")
        if isinstance(control, dict) and control.get("note"):
            below.append(f"{run.label}: {control['note']}")
    return joined([table(columns, rows, "The runs"), [_note(note) for note in [*notes, *below]]])


def _seconds(value: object) -> str:
    return f"{value:,.1f} s" if isinstance(value, int | float) else ""


def _data(facts: ReportFacts) -> Markup:
    found, seen = [], set[str]()
    for run in facts.runs:
        nodes = run.schema.get("nodes")
        if run.graph in seen or not isinstance(nodes, dict | list):
            continue
        seen.add(run.graph)
        which = "The graph" if len({one.graph for one in facts.runs}) == 1 else f"The graph of {run.label}"
        hash_ = element("p", f"Content hash {run.graph}", class_="quiet")
        lists = facts.lists.get(run.label)
        rows = [[_text(name), f"{count:,}"] for name, count in _node_counts(nodes)]
        edges = [] if lists is None else [[_text(name), f"{count:,}"] for name, count in lists.edges.items()]
        what = "Edges" if lists is None or lists.whole else "Edges that the run knows, without those of test"
        tables = [table(["type of nodes", "number"], rows, "Nodes"), table(["type of edges", "number"], edges, what)]
        found.append([element("h3", which), hash_, element("div", tables if edges else tables[:1], class_="two")])
    return joined(found)


def _node_counts(nodes: Any) -> list[tuple[str, int]]:
    """The types of nodes with their numbers, as schema.json has them."""
    pairs = nodes.items() if isinstance(nodes, dict) else [(one.get("name", ""), one) for one in nodes]
    return [(str(name), one.get("count", 0)) for name, one in pairs if isinstance(one, dict)]


def _split(facts: ReportFacts) -> Markup:
    rows: list[list[object]] = []
    for run in facts.runs:
        config = run.config
        counts = run.metrics.get("counts", {}).get("test", {}) if isinstance(run.metrics.get("counts"), dict) else {}
        held = ", ".join(f"{value:,} {name}" for name, value in counts.items())
        rows.append([run.label, config.get("split") or "standard", run.protocol, held])
    said = [_repeats(run) for run in facts.runs]
    return joined(
        [
            table(
                ["run", "split", "protocol", "held out for test"],
                rows,
                "What was held out, and how lists were ranked",
                False,
            ),
            said,
        ]
    )


def _repeats(run: RunFacts) -> Markup:
    repeats, without = run.metrics.get("repeats") or {}, run.metrics.get("without_history") or {}
    parts = []
    if isinstance(repeats, dict) and repeats.get("pairs"):
        parts.append(
            f"{repeats['pairs']:,} of {repeats.get('held_out_pairs', 0):,} held-out pairs are repeats "
            f"({repeats.get('choice')})."
        )
    if isinstance(without, dict) and without.get("users"):
        parts.append(f"{without['users']:,} users have no history in training.")
    return element("p", f"{run.label}: {' '.join(parts)}") if parts else Markup("")


def _metrics(facts: ReportFacts) -> Markup:
    rows = [
        [_metric(name), *(_value(run.test.get(name), run.intervals.get(name)) for run in facts.runs)]
        for name in dict.fromkeys(name for run in facts.runs for name in run.test)
    ]
    parts = []
    if rows:
        caption = "Metrics on test, with 95 % intervals over 1,000 resamples of the users"
        parts.append(table(["metric", *(run.label for run in facts.runs)], rows, caption))
    main = next((run.main_metric for run in facts.runs if run.main_metric), None)
    if main is not None:
        dots = [
            (run.label, place, run.test[main], *run.intervals.get(main, (None, None)))
            for place, run in enumerate(facts.runs)
            if main in run.test
        ]
        parts.append(_figure(interval_chart(f"{main} on test, with 95 % interval", dots, main)))
    for run in facts.runs:
        controls = run.metrics.get("control") or {}
        for name, of_parts in controls.items() if isinstance(controls, dict) else ():
            columns = [part for part in ("valid", "test") if isinstance(of_parts.get(part), dict)]
            names = dict.fromkeys(metric for part in columns for metric in of_parts[part])
            beside = [
                [
                    _metric(one),
                    *(_value((run.metrics.get(p) or {}).get(one)) for p in columns),
                    *(_value(of_parts[p].get(one)) for p in columns),
                ]
                for one in names
            ]
            heads = ["metric", *(f"{run.label}, {p}" for p in columns), *(f"{name}, {p}" for p in columns)]
            parts.append(table(heads, beside, f"{run.label} beside its control, {name}"))
    return joined(parts)


def _metric(name: str) -> str:
    try:
        return name if higher_is_better(name) else f"{name} (lower is better)"
    except KgrecError:
        return name


def _differences(facts: ReportFacts) -> Markup:
    found = facts.comparison
    if found is None:
        return Markup("")
    label = {str(run.path): run.label for run in facts.runs}
    rows = []
    for one in found.differences:
        interval = "" if one.interval is None else f"{one.interval[0]:+.4f} to {one.interval[1]:+.4f}"
        rows.append(
            [one.metric, label[one.run], f"{one.difference:+.4f}", interval, "" if one.p is None else f"{one.p:.3g}"]
        )
    look = {run.label: place for place, run in enumerate(facts.runs)}
    main = next((run.main_metric for run in facts.runs if run.main_metric), None)
    shown = [one for one in found.differences if one.metric == main] or list(found.differences)[:12]
    dots = [
        (f"{label[one.run]}, {one.metric}", look[label[one.run]], one.difference, *(one.interval or (None, None)))
        for one in shown
    ]
    reference = label[found.reference]
    caption = f"Difference from {reference}; p: Wilcoxon signed-rank test with Holm correction"
    return joined([
        _figure(interval_chart(f"Difference from {reference}, with 95 % interval", dots, "difference", zero=True)),
        table(["metric", "run", "difference", "95 % interval", "p"], rows, caption),
        [element("p", note, class_="quiet") for note in found.notes],
    ])  # fmt: skip


def _curves(facts: ReportFacts) -> Markup:
    columns = {run.label: curves(run) for run in facts.runs}
    names = dict.fromkeys(name for found in columns.values() for name in found)
    chosen = {run.label: (run.config.get("training") or {}).get("metric") for run in facts.runs}
    metrics = [name for name in names if "@" in name or name in ("rmse", "mae", "auc", "logloss", "mrr")]
    main = (
        [name for name in metrics if any(str(one) in name for one in chosen.values() if one)]
        or [n for n in metrics if "ndcg@10" in n]
        or metrics
    )
    wanted = [name for name in names if name.startswith("loss")] + main[:2]
    charts = []
    for name in wanted:
        series = {label: found[name] for label, found in columns.items() if name in found}
        charts.append(_figure(line_chart(f"{name} by epoch", series, "epoch")))
    if not charts:
        return Markup("")
    return element("div", charts, class_="two")


def _warm(facts: ReportFacts) -> Markup:
    parts = []
    for run in facts.runs:
        columns = [part for part in PARTS if isinstance(run.metrics.get(part), dict) and run.metrics[part]]
        if not any(part not in ("valid", "test") for part in columns):
            continue
        names = dict.fromkeys(name for part in columns for name in run.metrics[part])
        rows: list[list[object]] = [
            [_metric(name), *(_value(run.metrics[part].get(name)) for part in columns)] for name in names
        ]
        counts = run.metrics.get("counts") or {}
        for what in ("users", "items", "pairs", "candidates"):
            numbers = [counts.get(part, {}).get(what) for part in columns]
            if any(one is not None for one in numbers):
                rows.append([what, *("" if one is None else f"{one:,}" for one in numbers)])
        parts.append(
            table(
                ["metric", *(PARTS[part] for part in columns)],
                rows,
                f"{run.label}: items with and without a training edge, users with history",
            )
        )
    return joined(parts)


def _activity(facts: ReportFacts) -> Markup:
    parts, dots = [], []
    main = next((run.main_metric for run in facts.runs if run.main_metric), None)
    for place, run in enumerate(facts.runs):
        if run.measured is None or run.label not in facts.lists or main not in run.measured.values:
            continue
        found = by_activity(run.measured.values[main], facts.lists[run.label].activity)
        dots += [
            (f"{run.label}: {name} ({users:,} users)", place, mean, low, high) for name, users, mean, low, high in found
        ]
    if dots:
        parts.append(
            _figure(interval_chart(f"{main} by training edges of the user, with 95 % interval", dots, str(main)))
        )
    return joined(parts)


def _popularity(facts: ReportFacts) -> Markup:
    found = {label: lists for label, lists in facts.lists.items() if lists.popularity}
    if not found:
        return Markup("")
    labels = ["top 10 %", *(f"{10 * place}-{10 * place + 10} %" for place in range(1, 10))]
    parts = []
    # runs of one graph and split share their training edges
    for label, lists in found.items():
        series = {
            "training edges": [one for one, _ in lists.popularity],
            f"lists of {label}": [two for _, two in lists.popularity],
        }
        parts.append(
            _figure(
                bar_chart(
                    f"Popularity bias of {label}: where its lists go",
                    labels,
                    series,
                    "items by popularity in training, the most popular first",
                    "share",
                )
            )
        )
    with_graph = {label: lists for label, lists in found.items() if lists.found}
    if with_graph:
        k = next(iter(with_graph.values())).k
        by_run = {label: [share for _, share in lists.found] for label, lists in with_graph.items()}
        first = next(iter(with_graph.values())).found
        parts.insert(
            0,
            _figure(
                bar_chart(
                    f"Share of held-out pairs that are on the lists of {k}, by popularity of the item",
                    labels,
                    by_run,
                    "items by popularity in training, the most popular first",
                    "recall",
                )
            ),
        )
        rows = [
            [label, f"{first[place][0]:,}", *(_value(lists.found[place][1]) for lists in with_graph.values())]
            for place, label in enumerate(labels)
        ]
        parts.insert(1, table(["items", "held-out pairs", *with_graph], rows, "Held-out pairs that are on the lists"))
    else:
        parts.append(
            element(
                "p",
                "Give the graph (--graph) to see which held-out items are found, by their popularity.",
                class_="quiet",
            )
        )
    return joined(parts)


def _beside(facts: ReportFacts) -> Markup:
    if not facts.lists:
        return Markup("")
    names = dict.fromkeys(name for lists in facts.lists.values() for name in lists.quality)
    rows = []
    for name in names:
        cells = []
        for lists in facts.lists.values():
            mean, half = lists.quality.get(name, (None, None))
            cells.append(_value(mean, None if half is None or mean is None else (mean - half, mean + half)))
        rows.append([joined([name, element("span", BESIDE.get(name.partition("@")[0], ""), class_="range")]), *cells])
    first = next(iter(facts.lists.values()))
    caption = f"Lists of {first.k}, beyond accuracy; 95 % intervals over users"
    notes = [_note(f"{label}: {note}") for label, lists in facts.lists.items() for note in lists.notes]
    return joined([table(["metric", *facts.lists], rows, caption), notes])


def _groups(facts: ReportFacts) -> Markup:
    parts = []
    for label, lists in facts.lists.items():
        if lists.groups is None:
            continue
        metrics = lists.groups["metrics"]
        names = dict.fromkeys(name for one in metrics.values() for name in one["groups"])
        rows = []
        for metric, one in metrics.items():
            cells = [
                _value(of["mean"], of["interval"] and tuple(of["interval"])) if (of := one["groups"].get(name)) else ""
                for name in names
            ]
            rows.append(
                [_metric(metric), *cells, f"{one['gap']:.4f}", "" if one["ratio"] is None else f"{one['ratio']:.3f}"]
            )
        users = [max((one["groups"].get(name) or {"users": 0})["users"] for one in metrics.values()) for name in names]
        rows.append(["users", *(f"{number:,}" for number in users), "", ""])
        caption = f"{label}: metrics by {lists.groups['column']} of users, with 95 % intervals"
        parts.append(table(["metric", *names, "gap", "lowest / highest"], rows, caption))
    return joined(parts)


def _worst(facts: ReportFacts) -> Markup:
    parts = []
    for run in facts.runs:
        lists = facts.lists.get(run.label)
        if lists is None or not lists.worst:
            continue
        rows = [
            [_text(one["user"]), _value(one["value"]), f"{one['known']:,}", _names(one["past"]), _names(one["held"])]
            for one in lists.worst
        ]
        columns = ["user", str(run.main_metric), "known items", "last of them", "held out"]
        with_held = any(one["held"] for one in lists.worst)
        rows = rows if with_held else [row[:-1] for row in rows]
        parts.append(
            table(
                columns if with_held else columns[:-1],
                rows,
                f"{run.label}: the users it serves worst; of equals, those of whom it knows most",
                False,
            )
        )
    return joined(parts)


def _names(titles: Sequence[str]) -> Markup:
    found: list[object] = []
    for title in titles:
        found += [", ", _text(title)] if found else [_text(title)]
    return joined(found)


def _examples(facts: ReportFacts) -> Markup:
    parts = []
    for run in facts.runs:
        lists = facts.lists.get(run.label)
        if lists is not None and lists.examples:
            parts.append(element("div", [_example(run, one) for one in lists.examples], class_="two"))
    return joined(parts)


def _example(run: RunFacts, one: Mapping[str, Any]) -> Markup:
    items = [
        element(
            "li",
            _text(row.get("label") or row["item"]),
            element("span", " ✓ held out", class_="hit") if row["hit"] else None,
        )
        for row in one["items"]
    ]
    because = _names([past.get("label") or past["item"] for past in one["because"]])
    evidence = f" (by {', '.join(one['evidence'])})" if one["evidence"] else ""
    reason: object = (
        ["Because of ", because, evidence]
        if one["because"]
        else "; ".join(one["reasons"]) or "The model names no reason."
    )
    return element(
        "div",
        element("h3", f"{run.label}: user ", _text(one["user"])),
        element(
            "p", f"{run.main_metric} {one['value']:.4f}; {one['known']:,} known items, last: ", _names(one["past"])
        ),
        element("ol", items),
        element("p", reason, class_="quiet"),
        class_="card",
    )


def _settings(facts: ReportFacts) -> Markup:
    parts = []
    for run in facts.runs:
        versions = run.config.get("versions") or {}
        said = ", ".join(f"{package} {version}" for package, version in versions.items())
        name = f"{run.path.name.removesuffix('.run')}.yaml"
        parts.append([
            element("h3", run.label),
            element("p", "Versions: ", said or "not recorded", class_="quiet"),
            element("p", "The commands that repeat it, where GRAPH is the folder of the graph:"),
            _code("\n".join(repeated_by(run))),
            element("details", element("summary", f"Settings: {name}"), _code(settings_yaml(run))),
        ])  # fmt: skip
    return joined(parts)


_SECTIONS: tuple[tuple[str, str, Callable[[ReportFacts], Markup]], ...] = (
    ("runs", "At a glance", _overview),
    ("data", "Data", _data),
    ("split", "Split", _split),
    ("metrics", "Metrics", _metrics),
    ("differences", "Differences", _differences),
    ("curves", "Training", _curves),
    ("warm", "Warm and cold", _warm),
    ("activity", "By user activity", _activity),
    ("popularity", "By item popularity", _popularity),
    ("beside", "Beyond accuracy", _beside),
    ("groups", "Groups of users", _groups),
    ("worst", "Worst users", _worst),
    ("examples", "Example lists", _examples),
    ("settings", "Settings and commands", _settings),
)
__all__ = ["ListFacts", "html", "table"]

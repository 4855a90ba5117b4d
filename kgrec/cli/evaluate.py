"""`kgrec evaluate`: measure a run on the test edges of a graph."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from kgrec.cli.options import (
    Device,
    GraphFolder,
    Json,
    Metrics,
    Mmap,
    RunFolder,
    TrustedModel,
    comma_separated,
    watchable,
)
from kgrec.cli.output import console, note, plain, print_json, say, show_metrics
from kgrec.errors import KgrecError

TABLES = (".csv", ".tsv", ".jsonl", ".parquet")  #: what a file of groups ends with


@watchable
def evaluate(
    run: RunFolder,
    graph: GraphFolder,
    split: Annotated[
        str | None, typer.Option("--split", help="What is held out. Default: the split of the run.")
    ] = None,
    candidates: Annotated[
        str | None,
        typer.Option("--candidates", help="Items to rank: the name of a candidate list in the graph, or `all`."),
    ] = None,
    repeats: Annotated[
        str | None,
        typer.Option("--repeats", help="miss, skip or recommend, see `kgrec train --help`. Default: as in the run."),
    ] = None,
    exclude: Annotated[
        str | None,
        typer.Option(
            "--exclude",
            help="Other behaviours, such as viewed,carted, whose items are left out of the lists too, or `none`. "
            "Default: as in the run.",
        ),
    ] = None,
    now: Annotated[
        str | None,
        typer.Option(
            "--now",
            help="Whether models are told when each list is wanted: unknown, or edge (the time of the held-out edge). "
            "Default: as in the run.",
        ),
    ] = None,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", help="A YAML file of rules: what they cost and gain, measured on valid, not on test."),
    ] = None,
    groups: Annotated[
        str | None,
        typer.Option(
            "--groups",
            help="A column of users, such as gender; `gap`, how long after the last known interaction the held-out one "
            "is; or a file with the columns user and group: the metrics of each group, and how far apart they are.",
        ),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Measure explanations instead: whether the paths behind lists hold, and how recent, popular and "
            "varied the nodes on them are. The graph is that of the run.",
        ),
    ] = False,
    users: Annotated[int, typer.Option("--users", help="With --explain, how many users' lists are explained.")] = 200,
    k: Annotated[int, typer.Option("--k", help="With --explain, number of items in each list.")] = 10,
    metrics: Metrics = None,
    device: Device = "auto",
    model: TrustedModel = None,
    mmap: Mmap = None,
    as_json: Json = False,
) -> None:
    """Measure a run on the test edges of a graph. The graph must have the same nodes as the run."""
    from kgrec.graph import Graph
    from kgrec.run import Run
    from kgrec.training.measuring import same_ids

    if explain:
        asked: dict[str, Any] = {
            "--split": split,
            "--candidates": candidates,
            "--repeats": repeats,
            "--exclude": exclude,
            "--now": now,
        }
        asked |= {"--rules": rules, "--metrics": metrics, "--groups": groups}
        if named := [name for name, value in asked.items() if value is not None]:
            raise KgrecError(f"--explain measures explanations of the run's lists, so {', '.join(named)} has no effect")
        trained = Run.load(run, trust=model, device=device)
        same_ids(trained, Graph.load(graph, mmap))
        quality = trained.measure_explanations(users=users, k=k)
        if as_json:
            print_json(quality)
        else:
            show_explanations(quality)
        return
    trained = Run.load(run, trust=model, device=device)
    left_out = None if exclude is None else () if exclude == "none" else comma_separated(exclude) or ()
    wanted: dict[str, Any] = {
        "split": split,
        "candidates": candidates,
        "repeats": repeats,
        "exclude": left_out,
        "now": now,
    }
    found = Graph.load(graph, mmap)
    is_file = groups is not None and (Path(groups).suffix in TABLES or Path(groups).is_file())
    by: Any = Path(str(groups)) if is_file else groups
    result = trained.measure(found, metrics=comma_separated(metrics), rules=rules, groups=by, **wanted)
    if as_json:
        print_json(result)
    elif rules is not None:
        show_rules(result)
    else:
        show_metrics({name: value for name, value in result.items() if name != "groups"})
        if groups is not None:
            show_groups(result["groups"])


def show_groups(found: dict[str, Any]) -> None:
    """The metrics by group, a column each, and how far the groups are apart."""
    metrics = found["metrics"]
    names = dict.fromkeys(name for one in metrics.values() for name in one["groups"])
    table = plain(f"by {found['column']}", ["metric"], [*names, "gap", "lowest / highest"])
    for metric, one in metrics.items():
        means = [f"{one['groups'][name]['mean']:.4f}" if name in one["groups"] else "" for name in names]
        ratio = "" if one["ratio"] is None else f"{one['ratio']:.3f}"
        table.add_row(metric, *means, f"{one['gap']:.4f}", ratio)
    table.add_section()
    users = [max(one["groups"].get(name, {"users": 0})["users"] for one in metrics.values()) for name in names]
    table.add_row("users", *(f"{number:,}" for number in users), "", "")
    console().print(table)


def show_rules(result: dict[str, Any]) -> None:
    """The metrics without rules and with them, side by side, and with each alone where there are several."""
    for text in result["notes"]:
        note(text)
    columns = {"without rules": result["before"], "with rules": result["after"]}
    title = f"{result['model']} ({result['protocol']}), on {result['measured_on']}"
    alone = {f"{name} alone": values for name, values in result["each"].items()}
    table = plain(title, ["metric"], [*columns, "change", *alone])
    for name, before in result["before"].items():
        after = result["after"][name]
        values = [f"{one[name]:.4f}" for one in alone.values()]
        table.add_row(name, f"{before:.4f}", f"{after:.4f}", f"{after - before:+.4f}", *values)
    console().print(table)
    say(f"{result['num_users']:,} users, lists of {result['k']} from the best {result['depth']}")


def show_explanations(result: dict[str, Any]) -> None:
    """What explanations are like, and whether they hold."""
    table = plain(f"explanations of {result['model']}, chosen by {result['by']}", ["metric"], ["mean over users"])
    for name, value in result["metrics"].items():
        table.add_row(name, "" if value is None else f"{value:.4f}")
    console().print(table)
    for by, found in result["faithfulness"].items():
        low, high = found["interval"]
        say(
            f"paths chosen by {by} lower the score more than a random path like them in {found['mean']:.1%} of "
            f"{found['pairs']} pairs (95 % interval {low:.1%} to {high:.1%})".replace("%", " %").replace("  ", " ")
        )
    if not result["faithfulness"]:
        say("masking edges does not reach the scores of this model, so faithfulness cannot be measured")
    say(f"{result['num_users']:,} users, lists of {result['k']}, {result['seconds']:.1f} s")

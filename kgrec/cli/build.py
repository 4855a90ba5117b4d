"""`kgrec build`: make a graph folder from the files that a recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.next_steps import after_build, say_next
from kgrec.cli.options import Data, Json, Overwrite, watchable
from kgrec.cli.output import print_json, say


@watchable
def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="A recipe (YAML) such as graphs/ml-1m.yaml.")],
    out: Annotated[Path, typer.Option("--out", help="The graph folder to write.")],
    data: Data = None,
    memory: Annotated[
        str | None,
        typer.Option(
            "--memory",
            metavar="SIZE",
            help="The limit of memory for the data, such as 2GB; default: half of the machine's. Larger data is kept "
            "on disk while the graph is built.",
        ),
    ] = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Build a graph folder from the files that a recipe names."""
    from kgrec.sources.building import build_to
    from kgrec.sources.recipe.recipe import Recipe

    report = build_to(recipe, data, out, overwrite=overwrite, memory=memory)
    if as_json:
        print_json(report.to_json())
        return
    say(report)
    read = Recipe.load(recipe)
    items, has_split = report.nodes[read.target_type[2]], "split" in read.known_by
    say_next(f"wrote {out}", after_build(out, items, has_split=has_split))

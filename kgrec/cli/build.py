"""`kgrec build`: make a graph folder from the files that a recipe names."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Data, Json, Overwrite
from kgrec.cli.output import print_json, say


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

    report = build_to(recipe, data, out, overwrite=overwrite, memory=memory)
    print_json(report.to_json()) if as_json else say(report)

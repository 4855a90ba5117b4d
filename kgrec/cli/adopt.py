"""`kgrec adopt`: turn a folder that another engine wrote or changed into a graph folder, in place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Json, watchable
from kgrec.cli.output import print_json, say
from kgrec.errors import KgrecError


@watchable
def adopt(
    folder: Annotated[
        Path,
        typer.Argument(
            metavar="FOLDER", help="A folder with nodes/TYPE.parquet and edges/SOURCE__RELATION__TARGET.parquet."
        ),
    ],
    target: Annotated[
        str | None, typer.Option("--target", help="The relation to recommend, if the folder does not name it.")
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="What a column holds, as TYPE.COLUMN=KIND or RELATION.COLUMN=KIND. KIND is numeric, categorical, "
            "multi, text or vector; ignore drops the column. May be repeated.",
        ),
    ] = None,
    edges_by: Annotated[
        str | None,
        typer.Option(
            "--edges-by",
            help="What the columns source and target hold: numbers (of rows) or ids. By default text columns hold ids.",
        ),
    ] = None,
    new_order: Annotated[
        bool, typer.Option("--new-order", help="Accept the rows in their present order, even if it has changed.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Make a graph folder, in place, of a folder that pandas, DuckDB or Spark wrote or changed, after checking it."""
    from kgrec.sources.adopting import adopt as take

    chosen = {}
    for one in kinds or []:
        column, equals, kind = one.rpartition("=")
        if not equals or "." not in column:
            raise KgrecError(f"--kind {one}: write it as TYPE.COLUMN=KIND, such as item.year=numeric")
        chosen[column] = kind
    report = take(folder, target=target, kinds=chosen, edges_by=edges_by, new_order=new_order)  # type: ignore[arg-type]
    print_json(report.to_json()) if as_json else say(report)

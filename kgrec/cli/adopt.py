"""`kgrec adopt`: a folder that another engine wrote or changed becomes a graph folder, in its place."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Json
from kgrec.cli.output import print_json, say
from kgrec.errors import KgrecError


def adopt(
    folder: Annotated[
        Path, typer.Argument(metavar="FOLDER", help="nodes/TYPE.parquet, edges/SOURCE__RELATION__TARGET.parquet.")
    ],
    target: Annotated[
        str | None, typer.Option("--target", help="The relation to recommend, where the folder does not say it.")
    ] = None,
    kinds: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            help="TYPE.COLUMN=KIND, or RELATION.COLUMN: numeric, categorical, multi, text, vector; ignore drops it.",
        ),
    ] = None,
    edges_by: Annotated[
        str | None,
        typer.Option("--edges-by", help="What source and target are: numbers of rows, or ids. Text is ids by default."),
    ] = None,
    new_order: Annotated[
        bool, typer.Option("--new-order", help="The rows' order as it stands now is meant, whatever it was before.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Take a folder that pandas, DuckDB or Spark wrote or changed as a graph folder: checks it, and writes it anew."""
    from kgrec.sources.adopting import adopt as take

    chosen = {}
    for one in kinds or []:
        column, equals, kind = one.rpartition("=")
        if not equals or "." not in column:
            raise KgrecError(f"--kind {one}: TYPE.COLUMN=KIND is wanted, such as item.year=numeric")
        chosen[column] = kind
    report = take(folder, target=target, kinds=chosen, edges_by=edges_by, new_order=new_order)  # type: ignore[arg-type]
    print_json(report.to_json()) if as_json else say(report)

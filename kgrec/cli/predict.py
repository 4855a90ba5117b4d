"""`kgrec predict`: a rating, a probability or a score of each pair of a user and an item."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import (
    CsvSafe,
    Device,
    Json,
    NewItems,
    Overwrite,
    RunFolder,
    TableFile,
    TrustedModel,
    load_run,
)
from kgrec.cli.output import print_csv, print_json, status


def predict(
    run: RunFolder,
    pairs: Annotated[Path, typer.Argument(metavar="PAIRS", help="CSV or Parquet with the columns user and item.")],
    new_items: NewItems = None,
    skip_unknown: Annotated[
        bool,
        typer.Option("--skip-unknown", help="Leave out unknown ids and columns instead of stopping."),
    ] = False,
    now: Annotated[
        str | None,
        typer.Option(
            "--now",
            help="When the predictions are wanted, for models that read it: unix seconds, or a moment such as "
            "2026-11-29T12:00 (UTC). Default: the clock's time.",
        ),
    ] = None,
    out: TableFile = None,
    device: Device = "auto",
    model: TrustedModel = None,
    overwrite: Overwrite = False,
    csv_safe: CsvSafe = False,
    as_json: Json = False,
) -> None:
    """Predict the rating, the probability of a click or the score of each pair of a user and an item."""
    from kgrec.table_files import as_csv, refuse_out, without_formulas

    if out is not None:
        refuse_out(out, overwrite, [run, pairs, *(new_items or [])])
    trained = load_run(run, model, device, new_items, skip_unknown)
    predictions = trained.predict(pairs, skip_unknown=skip_unknown, now=now)
    for text in predictions.notes:
        status(text)
    if out is not None:
        predictions.write(out, overwrite=overwrite, csv_safe=csv_safe)
        status(f"{len(predictions):,} rows in {out}")
    elif as_json:
        print_json(predictions.to_json())
    else:
        table = predictions.to_arrow()
        print_csv(as_csv(without_formulas(table) if csv_safe else table))

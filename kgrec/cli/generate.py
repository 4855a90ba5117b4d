"""`kgrec generate`: sample synthetic users from a trained gan model."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgrec.cli.options import CsvSafe, Device, Json, Overwrite, RunFolder
from kgrec.cli.output import console, plain, print_json, status

if TYPE_CHECKING:
    from rich.console import Console

    from kgrec.studies.generation import Generated


def generate(
    run: RunFolder,
    users: Annotated[int, typer.Option("--users", help="Number of synthetic users.")],
    out: Annotated[
        Path, typer.Option("--out", help="The .csv or .parquet file to write. Columns: user, item, synthetic.")
    ],
    seed: Annotated[int, typer.Option("--seed", help="Seed of all random numbers.")] = 0,
    device: Device = "auto",
    overwrite: Overwrite = False,
    csv_safe: CsvSafe = False,
    as_json: Json = False,
) -> None:
    """Sample synthetic users from a trained gan model, and compare them with the real users."""
    from kgrec.run import Run
    from kgrec.studies.generation import generate as sample
    from kgrec.table_files import refuse_out, write

    refuse_out(out, overwrite, [run])
    generated = sample(Run.load(run, device=device), users, seed=seed)
    write(generated.table, out, overwrite=overwrite, csv_safe=csv_safe)
    status(f"{len(generated.table):,} rows in {out}")
    print_json(generated.to_json()) if as_json else show(generated, console())


def show(generated: Generated, screen: Console) -> None:
    """Print the report as a table."""
    report = generated.report
    table = plain(
        f"{report['interactions']:,} interactions of {report['users']:,} synthetic users",
        ["", "measure"],
        ["real", "generated", "between"],
    )
    popularity, length = report["popularity"], report["length"]
    for name in ("gini", "catalog_share"):
        table.add_row("popularity", name, *(f"{popularity[name][side]:.4f}" for side in ("real", "generated")), "")
    for name in length["real"]:
        table.add_row("length", name, *(f"{length[side][name]:.1f}" for side in ("real", "generated")), "")
    between = itertools.chain(
        (("popularity", name, popularity[name]) for name in ("spearman", "js_bits")),
        [(f"co-occurrence of {report['co_occurrence']['items']} items", "pearson", report["co_occurrence"]["pearson"])],
        (("copies", name, value) for name, value in report["copies"].items()),
    )
    for what, name, value in between:
        table.add_row(what, name, "", "", "-" if value is None else f"{value:.4f}")
    screen.print(table)

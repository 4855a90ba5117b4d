"""`kgrec similar`: the items most like some items, by what the model has of each."""

from __future__ import annotations

from typing import Annotated

import typer

from kgrec.cli.options import (
    CsvSafe,
    Device,
    FilterOptions,
    Json,
    NewItems,
    Overwrite,
    RunFolder,
    TableFile,
    TrustedModel,
    load_run,
    with_options,
)
from kgrec.cli.output import console, note, print_json, status


@with_options
def similar(
    run: RunFolder,
    *,
    item: Annotated[list[str], typer.Option("--item", help="An item's id. Repeat it for several items.")],
    k: Annotated[int, typer.Option("--k", help="Number of similar items for each.")] = 10,
    new_items: NewItems = None,
    skip_unknown: Annotated[
        bool,
        typer.Option("--skip-unknown", help="Leave out unknown items and columns of new items."),
    ] = False,
    filters: FilterOptions,
    out: TableFile = None,
    device: Device = "auto",
    model: TrustedModel = None,
    overwrite: Overwrite = False,
    csv_safe: CsvSafe = False,
    as_json: Json = False,
) -> None:
    """List the items most like an item: by the cosine of their vectors, or by the weights of EASE and ItemKNN."""
    from kgrec.serving.ranked_lists import check_k
    from kgrec.serving.similar_items import by_item
    from kgrec.table_files import refuse_out

    if out is not None:
        refuse_out(out, overwrite, [run, *(new_items or []), filters.where_sparql])
    trained = load_run(run, model, device, new_items, skip_unknown)
    check_k(trained, k, "--k")
    table = trained.similar(item, k, **filters.values)
    for text in table.notes:
        note(text)
    if out is not None:
        table.write(out, overwrite=overwrite, csv_safe=csv_safe)
        status(f"{len(table):,} rows in {out}")
    elif as_json:
        print_json([one.to_json() for one in by_item(trained, table)])
    else:
        for one in by_item(trained, table):
            console().print(one.table())

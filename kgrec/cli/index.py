"""`kgrec index`: an approximate index of a run's items, with its recall against exact lists."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Json, Overwrite, RunFolder, TrustedModel, watchable
from kgrec.cli.output import print_json, status


@watchable
def index(
    run: RunFolder,
    *,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder to write; by default RUN with `.index` behind its name.")
    ] = None,
    connectivity: Annotated[int, typer.Option(help="Neighbors of an item in the graph of items.")] = 16,
    expansion_add: Annotated[int, typer.Option(help="Items that are looked at when one is added.")] = 128,
    expansion_search: Annotated[int, typer.Option(help="Items that are looked at in a search.")] = 128,
    model: TrustedModel = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Write an approximate index of items, for catalogs so large that scoring every item takes too long.

    It is for models whose scores are products of vectors, and says how many of the exact lists' items it finds. It
    needs the extra `index`: pip install 'kgrec[index]'."""
    from kgrec.run import Run
    from kgrec.serving.index_quality import written_index
    from kgrec.serving.item_index import IndexSettings

    settings = IndexSettings(connectivity, expansion_add, expansion_search)
    folder = out or run.with_name(f"{run.resolve().name}.index")
    trained = Run.load(run, trust=model, mapped=True)
    measured = written_index(trained, folder, settings, overwrite=overwrite)
    if as_json:
        print_json({"index": str(folder), **measured})
        return
    status(
        f"index in {folder}: recall@10 {measured['recall@10']:.4f} of {measured['users']:,} users; one user in "
        f"{measured['index_p50_ms']:.2f} ms (median), exactly in {measured['exact_p50_ms']:.2f} ms"
    )

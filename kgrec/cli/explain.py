"""`kgrec explain`: why an item is recommended to a user, by the paths of the graph behind its score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Device, Json, RunFolder, TrustedModel
from kgrec.cli.output import note, print_json, say, status


def explain(
    run: RunFolder,
    user: Annotated[str, typer.Option("--user", help="The user's id.")],
    item: Annotated[
        str | None, typer.Option("--item", help="The item's id. Default: the first items of the user's list.")
    ] = None,
    paths: Annotated[int, typer.Option("--paths", help="Number of paths for each item, 1 to 100.")] = 5,
    k: Annotated[int, typer.Option("--k", help="Without --item, how many items of the list are explained.")] = 3,
    by: Annotated[
        str | None,
        typer.Option(
            "--by",
            help="What makes a path strong: `drop`, by how much the score falls without its edges, or `attention`, the "
            "model's own. Default: drop, of those that attention times gradient puts first.",
        ),
    ] = None,
    through: Annotated[
        str | None,
        typer.Option(
            "--through",
            help="What paths lead over: `facts` or other `users`. Default: facts, where the model reads some.",
        ),
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Seed of the random paths that each path is held against.")] = 0,
    rdf: Annotated[
        Path | None, typer.Option("--rdf", help="Write PROV-O to this file: .ttl, .nt, .jsonld, .rdf or .trig.")
    ] = None,
    png: Annotated[
        Path | None, typer.Option("--png", help="Write a drawing to this file, .png (the extra `plot`) or .svg.")
    ] = None,
    device: Device = "auto",
    model: TrustedModel = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the files that --rdf and --png name, if they exist.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Explain recommendations by paths of the graph, and measure what the score loses without each path."""
    from kgrec.files import refuse_existing
    from kgrec.run import Run
    from kgrec.serving.explanation import check_paths
    from kgrec.serving.explanation_drawing import KIND as DRAWING
    from kgrec.serving.explanation_drawing import check_drawing
    from kgrec.serving.explanation_rdf import KIND as RDF
    from kgrec.serving.explanation_rdf import rdf_form

    check_paths(paths)
    if rdf is not None:
        rdf_form(rdf)
        refuse_existing(rdf, overwrite, RDF, [run])
    if png is not None:
        check_drawing(png)
        refuse_existing(png, overwrite, DRAWING, [run, rdf])
    trained = Run.load(run, trust=model, device=device)
    found = trained.explain(user, item, paths, by=by, through=through, k=k, seed=seed)
    for text in found.notes:
        note(text)
    if rdf is not None:
        found.write_rdf(rdf, overwrite=overwrite)
        status(f"PROV-O in {rdf}")
    if png is not None:
        found.draw(png, overwrite=overwrite)
        status(f"drawing in {png}")
    if as_json:
        print_json(found.to_json())
    else:
        say(found.text())

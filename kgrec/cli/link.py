"""`kgrec link`: find the entity of the knowledge graph that each item is, by names, years and descriptions."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from kgrec.cli.options import Data, Json, watchable
from kgrec.cli.output import note, print_json, say, status
from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from kgrec.sources.recipe.recipe import Recipe


@watchable
def link(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE|FOLDER",
            help="A recipe with `rdf` or `triples`, or a folder of raw files, whose recipe is guessed as `kgrec init` "
            "guesses it.",
        ),
    ],
    out: Annotated[
        Path, typer.Option("--out", help="The CSV to write. What is not sure is written to NAME-review.csv beside it.")
    ],
    data: Data = None,
    node_type: Annotated[
        str | None, typer.Option("--type", help="The node type to link. Default: the items of the target relation.")
    ] = None,
    known: Annotated[
        Path | None,
        typer.Option(
            "--known",
            help="A CSV with columns id and entity: pairs that are known. The command learns from them which pairs "
            "are right, and from which score on to accept one. The recipe's own links count as known too.",
        ),
    ] = None,
    labels: Annotated[
        list[str] | None,
        typer.Option("--label", help="One more predicate whose values are names, as an IRI. May be repeated."),
    ] = None,
    dates: Annotated[
        list[str] | None,
        typer.Option("--date", help="One more predicate whose values have the year, as an IRI. May be repeated."),
    ] = None,
    texts: Annotated[
        list[str] | None,
        typer.Option("--text", help="One more predicate whose values describe an entity, as an IRI. May be repeated."),
    ] = None,
    text_encoder: Annotated[
        str,
        typer.Option(
            "--text-encoder",
            metavar="NAME",
            help="How descriptions are compared: tfidf, by their words; or the name or folder of a "
            "sentence-transformers model (extra `text`), which compares names and descriptions by what they mean.",
        ),
    ] = "tfidf",
    threshold: Annotated[
        float | None,
        typer.Option(
            "--threshold",
            min=0,
            max=1,
            help="The score from which a pair is accepted, 0 to 1. Default: chosen by known pairs, else 0.5.",
        ),
    ] = None,
    precision: Annotated[
        float,
        typer.Option(
            "--precision", min=0, max=1, help="The share of accepted pairs that is to be right, by known pairs."
        ),
    ] = 0.97,
    many: Annotated[bool, typer.Option("--many", help="Several nodes may be the same entity.")] = False,
    add: Annotated[bool, typer.Option("--add", help="Write the links into the recipe too.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace files of links.")] = False,
    as_json: Json = False,
) -> None:
    """Find which entity of a knowledge graph each item is, by names, years and descriptions, where there is no common
    key. Check the CSV that it writes, and then build with it."""
    from kgrec.sources.linking import LinkOptions, add_to_recipe, file_in_recipe, find_links, refuse_links, write_links
    from kgrec.sources.recipe.recipe import Recipe

    if add and recipe.is_dir():
        raise KgrecError(f"{recipe} is a folder, so there is no recipe to add to; write one by kgrec init {recipe}")
    refuse_links(out, overwrite, [recipe if recipe.is_file() else None, known])
    options = LinkOptions(
        node_type,
        known,
        tuple(labels or ()),
        tuple(dates or ()),
        tuple(texts or ()),
        text_encoder,
        threshold,
        precision,
        one_to_one=not many,
    )
    with ExitStack() as stack:
        read = _guessed(recipe, stack) if recipe.is_dir() else Recipe.load(recipe)
        folder = Path(read.data if data is None else data)
        found = find_links(read, data, options)
    file = file_in_recipe(out, folder)
    review = write_links(found, out, overwrite=overwrite)
    added = add_to_recipe(recipe, found, file) if add else None
    if as_json:
        print_json(
            {**found.to_json(), "out": str(out), "review": None if review is None else str(review), "added": added}
        )
        return
    say(found.summary())
    say(f"wrote {out}" + (f"; look at {review} too: what is right there can be moved to {out.name}" if review else ""))
    if added:
        say(f"added to {recipe}: links of {found.node_type}")
    elif add:
        note(f"{recipe} has links already; make those of {found.node_type} there:")
    if not added:
        say(f"in the recipe:\n\n{found.recipe_part(file)}")


def _guessed(folder: Path, stack: ExitStack) -> Recipe:
    """The recipe that `kgrec init` would write for a folder. What it makes of the files lasts as long as the stack."""
    from kgrec.sources.guessing import init
    from kgrec.sources.recipe.recipe import Recipe

    place = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    return Recipe.load(init(folder, place / "recipe.yaml", by_name=False, progress=status).path)

"""Compares the recipes that `kgrec init` guesses from raw files alone with the recipes that were written by hand.

    python scripts/init_quality.py [--data DIR] [SET ...]

Raw files are linked into a temporary folder without their recipe. Each guessed recipe is built as it is. A cell says
whether a guess is what the hand-written recipe says: `=` yes, `≠` another one, `+` more than it, `-` nothing.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import kgrec
from kgrec.sources.guessing import init
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.recipe.table_part import TableFormat

ROOT = Path(__file__).parents[1]
#: Data set -> its hand-written recipe, and the folders of its raw files
SETS = {
    "shop": ("graphs/shop/shop.yaml", None),
    "ml-100k": ("graphs/ml-100k.yaml", ["ml-100k"]),
    "ml-1m": ("graphs/ml-1m.yaml", ["ml-1m"]),
    "ml-1m-dbpedia": ("graphs/ml-1m-dbpedia.yaml", ["ml-1m", "ml1m-dbpedia"]),
    "musical-instruments": ("graphs/musical-instruments.yaml", ["musical-instruments"]),
    "lastfm-music": ("graphs/lastfm-music.yaml", ["lastfm-music"]),
    "beauty": ("graphs/beauty.yaml", ["beauty"]),
    "gowalla": ("graphs/gowalla.yaml", ["gowalla"]),
}
CELLS = ("file", "user", "item", "weight", "time", "behaviour", "node keys", "link", "facts", "splits")
NO_DATA = (".yaml", ".md")


def main() -> None:
    """Print a table in Markdown, a row for each data set."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sets", nargs="*", choices=[*SETS, []], help="data sets; default: all")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KGREC_DATA", ROOT / "../shared/data")))
    arguments = parser.parse_args()
    print(f"| data set | {' | '.join(CELLS)} | users, items, edges | seconds |")
    print(f"|---|{'---|' * len(CELLS)}---|---:|")
    for name in arguments.sets or SETS:
        print(row(name, arguments.data), flush=True)


def row(name: str, data: Path) -> str:
    """The row of a data set."""
    path, folders = SETS[name]
    with tempfile.TemporaryDirectory() as work:
        raw, out = Path(work) / "raw", Path(work) / "recipe.yaml"
        for folder in [ROOT / "graphs/shop"] if folders is None else [data / one for one in folders]:
            link_files(folder, raw if folders is None else raw / folder.name)
        start = time.perf_counter()
        init(raw, out)
        seconds = time.perf_counter() - start
        by_hand, guess = Recipe.load(ROOT / path), Recipe.load(out)
        files = data if folders is not None else ROOT / "graphs/shop"
        cells = " | ".join(compared(by_hand, guess))
        return f"| {name} | {cells} | {sizes(by_hand, files, guess)} | {seconds:.1f} |"


def link_files(folder: Path, to: Path) -> None:
    """Links to the raw files of a folder."""
    for file in folder.rglob("*"):
        if file.is_file() and file.suffix not in NO_DATA:
            place = to / file.relative_to(folder)
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(file.resolve())


def compared(by_hand: Recipe, guess: Recipe) -> Iterator[str]:
    """The cells of two recipes."""
    one, other = by_hand.interactions[0], guess.interactions[0]
    yield mark({*map(base, one.all_files)}, {*map(base, other.all_files)})
    yield mark(place(one, one.user), place(other, other.user))
    yield mark(place(one, one.item), place(other, other.item))
    yield mark(place(one, one.weight), place(other, other.weight))
    yield mark(times(one), times(other))
    yield mark(behaviours(one), behaviours(other))
    yield mark(keys(by_hand), keys(guess))
    yield mark(links(by_hand), links(guess))
    yield mark(facts(by_hand), facts(guess))
    yield mark({*splits(by_hand)}, {*splits(guess)})


def mark(wanted: object, found: object) -> str:
    """How a guess stands to what was written by hand."""
    nothing: tuple[object, ...] = (None, set())
    if wanted in nothing and found in nothing:
        return ""
    if wanted == found:
        return "="
    if isinstance(wanted, set) and isinstance(found, set) and wanted < found:
        return "+"
    return "-" if found in nothing else "+" if wanted in nothing else "≠"


def place(table: TableFormat, column: str | None) -> str | int | None:
    """A column: its place, where the file does not name it."""
    return table.columns.index(column) if table.columns and column is not None else column


def base(name: str) -> str:
    return name.rpartition("/")[2]


def times(table: Interactions) -> object:
    return None if table.time is None else (place(table, table.time.column), table.time.unit, table.time.format)


def behaviours(table: Interactions) -> object:
    return None if table.relations is None else (place(table, table.relations.column), table.relations.values)


def keys(recipe: Recipe) -> set[object]:
    """The key of each table of nodes."""
    return {
        (node_type, base(table.file[0]), place(table, table.id))
        for node_type, nodes in recipe.nodes.items()
        for table in nodes.tables
    }


def links(recipe: Recipe) -> set[object]:
    """How each node type is linked."""
    return {
        (kind, one.template or one.predicate or (base(one.file[0]), place(one, one.id), place(one, one.entity)))
        for kind, one in recipe.links.items()
    }


def facts(recipe: Recipe) -> set[object]:
    files = {base(name) for source in recipe.rdf for name in source.files}
    return files | {(base(t.file[0]), place(t, t.head), place(t, t.tail)) for t in recipe.triples}


def splits(recipe: Recipe) -> Iterator[object]:
    """The files of each published split."""
    for split in recipe.splits.values():
        yield tuple(base(name) for name in (*split.train, *split.valid, *split.test))
    for table in recipe.interactions:
        if table.parts:
            yield tuple(base(name) for names in table.parts.values() for name in names)


def sizes(by_hand: Recipe, data: Path, guess: Recipe) -> str:
    """Users, items and edges to recommend, of the guess; and those of the hand-written recipe where they differ."""
    texts = []
    for recipe, folder in ((guess, None), (by_hand, data)):
        graph, _ = kgrec.build(recipe, folder)
        user, _, item = graph.target
        edges = graph.only(graph.target).num_edges
        texts.append(f"{len(graph.range(user)):,}, {len(graph.range(item)):,}, {edges:,}")
    return texts[0] if texts[0] == texts[1] else f"{texts[0]} (by hand {texts[1]})"


if __name__ == "__main__":
    main()

"""Writes a recipe for a folder of raw files: what is in it, what was guessed, and why."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole
from kgrec.sources.guessing.commented_recipe import KEPT, CommentedRecipe
from kgrec.sources.guessing.folder_tables import FolderTables
from kgrec.sources.guessing.guesser import Guesser, order
from kgrec.sources.guessing.name_links import link_by_name
from kgrec.sources.guessing.proving import proved
from kgrec.sources.guessing.questions import Choices


@dataclass(eq=False)
class RecipeGuess:
    """What `init` wrote. str(guess) is what a person reads."""

    path: Path
    recipe: CommentedRecipe
    prepared: dict[str, str] = field(default_factory=dict)  #: file that was written out -> what it was made from
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """The recipe's path, each guess with its evidence, what was written out and what is left out."""
        return {
            "recipe": str(self.path),
            "values": self.recipe.values,
            "guesses": self.recipe.guesses(),
            "prepared": self.prepared,
            "left_out": self.recipe.left_out,
            "remarks": self.recipe.remarks,
            "seconds": round(self.seconds, 2),
        }

    def __str__(self) -> str:
        events = self.recipe.values["interactions"]
        lines = [f"{self.path} is written ({self.seconds:.1f} s)"]
        file = events.get("file") or events.get("parts")
        lines.append(f"  interactions: {_shown(file)}, {events.get('user', 'user')} -> {events.get('item', 'item')}")
        keys = [key for key in ("relation", "relations", "weight", "time") if key in events]
        lines += [f"    {key}: {_shown(events[key])}" for key in keys]
        for name, nodes in self.recipe.values.get("nodes", {}).items():
            files = [_shown(one["file"]) for one in nodes.get("tables", [nodes])]
            lines.append(f"  {name}: {', '.join(files)}")
        for key in ("edges", "links", "rdf", "triples", "splits"):
            if key in self.recipe.values:
                value = self.recipe.values[key]
                lines.append(f"  {key}: {', '.join(value) if key in ('edges', 'splits') else _shown(value)}")
        lines += [f"  written out: {name}, from {origin}" for name, origin in self.prepared.items()]
        if self.recipe.left_out:
            lines.append(f"  not used: {len(self.recipe.left_out)} files, columns or predicates; the recipe says why")
        remarks = [text for text in self.recipe.remarks if not text.startswith(KEPT)]
        return "\n".join([*lines, *("  " + text.replace("\n", "\n  ") for text in remarks)])


def _shown(value: Any) -> str:
    text = ", ".join(f"{k} {_shown(v)}" for k, v in value.items()) if isinstance(value, dict) else str(value)
    return text if len(text) <= 90 else f"{text[:87]}..."


def init(
    folder: Path | str,
    out: Path | str | None = None,
    *,
    choices: Choices | None = None,
    overwrite: bool = False,
    by_name: bool = True,
    progress: Callable[[str], None] = lambda _: None,
) -> RecipeGuess:
    """Guess a recipe for the raw files in a folder, and write it to `out` (default: NAME.yaml, here).

    Files are read by samples where they are large. Each guess stands in the recipe with its evidence as a comment. What
    a recipe cannot read as it is (a table of a database, an archive, lines of orders without their customers) is
    written out beside it, in `NAME.prepared`.

    choices: what was decided beforehand, and who is asked where two guesses are as likely. progress: is called with
    lines about what is done. by_name: find items in the RDF by their names where no key leads to it; if not, facts that
    nothing links are kept all the same.

    Raises KgrecError where the folder is missing, has no data or no interactions, where two guesses are as likely and
    nobody can be asked, and where `out` exists and `overwrite` is false.
    """
    start = time.perf_counter()
    folder = Path(folder)
    out = Path(out) if out is not None else Path(f"{folder.resolve().name or 'data'}.yaml")
    prepared = out.parent / f"{out.stem}.prepared"
    refuse_existing(out, overwrite, None)
    if out.is_dir():
        raise KgrecError(f"--out {out} is a folder; name a file, such as recipe.yaml")
    refuse_existing(prepared, overwrite)
    choices = choices or Choices()
    with ExitStack() as stack:
        work = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kgrec-init-")))
        tables = FolderTables(folder, prepared, work, progress)
        tables.read()
        guesser = Guesser(tables, out, choices)
        recipe = proved(guesser.recipe(), tables, progress)
        if not by_name and guesser.knowledge is not None:
            guesser.knowledge.keep_unlinked()
            order(recipe)
        if by_name and guesser.knowledge is not None and link_by_name(guesser.knowledge, tables, progress):
            order(recipe)
            recipe = proved(recipe, tables, progress)
        used = _used(recipe, tables)
        if used:
            _put_in_place(used, prepared, overwrite)
        try:
            with whole(out, overwrite) as part:
                part.write_text(str(recipe), encoding="utf-8")
        except BaseException:
            if used:
                shutil.rmtree(prepared, ignore_errors=True)
            raise
    origins = {name: tables.origins[name] for name in used}
    return RecipeGuess(out, recipe, origins, time.perf_counter() - start)


def _used(recipe: CommentedRecipe, tables: FolderTables) -> dict[str, Path]:
    """The files that were written out and that the recipe names, with where they lie now, in the order of their names,
    which that of the system is not."""
    named = set(_names(recipe.values))
    made = [path for path in sorted(tables.made.rglob("*")) if path.is_file()]
    found = {tables.name_of(path): path for path in made}
    return {name: path for name, path in found.items() if name in named}


def _names(value: Any) -> list[str]:
    """All texts in a value."""
    if isinstance(value, dict):
        return [name for one in value.values() for name in _names(one)]
    if isinstance(value, list):
        return [name for one in value for name in _names(one)]
    return [value] if isinstance(value, str) else []


def _put_in_place(used: dict[str, Path], prepared: Path, overwrite: bool) -> None:
    top = next(iter(used.values())).parents
    made = next(parent for parent in top if parent.name == "made")
    with whole(prepared, overwrite) as part:
        for path in used.values():
            to = part / path.relative_to(made)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(os.fspath(path), to)

"""Tries a recipe on its files before it is written: what cannot be built is left out, with the reason."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from pydantic import ValidationError

from kgrec.errors import Fault, KgrecError
from kgrec.sources.building import build
from kgrec.sources.guessing.commented_recipe import CommentedRecipe
from kgrec.sources.guessing.folder_tables import FolderTables
from kgrec.sources.recipe.recipe import Recipe

MOST_BYTES = 48_000_000  #: of a recipe's files, up to which it is built once to try it
MOST_ROUNDS = 20  #: parts that are taken away at most


def proved(recipe: CommentedRecipe, tables: FolderTables, progress: Callable[[str], None]) -> CommentedRecipe:
    """The same recipe, without the parts whose files cannot be built as they are written. Raises KgrecError where the
    interactions themselves cannot."""
    is_small = _bytes(recipe.values, tables) <= MOST_BYTES
    if is_small:
        progress("trying the recipe")
    for _ in range(MOST_ROUNDS):
        try:
            found = recipe_of(recipe.values, tables)
            if is_small:
                build(found, tables.folder)
            return recipe
        except ValidationError as error:
            raise KgrecError(f"the guessed recipe is no recipe: {error}") from error
        except KgrecError as error:
            if not _take_away(recipe, error.fault):
                raise
    return recipe


def recipe_of(values: dict[str, Any], tables: FolderTables) -> Recipe:
    """The recipe of guessed values, with the paths of files that were written out where they lie now."""
    made = {tables.name_of(path): str(path.absolute()) for path in tables.made.rglob("*") if path.is_file()}
    return Recipe.model_validate({**_renamed(values, made), "data": str(tables.folder)})


def _renamed(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: _renamed(one, names) for key, one in value.items()}
    if isinstance(value, list):
        return [_renamed(one, names) for one in value]
    return names.get(value, value) if isinstance(value, str) else value


def _bytes(values: dict[str, Any], tables: FolderTables) -> int:
    """Bytes of the files that a recipe names."""
    made = {tables.name_of(path): path for path in tables.made.rglob("*") if path.is_file()}
    total = 0
    for name in _texts(values):
        path = made.get(name) or tables.folder / name
        try:
            total += path.stat().st_size * (5 if path.suffix in (".gz", ".bz2", ".zst") else 1) if path.is_file() else 0
        except OSError:
            continue
    return total


def _texts(value: Any) -> list[str]:
    if isinstance(value, dict):
        return [text for one in value.values() for text in _texts(one)]
    if isinstance(value, list):
        return [text for one in value for text in _texts(one)]
    return [value] if isinstance(value, str) and len(value) < 500 and "\n" not in value else []


def _take_away(recipe: CommentedRecipe, fault: Fault) -> bool:
    """Remove the part of a recipe that a fault is in. Whether there is one that can be removed."""
    values, why = recipe.values, f"cannot be built: {str(fault).splitlines()[0][:200]}"
    file = fault.file
    for node_type, nodes in list(values.get("nodes", {}).items()):
        for part in list(nodes.get("tables", [nodes])):
            if not _is_in(file, part.get("file")):
                continue
            place = _column_part(part, fault.column)
            if place is not None:
                del part[place[0]][place[1]]
                recipe.left_out[f"{file}:{fault.column}"] = why
            elif "tables" in nodes and len(nodes["tables"]) > 1:
                nodes["tables"].remove(part)
                recipe.because = {k: t for k, t in recipe.because.items() if k[:3] != ("nodes", node_type, "tables")}
                recipe.left_out[str(file)] = why
            else:
                recipe.take("nodes", node_type)
                recipe.left_out[str(file)] = why
            return True
    for key in ("edges", "splits"):
        for name, part in list(values.get(key, {}).items()):
            if any(_is_in(file, one) for one in part.values() if isinstance(one, str | list)):
                recipe.take(key, name)
                recipe.left_out[str(file)] = why
                if key == "splits" and values.get("standard", {}).get("split") == name:
                    recipe.put("standard", "split", value="ratio:0.1,valid=0.1,seed=7")
                return True
    for key in ("rdf", "triples", "links"):
        if key in values and (_mentions(values[key], file) or f"`{key}`" in fault.message):
            recipe.take(key)
            recipe.left_out[str(file or key)] = why
            return True
    if "edges" in values and file is None and (relation := _named(values["edges"], fault.message)):
        recipe.take("edges", relation)
        recipe.left_out[relation] = why
        return True
    return False


def _column_part(part: dict[str, Any], column: object) -> tuple[str, str] | None:
    """The feature or edge of a table that reads a column."""
    for key in ("features", "edges"):
        for name, value in part.get(key, {}).items():
            if column is not None and column == (value.get("column", name) if isinstance(value, dict) else name):
                return key, name
    return None


def _is_in(file: str | None, named: Any) -> bool:
    """Whether a fault's file is one that a recipe names."""
    if file is None or named is None:
        return False
    return any(one and (file == one or file.endswith(f"/{one.rpartition('/')[2]}")) for one in _texts(named))


def _mentions(value: Any, file: str | None) -> bool:
    return any(_is_in(file, text) for text in _texts(value))


def _named(values: dict[str, Any], message: str) -> str | None:
    return next((name for name in values if f"'{name}'" in message), None)

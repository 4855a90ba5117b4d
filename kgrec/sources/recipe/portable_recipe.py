"""A recipe as JSON data for the graph folder: what columns and predicates mean, without paths of this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath, PureWindowsPath
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from kgrec.sources.recipe.recipe import Recipe

#: Keys under which a recipe names files, folders and addresses
FILE_KEYS = {"file", "files", "folder", "ids", "train", "valid", "test", "endpoint"}
FILE_MAPS = {"parts", "contexts"}  #: keys whose values are mappings from a name to files


def portable_recipe(recipe: Recipe) -> dict[str, Any]:
    """A recipe with all its defaults, as JSON data. `Recipe.model_validate` reads it back.

    The data folder is left out. Absolute paths are shortened to the file's name. User names and passwords are removed
    from the URLs of endpoints.

    >>> recipe = Recipe.model_validate({"name": "shop", "interactions": {"file": "/home/ann/shop/orders.csv"}})
    >>> kept = portable_recipe(recipe)
    >>> kept["interactions"][0]["file"], kept["interactions"][0]["user"], "data" in kept
    (['orders.csv'], 'user', False)
    """
    kept: dict[str, Any] = _without_machine(recipe.model_dump(mode="json", exclude={"data"}), False)
    return kept


def _without_machine(value: Any, names_files: bool) -> Any:
    """The same data. names_files: whether a string at this place is a file name."""
    if isinstance(value, Mapping):
        return {name: _part_without_machine(name, one) for name, one in value.items()}
    if isinstance(value, list):
        return [_without_machine(one, names_files) for one in value]
    return _portable_name(value) if isinstance(value, str) and names_files else value


def _part_without_machine(key: str, value: Any) -> Any:
    if key in FILE_MAPS and isinstance(value, Mapping):
        return {name: _without_machine(one, True) for name, one in value.items()}
    return _without_machine(value, key in FILE_KEYS)


def _portable_name(name: str) -> str:
    """A file name without its absolute folder; a URL without user name and password."""
    if "://" in name:
        parts = urlsplit(name)
        return urlunsplit(parts._replace(netloc=parts.netloc.rpartition("@")[2]))
    for kind in (PurePosixPath, PureWindowsPath):
        if kind(name).is_absolute():
            return kind(name).name
    return name

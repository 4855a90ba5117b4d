"""Validates the recipes and parts of recipes that pages show. A part is completed to a whole recipe first."""

from __future__ import annotations

import copy
import re
from typing import Any

import yaml

from kgrec.sources.recipe import Recipe

PART = re.compile(r"^\s*#\s*part of a recipe:\s*(?P<place>[\w.]+)\s*$", re.MULTILINE)

#: Required keys of each part, which are added if the page does not show them
NEEDED: dict[str, dict[str, Any]] = {
    "interactions": {"file": "events.csv", "relation": "rated"},
    "nodes": {"file": "items.csv", "id": "id"},
    "edges": {"file": "edges.csv", "between": ["item", "person"]},
    "links": {"template": "http://example.org/{id}"},
    "rdf": {"files": "facts.ttl"},
    "triples": {"file": "facts.tsv"},
    "splits": {"test": "test.csv"},
    "candidates": {"file": "lists.csv"},
}
NAMED = {"nodes", "edges", "links", "splits", "candidates"}  #: keys with named entries
OTHERWISE = ("file", "parts", "files", "endpoint", "template", "predicate")
"""Keys of which a part has one, so that the one that is shown takes the place of the one that is needed."""


def validate(text: str) -> Recipe:
    """Read a recipe or a part of one, as `kgrec` does. Raises ValidationError or KgrecError for a wrong recipe.

    A part names its place in the first line, such as `# part of a recipe: nodes.item`, or begins with keys of a recipe.

    >>> validate("# part of a recipe: nodes.film\\nfeatures: {year: numeric}").nodes["film"].tables[0].file
    ['items.csv']
    """
    data = yaml.safe_load(text)
    place = PART.search(text)
    if place:
        for name in reversed(place["place"].split(".")):
            data = {name: data}
    return Recipe.model_validate(data if "name" in data and "interactions" in data else completed(data))


def completed(part: dict[str, Any]) -> dict[str, Any]:
    """A whole recipe that contains these keys."""
    recipe = copy.deepcopy(part)
    recipe.setdefault("name", "part")
    recipe.setdefault("interactions", {})
    for key, needed in NEEDED.items():
        if key not in recipe:
            continue
        if key in NAMED and isinstance(recipe[key], dict):
            recipe[key] = {name: _with(value, needed) for name, value in recipe[key].items()}
        elif key not in NAMED:
            recipe[key] = _with(recipe[key], needed)
    if "links" in recipe:
        known = recipe.setdefault("nodes", {})
        for name in recipe["links"]:
            known.setdefault(name, dict(NEEDED["nodes"]))
    for key in ("splits", "candidates"):
        named = (recipe.get("standard") or {}).get(key.removesuffix("s") if key == "splits" else key)
        if named and ":" not in named:
            recipe.setdefault(key, {}).setdefault(named.partition(",")[0], dict(NEEDED[key]))
    return recipe


def _with(value: Any, needed: dict[str, Any]) -> Any:
    """A part, or each of several, with the required keys that it lacks."""
    if isinstance(value, list):
        return [_with(one, needed) for one in value]
    if not isinstance(value, dict) or "tables" in value:
        return value
    taken = any(key in value for key in OTHERWISE)
    return {**{key: one for key, one in needed.items() if not (taken and key in OTHERWISE)}, **value}

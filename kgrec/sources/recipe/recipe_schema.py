"""The JSON Schema of recipes, with which editors complete and check them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.recipe.recipe_part import CLEAN, RecipePart

DIALECT = "https://json-schema.org/draft/2020-12/schema"
#: Where the schema of the newest version is published
ADDRESS = "https://raw.githubusercontent.com/kgrec/kgrec/main/kgrec/recipe.schema.json"

FIXED = {"enum", "const"}  #: keys of a schema that list the allowed values


def recipe_schema() -> dict[str, Any]:
    """The JSON Schema of a recipe, as plain JSON data. It accepts the short forms too, such as one file in place of a
    list of files.

    It does not check rules between several fields; `kgrec check` does.

    >>> schema = recipe_schema()
    >>> schema["required"], schema["properties"]["about"]["description"]
    (['name', 'interactions'], 'what the data set is, and where it comes from')
    """
    schema = Recipe.model_json_schema()
    parts = schema["$defs"]
    takes_numbers = {kind.__name__ for kind in _subclasses(RecipePart) if kind.model_config["coerce_numbers_to_str"]}
    for name, part in {**parts, Recipe.__name__: schema}.items():
        if name in takes_numbers:
            _accept_numbers(part)
    _refuse_other_names(schema)
    _accept_tables_alone(parts)
    return {"$schema": DIALECT, "$id": ADDRESS, **schema, "title": "A recipe of kgrec"}


def _subclasses(kind: type[RecipePart]) -> Iterator[type[RecipePart]]:
    for one in kind.__subclasses__():
        yield one
        yield from _subclasses(one)


def _accept_numbers(schema: Any) -> None:
    """Accept a number in place of a text, such as for a column named 1; but not in `$defs`."""
    if isinstance(schema, list):
        for one in schema:
            _accept_numbers(one)
    elif isinstance(schema, dict):
        if schema.get("type") == "string" and schema.get("pattern", CLEAN) == CLEAN and not schema.keys() & FIXED:
            schema["type"] = ["string", "number"]
        for key, one in schema.items():
            if key not in ("$defs", "default", "enum", "propertyNames"):
                _accept_numbers(one)


def _refuse_other_names(schema: Any) -> None:
    """Refuse names with other characters in mappings whose names are checked."""
    for one in schema.values() if isinstance(schema, dict) else schema:
        if isinstance(one, dict | list):
            _refuse_other_names(one)
    if isinstance(schema, dict) and "patternProperties" in schema:
        schema["additionalProperties"] = False


def _accept_tables_alone(parts: dict[str, Any]) -> None:
    """Accept, for nodes, the keys of a single table beside their own keys, or a list of tables."""
    nodes, table = parts["Nodes"], parts["NodeTable"]
    own = {key: nodes.pop(key) for key in list(nodes) if key not in ("title", "description")}
    beside = {name: field for name, field in own["properties"].items() if name != "tables"}
    alone = {**table, "properties": table["properties"] | beside}
    nodes["anyOf"] = [
        {key: value for key, value in alone.items() if key not in ("title", "description")},
        own,
        {"type": "array", "items": {"$ref": "#/$defs/NodeTable"}},
    ]

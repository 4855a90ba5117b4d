"""`kgrec schema`: the JSON Schema of recipes, for editors."""

from __future__ import annotations

import json


def schema() -> None:
    """Print the JSON Schema of recipes. With it, an editor can complete and check recipes.

    Name the schema in the first line of a recipe: `# yaml-language-server: $schema=recipe.schema.json`.
    """
    from kgrec.sources.recipe.recipe_schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))

"""`kgrec schema`: the JSON Schema of recipes, for editors."""

from __future__ import annotations

import json


def schema() -> None:
    """Print the JSON Schema of recipes, by which an editor completes and checks them.

    The first line of a recipe names it: `# yaml-language-server: $schema=recipe.schema.json`.
    """
    from kgrec.sources.recipe.recipe_schema import recipe_schema

    print(json.dumps(recipe_schema(), indent=1, ensure_ascii=False))

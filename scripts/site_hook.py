"""Hooks for MkDocs: they add the pages of the reference, which are generated from code, to the site."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

SCRIPTS = Path(__file__).resolve().parent
if str(SCRIPTS) not in sys.path:
    sys.path.insert(0, str(SCRIPTS))

from mkdocs.structure.files import File, Files  # noqa: E402

from documentation.api_pages import PAGES, api_page  # noqa: E402
from documentation.commands_page import commands_page  # noqa: E402
from documentation.recipe_page import recipe_page  # noqa: E402
from documentation.settings_pages import models_page, settings_page  # noqa: E402

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig


def generated_pages() -> dict[str, str]:
    """The generated pages, by their path under docs/."""
    return {
        "reference/recipe.md": recipe_page(),
        "reference/commands.md": commands_page(),
        "reference/models.md": models_page(),
        "reference/settings.md": settings_page(),
        **{f"reference/api/{name}.md": api_page(page) for name, page in PAGES.items()},
    }


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add them to the site's files."""
    for place, text in generated_pages().items():
        files.append(File.generated(config, place, content=text))
    return files

"""The reference is whole: every public name, key, option and setting stands in it and is explained."""

from __future__ import annotations

import dataclasses
import doctest
import importlib
import sys
from pathlib import Path
from typing import Annotated

import griffe
import pytest
from pydantic import TypeAdapter

import kgrec
from kgrec import cli, models
from kgrec.settings import describe
from kgrec.sources.recipe import Recipe

ROOT = Path(__file__).parent.parent
MODULES = ("api_pages", "commands_page", "docstrings", "recipe_page", "recipes", "settings_pages", "tables")
sys.path.insert(0, str(ROOT / "scripts"))
try:
    api_pages, commands_page, docstrings, recipe_page, recipes, settings_pages, tables = (
        importlib.import_module(f"documentation.{name}") for name in MODULES
    )
    from documentation.blocks import blocks_of
    from site_hook import generated_pages
finally:
    sys.path.remove(str(ROOT / "scripts"))


@pytest.mark.parametrize("name", MODULES)
def test_examples_in_the_docstrings_of_what_makes_it(name):
    assert doctest.testmod(sys.modules[f"documentation.{name}"]).failed == 0


# ---------------------------------------------------------------------- the library


@pytest.fixture(scope="module")
def package() -> griffe.Object:
    """The code as mkdocstrings reads it."""
    extensions = griffe.load_extensions(docstrings.Docstrings)
    loaded = griffe.load("kgrec", search_paths=[ROOT], extensions=extensions, allow_inspection=False)
    assert isinstance(loaded, griffe.Module)
    return loaded


@pytest.mark.parametrize("page", api_pages.PAGES)
def test_public_names_are_documented(page, package):
    names = api_pages.names_of(api_pages.PAGES[page])
    found = {name: package[api_pages.home_of(name).removeprefix("kgrec.")] for name in names}
    assert found and [one for name, thing in found.items() for one in docstrings.undocumented(thing, name)] == []


def test_every_name_of_kgrec_is_in_the_reference_once():
    listed = [name for page in api_pages.PAGES.values() for name in api_pages.names_of(page)]
    assert len(listed) == len(set(listed))
    assert {f"kgrec.{name}" for name in kgrec.__all__} - {*listed} == {"kgrec.__version__", "kgrec.models"}


def test_a_name_without_a_docstring_is_found(tmp_path):
    (tmp_path / "made_up").mkdir()
    code = [
        "class Thing:",
        '    """A thing."""',
        "    size: int  #: how large",
        "    color: str",
        "    _own: int",
        "    def move(self): ...",
        "NAME = 1  #: a name",
        "def nothing(): ...",
    ]
    (tmp_path / "made_up/__init__.py").write_text("\n".join(code))
    loaded = griffe.load("made_up", search_paths=[tmp_path], extensions=griffe.load_extensions(docstrings.Docstrings))
    assert loaded["Thing.size"].docstring.value == "How large." and loaded["NAME"].docstring.value == "A name."
    assert [*docstrings.undocumented(loaded["Thing"], "Thing")] == ["Thing.color", "Thing.move"]
    assert [*docstrings.undocumented(loaded["nothing"], "nothing")] == ["nothing"]


# ---------------------------------------------------------------------- recipes


KEYS = [(part, key) for part in recipe_page.PARTS for key in recipe_page.own_fields(part)]


@pytest.mark.parametrize(("part", "key"), KEYS, ids=[f"{part.__name__}.{key}" for part, key in KEYS])
def test_a_key_is_explained_and_its_example_is_read(part, key):
    field, home = recipe_page.own_fields(part)[key]
    assert field.description
    example = recipe_page.examples()[home][key]
    kind = Annotated[field.annotation, *field.metadata] if field.metadata else field.annotation
    TypeAdapter(kind).validate_python(example)
    assert f'id="{recipe_page.anchor(part, key)}"' in recipe_page.recipe_page()


def test_every_part_of_a_recipe_is_on_the_page():
    parts = {name.lstrip("_") for name in Recipe.model_json_schema()["$defs"]} | {"Recipe"}
    assert parts <= {part.__name__ for part in recipe_page.PARTS}


def test_every_key_of_a_part_is_listed_there_or_where_the_page_says():
    for part in recipe_page.PARTS:
        listed = set(recipe_page.own_fields(part))
        for shared in recipe_page.SHARED:
            if part is not shared and issubclass(part, shared):
                listed |= set(recipe_page.own_fields(shared))
        assert listed == set(part.model_fields), part


def test_the_recipes_on_the_page_are_read():
    shown = [block for block in blocks_of(recipe_page.recipe_page()) if block.language == "yaml"]
    assert len(shown) > 10
    for block in shown:
        recipes.validate(block.text)


# ---------------------------------------------------------------------- commands, models, settings


COMMANDS = {command.name: command.callback for command in cli.app.registered_commands}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_option_is_explained(name):
    found = list(commands_page.parameters(COMMANDS[name]))
    assert [one.names for one in found if not one.help] == []
    assert f"## kgrec {name} " in commands_page.commands_page()


def test_options_are_those_of_the_help(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr(sys, "argv", ["kgrec", "recommend", "--help"])
    with pytest.raises(SystemExit):
        cli.main()
    text = capsys.readouterr().out
    options = [flag for one in commands_page.parameters(COMMANDS["recommend"]) for flag in one.names]
    assert "--history" in options and "--json" in options and [one for one in options if one not in text] == []


@pytest.mark.parametrize("name", models.builtin_names())
def test_every_setting_of_a_model_is_explained(name):
    fields = describe(models.find(name).Config)
    assert [field.name for field in fields if not field.meaning] == []
    page = settings_pages.models_page()
    assert f"## {name}\n" in page and [one.name for one in fields if f'id="{name}-{one.name}"' not in page] == []


def test_every_setting_of_a_training_is_explained():
    page = settings_pages.settings_page()
    for kind in (kgrec.TrainingJob, kgrec.TrainingConfig):
        for field in dataclasses.fields(kind):
            assert f'id="{kind.__name__.lower()}-{field.name}"' in page


def test_tables_of_the_pages_have_as_many_cells_as_headings():
    for place, text in generated_pages().items():
        width = 0
        for line in text.splitlines():
            cells = line.count(" | ") if line.startswith("| ") else 0
            assert not width or not cells or cells == width, f"{place}: {line}"
            width = cells

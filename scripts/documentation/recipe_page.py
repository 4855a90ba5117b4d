"""The page of all keys of a recipe, generated from the classes that read it."""

from __future__ import annotations

import functools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel
from pydantic.fields import FieldInfo

from documentation.tables import code, prose, sentence, table
from kgrec.field_types import plain_type
from kgrec.sources.rdf.facts import ClassNodes, FactOptions, LiteralFeature
from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.recipe.edge_part import EdgeTable
from kgrec.sources.recipe.interaction_part import Behaviours, Click, Interactions, Session, TimeColumn
from kgrec.sources.recipe.knowledge_part import Link, Triples
from kgrec.sources.recipe.node_part import AttributeEdge, ImageFolder, Nodes, NodeTable, VectorFile
from kgrec.sources.recipe.published_part import PublishedCandidates, PublishedPart, PublishedSplit
from kgrec.sources.recipe.recipe import Recipe, Standard
from kgrec.sources.recipe.table_part import FeatureColumn, TableFile, TableFormat

Part = type[BaseModel]

#: For each part its heading, and its place in a recipe
PARTS: dict[Part, tuple[str, str]] = {
    Recipe: ("A recipe", ""),
    Nodes: ("Nodes", "nodes: {NAME: ...}"),
    NodeTable: ("A table of nodes", "nodes: {NAME: {tables: [...]}}"),
    FeatureColumn: ("A feature", "features: {NAME: ...}"),
    AttributeEdge: ("A column of nodes", "nodes: {NAME: {edges: {RELATION: ...}}}"),
    VectorFile: ("Vectors", "nodes: {NAME: {vectors: {FEATURE: ...}}}"),
    ImageFolder: ("Images", "nodes: {NAME: {images: {FEATURE: ...}}}"),
    Interactions: ("Interactions", "interactions: ..."),
    TimeColumn: ("A column of times", "time: ..."),
    Behaviours: ("Several behaviours", "interactions: {relations: ...}"),
    Session: ("Sessions", "interactions: {session: ...}"),
    Click: ("Clicks", "interactions: {click: ...}"),
    EdgeTable: ("Edge lists", "edges: {RELATION: ...}"),
    TableFormat: ("How a table is read", ""),
    Link: ("Links", "links: {NODE_TYPE: ...}"),
    RdfSource: ("RDF", "rdf: ..."),
    Triples: ("Tables of triples", "triples: ..."),
    FactOptions: ("What becomes of facts", ""),
    LiteralFeature: ("A literal", "literals: {PREDICATE: ...}"),
    ClassNodes: ("Classes as nodes", "classes: ..."),
    Standard: ("The standard protocol", "standard: ..."),
    PublishedSplit: ("Published splits", "splits: {NAME: ...}"),
    PublishedCandidates: ("Published candidate lists", "candidates: {NAME: ...}"),
}
SHARED: tuple[Part, ...] = (
    TableFormat,
    FactOptions,
)  #: parts whose keys also occur in other parts; they are explained once
HOMES: dict[Part, Part] = {TableFile: TableFormat, PublishedPart: PublishedPart}

INTRODUCTION = """\
# Keys of a recipe

A recipe is a YAML file that says what the columns and predicates of your files mean. This page lists every key.
[Recipes by example](../guides/recipes.md) shows how they are used.

An editor that knows JSON Schema completes and checks the keys. `kgrec schema > recipe.schema.json` writes the schema,
and the first line of a recipe names it:

```yaml
# yaml-language-server: $schema=recipe.schema.json
name: films
interactions: {file: ratings.csv}
```

A key that is not listed here is an error. Where a list of texts is wanted, one text may stand alone.
"""


@functools.cache
def examples() -> dict[str, dict[str, Any]]:
    """For each part and key the value of an example; `_example` is the text of a whole part."""
    found: dict[str, dict[str, Any]] = yaml.safe_load(
        Path(__file__).with_name("recipe_examples.yaml").read_text(encoding="utf-8")
    )
    return found


@functools.cache
def recipe_page() -> str:
    """The page in Markdown."""
    return "\n".join([INTRODUCTION, *(_section(part) for part in PARTS)])


def anchor(part: Part, key: str = "") -> str:
    """The anchor of a part, or of one of its keys, on the page.

    >>> anchor(Interactions), anchor(Interactions, "min_user")
    ('interactions', 'interactions-min_user')
    """
    heading = PARTS[part][0].lower().replace(" ", "-")
    return f"{heading}-{key}" if key else heading


def own_fields(part: Part) -> dict[str, tuple[FieldInfo, str]]:
    """The keys that are listed under a part, except those of shared parts, with the part that their example comes
    from."""
    shared = {name for one in SHARED if part is not one and issubclass(part, one) for name in one.model_fields}
    own = vars(part).get("__annotations__", {})
    return {
        name: (field, _home(part, name).__name__)
        for name, field in part.model_fields.items()
        if name not in shared or name in own
    }


def _home(part: Part, name: str) -> Part:
    """The class that defines a key."""
    return next(kind for kind in part.__mro__ if name in vars(kind).get("__annotations__", {}))


def _section(part: Part) -> str:
    heading, place = PARTS[part]
    known = examples()
    lines = [f"## {heading} {{ #{anchor(part)} }}", ""]
    if place:
        lines += [f"Its place in a recipe: `{place}`.", ""]
    lines += [prose(" ".join((part.__doc__ or "").split())), ""]
    if "_example" in known.get(part.__name__, {}):
        lines += ["```yaml", known[part.__name__]["_example"].rstrip(), "```", ""]
    rows = []
    for name, (field, home) in own_fields(part).items():
        example = code(f"{name}: {in_one_line(known[home][name])}")
        meaning = f"{prose(sentence(field.description or ''))}<br>Example: {example}"
        rows.append([f'<a id="{anchor(part, name)}"></a>{code(name)}', words(field), default(field), meaning])
    lines += [table(["key", "type", "default", "meaning"], rows), ""]
    beside = [one for one in SHARED if part is not one and issubclass(part, one)]
    if beside:
        also = " and ".join(f"[{PARTS[one][0]}](#{anchor(one)})" for one in beside)
        lines += [f"The keys of {also} are allowed here too.", ""]
    return "\n".join(lines)


def in_one_line(value: Any) -> str:
    """A value as YAML in one line.

    >>> in_one_line({"a": ["b", 1], "c": None}), in_one_line("x: y"), in_one_line("film")
    ('{a: [b, 1], c: null}', "'x: y'", 'film')
    """
    text: str = yaml.safe_dump(value, default_flow_style=True, width=float("inf"), sort_keys=False, allow_unicode=True)
    return text.removesuffix("\n").removesuffix("\n...")


def words(field: FieldInfo) -> str:
    """The type of a key in plain words, with links to other parts."""
    bounds = (
        [bound for bound in (plain_type(Annotated[int, *field.metadata]).bounds,) if bound] if field.metadata else []
    )
    kinds = list(dict.fromkeys(_kinds(field.annotation)))
    return ", ".join([" or ".join(kinds), *bounds])


def _kinds(hint: Any, several: bool = False) -> Iterator[str]:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is type(None):
        return
    if origin is Annotated:
        yield from _kinds(inner[0], several)
    elif origin in (Union, types.UnionType):
        for one in inner:
            yield from _kinds(one, several)
    elif origin is Literal:
        yield " or ".join(code(str(one)) for one in inner)
    elif origin is list:
        yield from (f"list of {kind}" for kind in _kinds(inner[0], True))
    elif origin is tuple:
        yield f"list of {len(inner)} {next(_kinds(inner[0], True))}"
    elif origin is dict:
        yield from (f"mapping to {kind}" for kind in _kinds(inner[1]))
    elif isinstance(hint, type) and issubclass(hint, BaseModel):
        yield f"[{_noun(PARTS[hint][0])}](#{anchor(hint)})"
    else:
        yield f"{plain_type(hint).words}{'s' if several else ''}"


def _noun(heading: str) -> str:
    """A heading in the form it has within a sentence, without its article.

    >>> _noun("A table of nodes"), _noun("RDF")
    ('table of nodes', 'RDF')
    """
    text = heading.removeprefix("The ").removeprefix("A ")
    return text if text.isupper() else text[0].lower() + text[1:]


def default(field: FieldInfo) -> str:
    """A key's default as a user would write it; empty if there is none, or if the key's meaning explains it."""
    if field.is_required():
        return "(required)"
    value = field.get_default(call_default_factory=True)
    if value is None or isinstance(value, BaseModel):
        return ""
    return code(in_one_line(list(value) if isinstance(value, tuple) else value))

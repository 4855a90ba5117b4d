"""Prepares docstrings for the site: `#:` comments become docstrings of fields, and examples become code blocks.

It is an extension of griffe, with which mkdocstrings reads the code without importing it.
"""

from __future__ import annotations

import ast
import functools
from collections.abc import Iterator
from pathlib import Path

import griffe

from documentation.tables import prose, sentence
from kgrec.field_texts import class_texts, classes, comments

MARK = "#:"
HIDDEN = {"FORMER", "forward"}  #: members of classes that the site does not show


class Docstrings(griffe.Extension):
    """Gives attributes the comment beside them as their docstring, and converts all docstrings to Markdown."""

    def on_object(self, *, obj: griffe.Object, loader: griffe.GriffeLoader, **kwargs: object) -> None:
        """Prepare the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = as_markdown(obj.docstring.value)
        elif isinstance(obj, griffe.Attribute) and obj.parent is not None:
            text = sentence(text_beside(obj))
            if text:
                obj.docstring = griffe.Docstring(as_markdown(text), lineno=obj.lineno, parent=obj)


def undocumented(found: griffe.Object | griffe.Alias, name: str) -> Iterator[str]:
    """The names without a docstring: the object itself, and the public methods, properties and fields of a class.

    An overridden member needs no docstring if it has one in a base class.
    """
    if not found.docstring:
        yield name
    for member in found.members.values() if found.is_class else ():
        is_field = member.is_attribute and (
            "property" in member.labels or member.name in _annotated(Path(str(found.filepath)), found.name)
        )
        if not (member.is_function or is_field) or member.is_alias or member.name.startswith("_") or member.docstring:
            continue
        if member.name not in HIDDEN and not _documented_above(found, member.name):
            yield f"{name}.{member.name}"


def _documented_above(found: griffe.Object | griffe.Alias, name: str) -> bool:
    """Whether a base class has a member of this name with a docstring."""
    assert isinstance(found, griffe.Class | griffe.Alias)
    return any(name in base.members and base.members[name].docstring for base in found.mro())


@functools.cache
def _annotated(path: Path, name: str) -> frozenset[str]:
    """The fields in a class's body."""
    found = _file(path).classes.get(name)
    body = [] if found is None else found.body
    return frozenset(ast.unparse(node.target) for node in body if isinstance(node, ast.AnnAssign))


def text_beside(attribute: griffe.Attribute) -> str:
    """The comment beside a field of a class or a name of a module, in one line; "" if there is none."""
    path = attribute.filepath
    if attribute.parent is None or not isinstance(path, Path) or not path.is_file():
        return ""
    if attribute.parent.is_class:
        return _fields(path, attribute.parent.name).get(attribute.name, "")
    return _names(path).get(attribute.name, "")


class _File:
    """A file of Python, of which only what is asked for is read."""

    def __init__(self, source: str) -> None:
        self.source = source

    @functools.cached_property
    def module(self) -> ast.Module:
        return ast.parse(self.source)

    @functools.cached_property
    def classes(self) -> dict[str, ast.ClassDef]:
        return classes(self.module)

    @functools.cached_property
    def comments(self) -> dict[int, str]:
        """The comments about fields by line."""
        return comments(self.source)


@functools.cache
def _file(path: Path) -> _File:
    return _File(path.read_text(encoding="utf-8"))


@functools.cache
def _fields(path: Path, name: str) -> dict[str, str]:
    file = _file(path)
    found = file.classes.get(name)
    return {} if found is None else _descriptions(found) | class_texts(found, file.comments)


def _descriptions(node: ast.ClassDef) -> dict[str, str]:
    """The `description` of each field of a pydantic class."""
    found = {}
    for field in node.body:
        if (
            isinstance(field, ast.AnnAssign)
            and isinstance(field.value, ast.Call)
            and isinstance(field.target, ast.Name)
        ):
            for one in field.value.keywords:
                if one.arg == "description" and isinstance(one.value, ast.Constant):
                    found[field.target.id] = str(one.value.value)
    return found


@functools.cache
def _names(path: Path) -> dict[str, str]:
    """The comments beside the names that a module assigns: after the name, or in the lines before it."""
    file, found = _file(path), {}
    if MARK not in file.source:
        return {}
    lines = file.source.splitlines()
    for node in file.module.body:
        targets = (
            [node.target] if isinstance(node, ast.AnnAssign) else node.targets if isinstance(node, ast.Assign) else []
        )
        texts: list[str] = []
        above = node.lineno - 2
        while above >= 0 and lines[above].startswith(MARK):
            texts.insert(0, lines[above].removeprefix(MARK).strip())
            above -= 1
        texts += [lines[(node.end_lineno or node.lineno) - 1].partition(f"  {MARK}")[2].strip()]
        for target in targets:
            if isinstance(target, ast.Name) and any(texts):
                found[target.id] = " ".join(filter(None, texts))
    return found


def as_markdown(text: str) -> str:
    """A docstring in Markdown. Examples after `>>>` and indented paragraphs are code; all else is prose.

    >>> as_markdown("Adds [B, *S].\\n\\n>>> 1 + 1\\n2").split("\\n")
    ['Adds \\\\[B, \\\\*S].', '', '```pycon', '>>> 1 + 1', '2', '```']
    """
    blocks: list[str] = []
    example: list[str] = []
    paragraph: list[str] = []

    def end(lines: list[str], is_example: bool) -> None:
        if lines:
            blocks.append("\n".join(["```pycon", *lines, "```"]) if is_example else _paragraph(lines))
            lines.clear()

    for line in [*griffe.Docstring(text).value.split("\n"), ""]:
        if line.startswith(">>>") or (example and line.strip()):
            end(paragraph, False)
            example.append(line)
        elif line.strip():
            paragraph.append(line)
        else:
            end(paragraph, False)
            end(example, True)
    return "\n\n".join(blocks)


def _paragraph(lines: list[str]) -> str:
    if all(line.startswith("    ") for line in lines):
        return "\n".join(lines)
    return "\n".join(_line(line) for line in lines)


def _line(line: str) -> str:
    text = prose(line)
    parts = text.split("`")
    text = "`".join(part if number % 2 else part.replace("__", r"\_\_") for number, part in enumerate(parts))
    return f"\\{text}" if text.startswith("#") else text

"""Markdown tables and the texts in their cells."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table.

    >>> print(table(["a", "b"], [["1", "x|y"]]))
    | a | b |
    | --- | --- |
    | 1 | x&#124;y |
    """
    lines = [headings, ["---"] * len(headings), *([cell(one) for one in row] for row in rows)]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def cell(text: str) -> str:
    """A text in one line, with the characters escaped that would end its cell."""
    return " ".join(text.split()).replace("|", "&#124;")


def code(text: str) -> str:
    """A text as code, in HTML, because a cell of a table may not contain `|` in backticks.

    >>> code("a|<b>")
    '<code>a&#124;&lt;b&gt;</code>'
    """
    escaped = text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    for character in "|`*_[]{}:":
        escaped = escaped.replace(character, f"&#{ord(character)};")
    return f"<code>{escaped}</code>"


def prose(text: str) -> str:
    """A text of the code as Markdown, with tags, stars and brackets escaped.

    >>> prose("`a<b>` and (user,item)<tab>item, [B, *S]")
    '`a<b>` and (user,item)&lt;tab&gt;item, \\\\[B, \\\\*S]'
    """
    parts = text.split("`")
    return "`".join(part if number % 2 else _escaped(part) for number, part in enumerate(parts))


def _escaped(text: str) -> str:
    return text.replace("<", "&lt;").replace(">", "&gt;").replace("*", "\\*").replace("[", "\\[")


def sentence(text: str) -> str:
    """The text with a capital at the beginning and a full stop at the end. A name at the beginning stays as it is.

    >>> sentence("the column of users"), sentence("auto: by the suffix"), sentence("ids of users.")
    ('The column of users.', 'auto: by the suffix.', 'Ids of users.')
    """
    text = text.strip()
    if not text:
        return ""
    first = text.split()[0]
    if first.islower() and first.rstrip(",;").replace("-", "").isalpha():
        text = text[0].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."

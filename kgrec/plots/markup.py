"""HTML and SVG as text that is safe by construction: whatever is not markup already is escaped."""

from __future__ import annotations

import html
from collections.abc import Iterable

from kgrec.printable import printable

VOID = frozenset({"br", "hr", "meta", "link", "col"})  #: elements without an end


class Markup(str):
    """Text that is markup, and not escaped again."""

    __slots__ = ()


def escaped(text: object) -> Markup:
    """Any text as markup: `<`, `&` and quotes as references, control characters and marks of writing direction as
    visible escapes, so that no title of a stranger's file is read as markup.

    >>> escaped('<b onload="x">\\x00')
    '&lt;b onload=&quot;x&quot;&gt;\\\\x00'
    """
    return text if isinstance(text, Markup) else Markup(html.escape(printable(text), quote=True))


def joined(children: object) -> Markup:
    """Children one after the other; None is nothing."""
    if children is None:
        return Markup("")
    if isinstance(children, str) or not isinstance(children, Iterable):
        return escaped(children)
    return Markup("".join(joined(child) for child in children))


def element(name: str, /, *children: object, **attributes: object) -> Markup:
    """An element. children: texts, which are escaped, markup, or iterables of them. attributes: `class_` is class,
    `stroke_width` is stroke-width; None leaves one out, True names it without a value.

    >>> element("p", "1 < 2 ", element("b", "yes"), class_="note", hidden=None)
    '<p class="note">1 &lt; 2 <b>yes</b></p>'
    """
    said = []
    for key, value in attributes.items():
        if value is not None and value is not False:
            key = key.rstrip("_").replace("_", "-") if key != "viewBox" else key
            said.append(f" {key}" if value is True else f' {key}="{escaped(value)}"')
    start = f"<{name}{''.join(said)}>"
    return Markup(start if name in VOID else f"{start}{joined(children)}</{name}>")

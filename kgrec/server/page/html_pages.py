"""Templates as answers in HTML: all values are escaped, and browsers run and fetch nothing but the page's own."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache
from importlib.resources import files
from typing import Any

import jinja2
from markupsafe import Markup, escape
from starlette.responses import HTMLResponse, Response

from kgrec.printable import printable
from kgrec.serving.relation_words import words

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'{images}; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
STATIC = {
    "page.css": "text/css; charset=utf-8",
    "theme.js": "text/javascript; charset=utf-8",
    "page.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
A_DAY = 86_400


def html_page(
    template: str, context: Mapping[str, Any], status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A template with values filled in. A context with a true `pictures` lets images of other sites be shown."""
    policy = POLICY.format(images=" https: http:" if context.get("pictures") else "")
    text = _environment().get_template(template).render(context)
    return HTMLResponse(text, status, {"Content-Security-Policy": policy, **(headers or {})})


def static_file(name: str) -> Response | None:
    """A style sheet, script or image of the page; None: there is no such file."""
    if name not in STATIC:
        return None
    headers = {"Cache-Control": f"max-age={A_DAY}", "Content-Security-Policy": POLICY.format(images="")}
    return Response(_static()[name], media_type=STATIC[name], headers=headers)


def without(values: tuple[str, ...], value: str) -> tuple[str, ...]:
    """All but one.

    >>> without(("a", "b"), "a")
    ('b',)
    """
    return tuple(one for one in values if one != value)


def sentence(text: str) -> str:
    """A text with a capital letter and a full stop.

    >>> sentence("because of Alien")
    'Because of Alien.'
    """
    text = text.strip().replace(" %", "\u00a0%")  # no line breaks between
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "?", "!")) else ".")


def score(value: float) -> str:
    """A score in four digits."""
    return f"{value:.4g}"


def day(seconds: float) -> str:
    """The day of a moment in unix seconds; the seconds where no calendar has it."""
    try:
        return datetime.fromtimestamp(seconds, UTC).date().isoformat()
    except (OverflowError, ValueError, OSError):
        return f"{seconds:g}"


def ordinal(number: int) -> str:
    """A rank as it is said.

    >>> [ordinal(number) for number in (1, 2, 3, 4, 11, 22)]
    ['1st', '2nd', '3rd', '4th', '11th', '22nd']
    """
    ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
    return f"{number}{ending}"


def value_text(value: object) -> str:
    """The value of a column, to be read."""
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def exact(value: object) -> Markup:
    """A text as it is, escaped; others are shown with control characters as visible escapes, and would not be the same
    when a form sends them back."""
    return escape(value)


@cache
def _static() -> dict[str, bytes]:
    folder = files("kgrec.server.page") / "static"
    return {name: (folder / name).read_bytes() for name in STATIC}


@cache
def _environment() -> jinja2.Environment:
    found = jinja2.Environment(
        loader=jinja2.PackageLoader("kgrec.server.page"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
        finalize=lambda value: printable(value, "\n") if isinstance(value, str) and type(value) is str else value,
    )
    functions = (exact, words, without, sentence, score, day, ordinal, value_text)
    found.filters.update({function.__name__: function for function in functions})
    found.globals["version"] = hashlib.sha256(b"".join(_static().values())).hexdigest()[:8]
    return found

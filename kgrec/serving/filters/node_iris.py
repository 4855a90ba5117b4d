"""The IRIs of nodes: their ids where these are IRIs, or what the recipe's template makes of them."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from kgrec.graph import Graph

_IRI = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:[^\s<>\"{}|\\^`]+")
_SCHEMES = ("http:", "https:", "urn:", "tag:", "doi:", "info:", "mailto:", "ftp:")


def is_iri(text: str) -> bool:
    """Whether a text is an IRI, of those schemes that data is named by.

    >>> is_iri("https://shop.example/acme"), is_iri("urn:isbn:1"), is_iri("Alien: Resurrection"), is_iri("tt:1")
    (True, True, False, False)
    """
    return text.startswith(_SCHEMES) and _IRI.fullmatch(text) is not None


def template_of(graph: Graph, node_type: str) -> tuple[str, str] | None:
    """What stands before and after the id in the IRIs of a node type, by the recipe; None: it says nothing of it."""
    links = (graph.recipe or {}).get("links")
    link: Any = links.get(node_type) if isinstance(links, Mapping) else None
    template = link.get("template") if isinstance(link, Mapping) else None
    if not isinstance(template, str) or "{id}" not in template:
        return None
    before, _, after = template.partition("{id}")
    return before, after


def ids_of_iris(graph: Graph, node_type: str, iris: Sequence[str]) -> list[str | None]:
    """The id that each IRI is of by the recipe's template, whether there is such a node or not; None: it fits none."""
    template = template_of(graph, node_type)
    if template is None:
        return [None] * len(iris)
    before, after = template
    fits = [len(iri) > len(before + after) and iri.startswith(before) and iri.endswith(after) for iri in iris]
    return [iri[len(before) : len(iri) - len(after)] if fit else None for iri, fit in zip(iris, fits)]

"""Replaces remote contexts in JSON-LD by local files, or by the built-in context of schema.org."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgrec.errors import BadData, Fault
from kgrec.sources.limits import TooDeep, read_json
from kgrec.sources.packed_files import read_value
from kgrec.sources.rdf.schema_org import CONTEXT, LINK_TERMS

NO_BASE = "kgrec-no-base://here/"  #: a base to find relative IRIs, which are refused without a base

SCHEMA_ORG_URL = re.compile(r"https?://(www\.)?schema\.org(/|/docs/jsonldcontext\.jsonld?)?")

ABSOLUTE = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*|_):.*")  #: an IRI that needs no base, or a blank node
REFERENCE = re.compile(r"[^\s<>\"{}|\\^`]+")  #: what may be an IRI at all

#: Terms of schema.org whose text must be an absolute IRI, or needs a `base`
ALWAYS_LINKS = frozenset(("sameAs", "url", "image", "additionalType", "mainEntityOfPage"))


def read_json_ld(data: bytes, name: str, contexts: Mapping[str, Path], has_base: bool = False) -> bytes:
    """The same document with each remote context replaced, or the same bytes if it has none. Nothing is downloaded.

    contexts: URL -> file. has_base: whether there is a base for relative IRIs. With schema.org's context, a text such
    as `license: MIT` stays a text, although the context says that it is an IRI.

    Raises BadData where the JSON is invalid, with line and column, or where `contexts` lacks a context.
    """
    document = _parsed(data, name)
    local = _LocalContexts(name, contexts, has_base)
    resolved = local.resolve(document)
    return json.dumps(resolved).encode() if local.count else data


def _parsed(data: bytes, name: str) -> Any:
    try:
        return read_json(data)
    except TooDeep as error:
        raise BadData(f"{error}; flatten the JSON", file=name, row=error.line, kind="bad RDF") from error
    except json.JSONDecodeError as error:
        what = f"{error.msg}; fix the JSON"
        raise BadData(what, file=name, row=error.lineno, column=error.colno, kind="bad RDF") from error
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 text (see byte {error.start + 1}); save it as UTF-8"
        raise BadData(Fault(what, name, kind="bad RDF", file_is="subject")) from error
    except ValueError as error:  # a number of too many digits, half a pair of surrogates
        raise BadData(f"{error}; fix the JSON", file=name, kind="bad RDF") from error


class _LocalContexts:
    """Replaces the contexts in one document, and counts them."""

    def __init__(self, name: str, contexts: Mapping[str, Path], has_base: bool) -> None:
        self.name, self.contexts, self.has_base = name, contexts, has_base
        self.count = 0
        self._within: list[str] = []

    def resolve(self, value: Any, links: frozenset[str] = frozenset()) -> Any:
        """The value with every `@context` in it replaced. links: keys whose texts are IRIs in schema.org's context."""
        if isinstance(value, list):
            return [self.resolve(item, links) for item in value]
        if not isinstance(value, dict):
            return value
        links = self._links(value["@context"], links) if "@context" in value else links
        return {key: self._resolved(key, item, links) for key, item in value.items()}

    def _links(self, context: Any, links: frozenset[str]) -> frozenset[str]:
        """The keys whose texts are IRIs, after a context is applied to `links`."""
        for part in context if isinstance(context, list) else [context]:
            if part is None:
                links = frozenset()
            elif isinstance(part, dict):
                links = self._links(part["@import"], links) if "@import" in part else links
                links -= part.keys()
                self.has_base |= bool(part.get("@base"))
            elif isinstance(part, str) and self._is_schema_org(part):
                links = LINK_TERMS
        return links

    def _is_schema_org(self, url: str) -> bool:
        return url not in self.contexts and SCHEMA_ORG_URL.fullmatch(url) is not None

    def _resolved(self, key: str, item: Any, links: frozenset[str]) -> Any:
        if key == "@context":
            return self._context(item)
        if key in links:
            items = [self._link_or_text(key, one, links) for one in (item if isinstance(item, list) else [item])]
            return items if isinstance(item, list) else items[0]
        return item if key == "@value" else self.resolve(item, links)  # a JSON literal stays as it is

    def _link_or_text(self, key: str, item: Any, links: frozenset[str]) -> Any:
        if not isinstance(item, str):
            return self.resolve(item, links)
        if REFERENCE.fullmatch(item) and (ABSOLUTE.fullmatch(item) or self.has_base or key in ALWAYS_LINKS):
            return item
        return {"@value": item}

    def _context(self, context: Any) -> Any:
        if isinstance(context, str):
            return self._load(context)
        if isinstance(context, list):
            return [self._context(item) for item in context]
        if isinstance(context, dict) and "@import" in context:
            imported = self._load(context["@import"])
            return [imported, self.resolve({k: v for k, v in context.items() if k != "@import"})]
        return self.resolve(context)

    def _load(self, url: str) -> Any:
        self.count += 1
        if url not in self.contexts:
            if self._is_schema_org(url):
                return dict(CONTEXT)
            what = (
                f"the @context {url!r} is on the web, and kgrec does not download it; save it as a file and set "
                f"`contexts: {{{url!r}: FILE}}`"
            )
            raise BadData(what, file=self.name, value=url, kind="missing file")
        path = self.contexts[url]
        if url in self._within:
            raise BadData(f"context {url!r} includes itself; fix the file", file=str(path), value=url, kind="bad RDF")
        if not path.is_file():
            what = "does not exist; fix `contexts` in the recipe"
            raise BadData(Fault(what, str(path), kind="missing file", file_is="subject"))
        document = _parsed(read_value(path), str(path))
        if not isinstance(document, dict) or "@context" not in document:
            what = "has no @context, so it is not a JSON-LD context; fix `contexts` in the recipe"
            raise BadData(Fault(what, str(path), kind="bad RDF", file_is="subject"))
        self._within.append(url)
        context = self._context(document["@context"])
        self._within.pop()
        return context

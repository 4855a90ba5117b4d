"""JSON-LD whose contexts are remote: a local file, or our own for schema.org, takes each one's place."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgrec.errors import BadData, Fault
from kgrec.sources.limits import TooDeep, read_json
from kgrec.sources.packed_files import read_value

NO_BASE = "kgrec-no-base://here/"  #: relative IRIs that have no base end up below it, and are refused

SCHEMA_ORG_URL = re.compile(r"https?://(www\.)?schema\.org(/|/docs/jsonldcontext\.jsonld?)?")

SCHEMA_ORG: Mapping[str, Any] = {
    "@vocab": "https://schema.org/",
    "schema": "https://schema.org/",
    "id": "@id",
    "type": "@type",
    **{name: {"@type": "@id"} for name in ("sameAs", "url", "image", "additionalType", "mainEntityOfPage")},
}


def read_json_ld(data: bytes, name: str, contexts: Mapping[str, Path]) -> bytes:
    """The same document with each remote context replaced; untouched where there is none. Nothing is fetched.

    contexts: URL -> file. Raises BadData where the JSON is broken, with line and column, or where
    a context is not given.
    """
    document = _parsed(data, name)
    local = _LocalContexts(name, contexts)
    resolved = local.resolve(document)
    return json.dumps(resolved).encode() if local.count else data


def _parsed(data: bytes, name: str) -> Any:
    try:
        return read_json(data)
    except TooDeep as error:
        raise BadData(f"{error}; flatten the JSON", file=name, row=error.line, kind="bad RDF") from error
    except json.JSONDecodeError as error:
        what = f"{error.msg}; mend the JSON"
        raise BadData(what, file=name, row=error.lineno, column=error.colno, kind="bad RDF") from error
    except UnicodeDecodeError as error:
        what = f"byte {error.start + 1}: not UTF-8; save the file as UTF-8"
        raise BadData(Fault(what, name, kind="bad RDF", file_is="subject")) from error


class _LocalContexts:
    """Replaces the contexts in one document, and counts them."""

    def __init__(self, name: str, contexts: Mapping[str, Path]) -> None:
        self.name, self.contexts = name, contexts
        self.count = 0
        self._within: list[str] = []

    def resolve(self, value: Any) -> Any:
        """The value with every `@context` in it replaced."""
        if isinstance(value, list):
            return [self.resolve(item) for item in value]
        if not isinstance(value, dict):
            return value
        return {key: self._resolved(key, item) for key, item in value.items()}

    def _resolved(self, key: str, item: Any) -> Any:
        if key == "@context":
            return self._context(item)
        return item if key == "@value" else self.resolve(item)  # a JSON literal stays as it is

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
            if SCHEMA_ORG_URL.fullmatch(url):
                return dict(SCHEMA_ORG)
            what = (
                f"its @context {url!r} is remote, and nothing is fetched; save it and say `contexts: {{{url!r}: FILE}}`"
            )
            raise BadData(what, file=self.name, value=url, kind="missing file")
        path = self.contexts[url]
        if url in self._within:
            raise BadData(f"context {url!r} includes itself; mend the file", file=str(path), value=url, kind="bad RDF")
        if not path.is_file():
            what = "is not there; mend `contexts` in the recipe"
            raise BadData(Fault(what, str(path), kind="missing file", file_is="subject"))
        document = _parsed(read_value(path), str(path))
        if not isinstance(document, dict) or "@context" not in document:
            what = "has no @context; it is no JSON-LD context"
            raise BadData(Fault(what, str(path), kind="bad RDF", file_is="subject"))
        self._within.append(url)
        context = self._context(document["@context"])
        self._within.pop()
        return context

"""What went wrong with a request, as a problem document (RFC 9457)."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

import orjson
from starlette.responses import Response

from kgrec.errors import KgrecError
from kgrec.printable import printable

MEDIA_TYPE = "application/problem+json"
LONGEST = 2000  #: characters of a detail
MOST = 20  #: errors that are listed


class Problem(Exception):
    """An answer that says what is wrong.

    >>> Problem(404, "no item 'x'").document
    {'type': 'about:blank', 'title': 'Not Found', 'status': 404, 'detail': "no item 'x'"}
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        errors: list[dict[str, str]] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.errors = status, detail, errors
        self.headers = dict(headers or {})

    @staticmethod
    def of(error: KgrecError, status: int = 422) -> Problem:
        """What an error of the library says."""
        return Problem(status, str(error))

    @staticmethod
    def busy(detail: str, seconds: int = 1) -> Problem:
        """503, with the seconds after which to try again."""
        return Problem(503, detail, headers={"Retry-After": str(seconds)})

    @property
    def document(self) -> dict[str, Any]:
        """Plain JSON data."""
        text = printable(self.detail, "\n")
        found: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": text if len(text) <= LONGEST else text[:LONGEST] + "...",
        }
        if self.errors:
            found["errors"] = [{name: printable(text) for name, text in one.items()} for one in self.errors[:MOST]]
        return found

    def response(self) -> Response:
        """The answer."""
        return Response(orjson.dumps(self.document), self.status, self.headers, MEDIA_TYPE)


def json_response(content: Any, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An answer of plain JSON data. A number that is not finite is null."""
    body = orjson.dumps(content, default=str, option=orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS)
    return Response(body, status, dict(headers or {}), "application/json")

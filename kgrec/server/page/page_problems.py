"""Problems as people see them: a page where a page was asked for, else a problem document."""

from __future__ import annotations

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from kgrec.server.page.html_pages import html_page
from kgrec.server.page.page_paths import is_page, way_back
from kgrec.server.problems import Problem


def answer_to(scope: Mapping[str, Any], problem: Problem) -> Response:
    """What is answered to a request that failed. Where a key is wanted, the page asks for it and then goes on."""
    path = scope["path"]
    if not is_page(path):
        return problem.response()
    if problem.status == 401:
        query = scope.get("query_string", b"").decode("latin-1")
        values = {"next": way_back(f"{path}?{query}" if query else path), "wrong": None}
        return html_page("key.html", values, 401, problem.headers)
    said = {"title": HTTPStatus(problem.status).phrase, "detail": problem.document["detail"]}
    return html_page("problem.html", said, problem.status, problem.headers)

"""A route of GET whose query is checked once. It takes half of FastAPI's time, which is most of a quick answer's."""

from __future__ import annotations

import functools
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.convertors import PathConvertor, register_url_convertor
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from kgrec.server.problems import Problem

KEPT = 1024  #: queries that are kept as read


class IdConvertor(PathConvertor):
    """Any text of a path as an id: with slashes, as IRIs have them, and with line breaks."""

    regex = r"[\s\S]*"


ID = "id"  #: the kind of path parameter that takes any id, as in `{user:id}`
register_url_convertor(ID, IdConvertor())


class LeanRoute(APIRoute):
    """A route whose function takes the request, one id of the path, and `query`, a model. It says so to OpenAPI as any
    other; when it is asked, its path is taken as it is, and a query is checked once and kept."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        handler = self.get_route_handler()

        async def answer(scope: Scope, receive: Receive, send: Send) -> None:
            response = await handler(Request(scope))
            await response(scope, receive, send)

        self.app = answer  # what it raises is answered by the application's handlers

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """See APIRoute."""
        (query,) = self.dependant.query_params
        kind, endpoint = query.field_info.annotation, self.endpoint
        assert isinstance(kind, type) and issubclass(kind, BaseModel)
        *_, name = (one.name for one in self.dependant.path_params)

        async def handle(request: Request) -> Response:
            asked = read_query(kind, request.scope["query_string"])
            found: Response = await endpoint(request, **{name: request.path_params[name]}, query=asked)
            return found

        return handle


@functools.lru_cache(KEPT)
def read_query(kind: type[BaseModel], query_string: bytes) -> BaseModel:
    """A query as a model, of which fields of tuples may stand several times. Raises Problem 422."""
    params = QueryParams(query_string)
    several = {field.alias or name for name, field in kind.model_fields.items() if isinstance(field.default, tuple)}
    values: dict[str, Any] = {}
    for name in params:
        found = params.getlist(name)
        if name not in several and len(found) > 1:
            raise Problem(422, f"{name} stands {len(found)} times in the query; once is wanted")
        values[name] = tuple(found) if name in several else found[0]
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise invalid(error.errors(), "query") from error


def invalid(errors: Any, where: str) -> Problem:
    """The problem of values that do not fit, each with its place; what was sent is not said again."""
    found = [
        {"at": ".".join(map(str, one["loc"][1:] if one["loc"][:1] in (("body",), ("query",)) else one["loc"])),
         "message": one["msg"]}
        for one in errors
    ]  # fmt: skip
    first = found[0]
    return Problem(422, f"the {where} does not fit: {first['at']}: {first['message']}", errors=found)

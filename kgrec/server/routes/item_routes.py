"""Items: those like one, predictions of pairs, and new items."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from kgrec.errors import KgrecError
from kgrec.server.bodies import PairsBody, SimilarQuery, seconds_of
from kgrec.server.events.event_store import StoreDown
from kgrec.server.events.user_event import NewItemsDocument
from kgrec.server.problems import Problem, json_response
from kgrec.server.routes.lean_route import LeanRoute
from kgrec.server.serving_state import SECONDS_TO_RETRY, ServingState

router = APIRouter(tags=["items"])
lean = APIRouter(tags=["items"], route_class=LeanRoute)

#: media type of facts about new items -> the suffix by which they are read
FORMS = {"application/ld+json": ".jsonld", "text/turtle": ".ttl", "application/n-triples": ".nt"}


@lean.get("/items/{item:id}/similar", summary="The items most like an item")
async def similar(request: Request, item: str, query: Annotated[SimilarQuery, Query()]) -> Response:
    """The items most like an item; `reason` says by what: the cosine of vectors, or weights between items."""
    state: ServingState = request.app.state.serving
    run, options = state.run_of(request), query.options(state.settings.max_k)
    if not run.current.knows_item(item):
        raise Problem(404, f"no {run.current.target[2]} {item!r} in the run {run.name!r}")
    answer = await state.batcher.call(lambda: run.current.service.similar(item, options))
    return json_response(answer.to_json())


@router.post("/predictions", summary="What the model predicts of pairs")
async def predictions(request: Request, body: PairsBody) -> Response:
    """A rating, a probability or a score of each pair, in their order, with what the users did since training; a
    `problem` for one of an unknown id."""
    state: ServingState = request.app.state.serving
    run, most = state.run_of(request), state.settings.max_users
    if len(body.pairs) > most:
        raise Problem(422, f"{len(body.pairs):,} pairs; up to {most:,} are answered in one request")
    pairs = [(one.user, one.item) for one in body.pairs]
    values, predicted = await state.predictions(run, pairs, seconds_of(body.now))
    results = [
        {"user": pair.user, "item": pair.item}
        | ({"problem": Problem.of(value).document} if isinstance(value, KgrecError) else {predicted: value})
        for pair, value in zip(body.pairs, values)
    ]
    return json_response({"results": results})


ROWS = {"type": "array", "items": {"type": "object"}}


@router.put(
    "/items",
    summary="Make the run know new items",
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": ROWS}, **{kind: {"schema": {}} for kind in FORMS}},
        }
    },
)
async def put_items(request: Request) -> Response:
    """New items, ranked with the rest from now on, without training: rows of the recipe's item table as a JSON array
    of objects, or facts as JSON-LD, Turtle or N-Triples. What was told of the same items before is replaced."""
    state: ServingState = request.app.state.serving
    run = state.run_of(request)
    document = _document(request.headers.get("content-type", ""), await request.body(), state.settings.max_users)
    try:
        number, is_new = await state.runs.add_items(run, document)
    except StoreDown as error:
        raise Problem.busy(f"{error}; no item was added", SECONDS_TO_RETRY) from error
    state.log.happened("items added", {"run": run.name, "items": number})
    return json_response({"items": number}, 201 if is_new else 200)


def _document(content_type: str, body: bytes, most: int) -> NewItemsDocument:
    """A body that tells of new items. Raises Problem."""
    kind = content_type.partition(";")[0].strip().lower()
    try:
        text = body.decode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not UTF-8: {error}") from error
    if kind in FORMS:
        return NewItemsDocument((), FORMS[kind], text)
    try:
        rows = orjson.loads(text)
    except orjson.JSONDecodeError as error:
        raise Problem(400, f"the body is no JSON: {error}") from error
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise Problem(422, "an array of one or more objects is wanted, a row of the item table each")
    if len(rows) > most:
        raise Problem(422, f"{len(rows):,} rows; up to {most:,} are read in one request")
    return NewItemsDocument((), ".json", text)

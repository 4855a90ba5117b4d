"""Lists: of a known user, of many users, of new ones by a history or a profile."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import APIRouter, Query
from starlette.requests import Request
from starlette.responses import Response

from kgrec.errors import KgrecError
from kgrec.server.bodies import ExplanationQuery, ListQuery, ListsBody, UserBody
from kgrec.server.problems import Problem, json_response
from kgrec.server.routes.lean_route import LeanRoute
from kgrec.server.serving_state import ServingState
from kgrec.serving.recommendation import Recommendations
from kgrec.serving.wanted import Wanted

router = APIRouter(tags=["lists"])
lean = APIRouter(tags=["lists"], route_class=LeanRoute)


@lean.get("/users/{user:id}/recommendations", summary="The best items for a user")
async def of_user(request: Request, user: str, query: Annotated[ListQuery, Query()]) -> Response:
    """The best items for a user, best first, by what the run knows of the user and by the events since. One whom nobody
    knows gets the most popular items, and `reason` says so."""
    state: ServingState = request.app.state.serving
    run = state.run_of(request)
    if not user:
        raise Problem(404, "the path names no user")
    (answer,) = await state.lists(run, [Wanted(user, options=query.options(state.settings.max_k))])
    if isinstance(answer, KgrecError):
        raise Problem.of(answer)
    return json_response(listed(answer))


@lean.get("/users/{user:id}/explanation", summary="Why an item is recommended to a user")
async def explanation(request: Request, user: str, query: Annotated[ExplanationQuery, Query()]) -> Response:
    """The strongest paths of the graph from a user to an item, in sentences and as nodes and relations, each with the
    item's score and rank before and after its edges are masked. By what the run knew when it was trained, without
    events since; other users that a path leads over are not named."""
    state: ServingState = request.app.state.serving
    found = await state.explanation(state.run_of(request), user, query.item, query.paths, query.by)
    return json_response(found.to_json())


@router.post("/recommendations", summary="Lists for many users, known or new")
async def of_many(request: Request, body: ListsBody) -> Response:
    """A list for each of `users`, in their order, or for the one user that the body itself describes. An entry that
    cannot be answered has a `problem` in place of a list, whatever the others are."""
    state: ServingState = request.app.state.serving
    run, limits = state.run_of(request), state.settings
    otherwise = body.own()
    alone = body.user is not None or body.history is not None or body.profile is not None
    if alone == (body.users is not None):
        raise Problem(422, "say `users`, or one user by `user`, `history` or `profile`, and not both")
    if body.users is not None and not 1 <= len(body.users) <= limits.max_users:
        raise Problem(422, f"{len(body.users):,} users; 1 to {limits.max_users:,} are answered in one request")
    entries: list[UserBody] = [body] if body.users is None else body.users
    asked: list[Wanted | KgrecError] = []
    for entry in entries:
        try:
            asked.append(entry.wanted(otherwise, limits.max_k, limits.max_history))
        except KgrecError as error:
            asked.append(error)
    answers = iter(await state.lists(run, [one for one in asked if isinstance(one, Wanted)]))
    results = [one if isinstance(one, KgrecError) else next(answers) for one in asked]
    if body.users is None and isinstance(results[0], KgrecError):
        raise Problem.of(results[0])
    return json_response({"results": [_result(one) for one in results]})


def listed(answer: Recommendations) -> dict[str, Any]:
    """A list as JSON data."""
    return answer.to_json()


def _result(answer: Recommendations | KgrecError) -> dict[str, Any]:
    if isinstance(answer, KgrecError):
        return {"problem": Problem.of(answer).document}
    return listed(answer)

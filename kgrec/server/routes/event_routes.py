"""Events: what users do from now on."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.server.bodies import EventBody, EventsBody, seconds_of
from kgrec.server.events.user_event import Event
from kgrec.server.loaded_run import LoadedRun
from kgrec.server.problems import Problem, json_response
from kgrec.server.routes.lean_route import ID
from kgrec.server.server_settings import ServerSettings
from kgrec.server.serving_state import ServingState

router = APIRouter(tags=["events"])


@router.post("/events", summary="Tell what users did", status_code=201)
async def post_events(request: Request, body: EventsBody) -> Response:
    """Store events, all of the request or none; the answer comes when they are on disk, and the users' next lists know
    of them. An event whose id is stored already is not stored again; with other content it is refused (409)."""
    state: ServingState = request.app.state.serving
    run, settings = state.run_of(request), state.settings
    bodies = body.events
    if len(bodies) > settings.max_users:
        raise Problem(422, f"{len(bodies):,} events; up to {settings.max_users:,} are stored in one request")
    try:
        events = _checked(run.current, bodies, settings)
    except KgrecError as error:
        state.telemetry.events.labels("refused").inc(len(bodies))
        raise Problem.of(error) from error
    added = await state.add_events(run, events)
    if added.conflicts:
        state.telemetry.events.labels("refused").inc(len(bodies))
        raise Problem(409, f"the events {some(added.conflicts)} are stored with other content; nothing was stored")
    state.telemetry.events.labels("stored").inc(added.stored)
    state.telemetry.events.labels("known").inc(added.known)
    return json_response({"stored": added.stored, "known": added.known}, 201 if added.stored else 200)


@router.delete(f"/users/{{user:{ID}}}/events", summary="Delete what a user did since training")
async def delete_events(request: Request, user: str) -> Response:
    """Delete all events of a user of the run's graph; the answer comes when that is on disk, and says how many there
    were. What the run was trained with is not in the store, and stays in the run. It takes a key of the role admin."""
    state: ServingState = request.app.state.serving
    run = state.run_of(request)
    if not user:
        raise Problem(404, "the path names no user")
    number = await state.delete_events(run, user)
    state.telemetry.events.labels("deleted").inc(number)
    state.happened("events deleted", {"run": run.name, "events": number})
    return json_response({"deleted": number})


def _checked(run: LoadedRun, bodies: list[EventBody], settings: ServerSettings) -> list[Event]:
    """The events. Raises KgrecError for one of the future, of an unknown item, or of another behaviour."""
    now, behaviours, events = int(time.time()), run.behaviours, list[Event]()
    for number, one in enumerate(bodies, 1):
        behaviour = one.behaviour or run.target[1]
        if behaviour not in behaviours:
            raise unknown_name("behaviour", behaviour, behaviours, f"of the run (event {number})")
        moment = seconds_of(one.time)
        moment = now if moment is None else moment
        if moment > now + settings.future_seconds:
            raise KgrecError(
                f"event {number} is {moment - now:,} s ahead of the server's clock; up to {settings.future_seconds} s "
                "are borne with. Time is in unix seconds, not milliseconds"
            )
        if not settings.keep_unknown_items and not run.knows_item(one.item):
            raise KgrecError(f"event {number} is of {one.item!r}, which is no {run.target[2]} of the run")
        events.append(Event(one.id, one.user, one.item, behaviour, moment, one.weight, one.time is None))
    return events

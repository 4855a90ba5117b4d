"""The web application of a server: all routes, for the default run and for each by its name, behind the gate."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import Response

import kgrec
from kgrec.errors import KgrecError
from kgrec.server.gate import App, Gate
from kgrec.server.page import page_routes
from kgrec.server.page.item_pictures import must_have_column
from kgrec.server.page.page_problems import answer_to
from kgrec.server.problems import Problem
from kgrec.server.routes import event_routes, health_routes, item_routes, list_routes
from kgrec.server.routes.docs_routes import mount_docs
from kgrec.server.routes.lean_route import invalid
from kgrec.server.serving_state import ServingState

OF_RUNS = (list_routes.lean, item_routes.lean, list_routes.router, item_routes.router, event_routes.router)
SECONDS_TO_READ_KEYS = 2.0


def application(state: ServingState) -> App:
    """The ASGI application of a server. Its lifespan watches run folders, and closes the server's parts at the end.

    Raises UnknownName where images are to be shown by a column that no run has."""
    if state.settings.image is not None:
        must_have_column([run.current.run for run in state.runs.runs.values()], state.settings.image)
    app = FastAPI(title="kgrec", version=kgrec.__version__, docs_url=None, redoc_url=None, lifespan=_lifespan(state))
    app.state.serving = state
    for router in (*OF_RUNS, health_routes.of_run):
        app.include_router(router)
        app.include_router(router, prefix="/runs/{run}")
    app.include_router(health_routes.router)
    app.include_router(page_routes.router)
    mount_docs(app)
    for kind, handler in HANDLERS.items():
        app.add_exception_handler(kind, handler)
    gate: App = Gate(app, state.settings, state.telemetry, state.log, state.keys)
    if not state.settings.cors:
        return gate
    cors: App = CORSMiddleware(
        gate,
        allow_origins=state.settings.cors,
        allow_methods=["GET", "POST", "PUT"],
        allow_headers=["authorization", "content-type", "x-api-key"],
    )
    return cors


def _lifespan(state: ServingState) -> Any:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [asyncio.create_task(_look_after(state))]
        if state.settings.watch_seconds:
            tasks.append(asyncio.create_task(state.runs.watch(state.happened)))
        try:
            yield
        finally:
            for task in tasks:
                task.cancel()
            for task in tasks:
                with suppress(asyncio.CancelledError):
                    await task
            await asyncio.to_thread(state.close)

    return lifespan


async def _look_after(state: ServingState) -> None:
    """Read keys again where they change, and write what the log holds back."""
    while True:
        await asyncio.sleep(SECONDS_TO_READ_KEYS)
        state.read_keys_again()
        state.log.flush()


async def _problem(request: Request, error: Exception) -> Response:
    assert isinstance(error, Problem)
    return answer_to(request.scope, error)


async def _of_library(request: Request, error: Exception) -> Response:
    assert isinstance(error, KgrecError)
    return answer_to(request.scope, Problem.of(error))


async def _invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    errors = error.errors()
    broken = next((one for one in errors if one["type"] == "json_invalid"), None)
    if broken is not None:
        return Problem(400, f"the body is no JSON: {broken['ctx']['error']}").response()
    return invalid(errors, "body").response()


async def _http(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    detail = "there is nothing at this path" if error.status_code == 404 else str(error.detail)
    return answer_to(request.scope, Problem(error.status_code, detail, headers=error.headers))


async def _failed(request: Request, error: Exception) -> Response:
    return answer_to(request.scope, Problem(500, "the server failed; its log says where"))


HANDLERS: dict[type[Exception], Any] = {
    Problem: _problem,
    KgrecError: _of_library,
    RequestValidationError: _invalid,
    HTTPException: _http,
    Exception: _failed,
}

"""The pages that people see in a browser."""

from __future__ import annotations

import html

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import HTMLResponse

from kgrec.server.serving_state import ServingState

router = APIRouter(include_in_schema=False)


@router.get("/")
async def front(request: Request) -> HTMLResponse:
    """The runs that are served, and where to read on."""
    state: ServingState = request.app.state.serving
    runs = "".join(
        f"<li>{html.escape(name)}: {html.escape(run.current.run.name)}</li>" for name, run in state.runs.runs.items()
    )
    return HTMLResponse(
        f'<!doctype html><html lang="en"><title>kgrec</title><h1>kgrec</h1><ul>{runs}</ul>'
        '<p><a href="docs">What can be asked</a></p></html>'
    )

"""Whether the server lives, what it serves, and what it measures."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.requests import Request
from starlette.responses import Response

from kgrec.errors import KgrecError
from kgrec.server.problems import Problem, json_response
from kgrec.server.served_runs import ServedRun
from kgrec.server.serving_state import ServingState

router = APIRouter(tags=["server"])
of_run = APIRouter(tags=["server"])


@router.get("/health/live", summary="Whether the server lives")
async def live() -> Response:
    """200 as long as the process answers."""
    return json_response({"status": "live"})


@router.get("/health/ready", summary="Whether the server answers lists")
async def ready(request: Request) -> Response:
    """200 while lists can be had. `degraded` says that events cannot be stored or read at the moment, or that a run was
    refused whose place the old one keeps."""
    state: ServingState = request.app.state.serving
    events = state.events_health()
    runs = {name: _about(run) for name, run in state.runs.runs.items()}
    is_well = events["status"] != "down" and all(run.refused is None for run in state.runs.runs.values())
    return json_response({"status": "ready" if is_well else "degraded", "runs": runs, "events": events})


@router.get("/runs", summary="The runs that are served")
async def runs(request: Request) -> Response:
    """What runs there are; the first is the default, the others are asked by /runs/NAME/..."""
    state: ServingState = request.app.state.serving
    return json_response({"runs": [{"name": name, **_about(run)} for name, run in state.runs.runs.items()]})


@router.get("/metrics", summary="What is measured, for Prometheus")
async def metrics(request: Request) -> Response:
    """Latencies, batches, fallbacks, reloads, events, and the age of models."""
    state: ServingState = request.app.state.serving
    return Response(state.telemetry.text(), media_type=CONTENT_TYPE_LATEST)


@of_run.post("/reload", summary="Load the run's folder again")
async def reload(request: Request) -> Response:
    """Load what is in the run's folder now beside the run that serves, try it, and swap; 409 with the reason where it
    cannot serve, and then the old one stays."""
    state: ServingState = request.app.state.serving
    run = state.run_of(request)
    before = run.current.version
    try:
        loaded = await state.runs.reload(run, state.happened)
    except KgrecError as error:
        raise Problem.of(error, 409) from error
    return json_response({"run": run.name, "version": loaded.version, "before": before})


def _about(run: ServedRun) -> dict[str, Any]:
    current = run.current
    source, relation, item = current.target
    graph = current.run.graph
    about = {
        "model": current.run.name,
        "version": current.version,
        "recommends": {"users": source, "by": relation, "items": item},
        "num_users": len(graph.vocabulary[source]),
        "num_items": len(graph.vocabulary[item]),
        "num_new_items": sum(len(one.ids) for one in current.added),
        "trained_at": _moment(current.trained_at),
        "loaded_at": _moment(current.loaded_at),
    }
    return about if run.refused is None else {**about, "refused": run.refused}


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")

"""The API's reference at /docs, by Swagger UI as an installed package has it. Nothing is fetched from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from fastapi import APIRouter, FastAPI
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import Response
from starlette.staticfiles import StaticFiles

router = APIRouter(include_in_schema=False)
POLICY = "default-src 'self'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; img-src 'self' data:"


@router.get("/docs")
async def docs() -> Response:
    """Swagger UI over /openapi.json."""
    page = get_swagger_ui_html(
        openapi_url="openapi.json",
        title="kgrec",
        swagger_js_url="docs/static/swagger-ui-bundle.js",
        swagger_css_url="docs/static/swagger-ui.css",
        swagger_favicon_url="docs/static/favicon.png",
    )
    page.headers["Content-Security-Policy"] = POLICY
    return page


def mount_docs(app: FastAPI) -> None:
    """Serve the reference and what it is made of."""
    app.include_router(router)
    app.mount("/docs/static", StaticFiles(directory=str(files("fastapi_offline") / "static")), name="docs")

"""The pages that people see in a browser. All are plain links and forms; scripts add comfort."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs

from fastapi import APIRouter
from markupsafe import Markup
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response

from kgrec.errors import KgrecError
from kgrec.server.page.control_names import control_names, value_choices
from kgrec.server.page.graph_views import graph_view, relation_view, type_view
from kgrec.server.page.html_pages import html_page, static_file
from kgrec.server.page.list_views import ALIKE, list_view, past_of, popular_items, shown_items, side_by_side
from kgrec.server.page.page_paths import COOKIE, KEY_PATH, LEAVE_PATH, way_back
from kgrec.server.page.page_query import PageQuery
from kgrec.server.problems import Problem
from kgrec.server.served_runs import ServedRun
from kgrec.server.serving_state import ServingState
from kgrec.serving.described_items import NamedNode, described_node
from kgrec.serving.explanation_drawing import as_svg
from kgrec.serving.filters.condition_text import OPERATORS
from kgrec.serving.list_options import ListOptions

router = APIRouter(include_in_schema=False)
FOUND = 10  #: users, and items, that a search shows
SIMILAR = 8
#: The operators of filters by how they are read
COMPARISONS = {"=": "is", "!=": "is not", "<": "is under", "<=": "is at most", ">": "is over", ">=": "is at least"}
assert {*COMPARISONS} == {*OPERATORS.values()}


@dataclass(frozen=True)
class Page:
    """A request for a page."""

    state: ServingState
    asked: PageQuery
    run: ServedRun
    path: str

    @staticmethod
    def of(request: Request) -> Page:
        """Raises KgrecError for a query that does not fit, Problem for a run that is not there."""
        state: ServingState = request.app.state.serving
        asked = PageQuery.read(request.query_params)
        return Page(state, asked, state.runs.named(asked.run or None), request.url.path)

    @property
    def beside(self) -> ServedRun | None:
        """The run whose list stands beside."""
        found = self.state.runs.named(self.asked.beside) if self.asked.beside else None
        return None if found is self.run else found

    def shown(self, template: str, **values: Any) -> Response:
        """A template with these values, and those that all have."""
        runs = [(name, run.current.run.name) for name, run in self.state.runs.runs.items()]
        common = {
            "asked": self.asked,
            "path": self.path,
            "run": self.run.name,
            "runs": runs,
            "target": self.run.current.target,
            "pictures": self.state.settings.image is not None,
            "has_keys": self.state.keys() is not None,
        }
        return html_page(template, {**common, **values})


@router.get("/")
async def front(request: Request) -> Response:
    """A search for users and items, and items to begin with."""
    page = Page.of(request)
    popular = [] if page.asked.q else await popular_items(page.state, page.run)
    return page.shown("front.html", popular=popular, **await _found(page))


@router.get("/page/found")
async def found(request: Request) -> Response:
    """What a search finds, alone, for the script that searches while somebody types."""
    page = Page.of(request)
    return page.shown("found.html", **await _found(page))


@router.get("/page/list")
async def lists(request: Request) -> Response:
    """The list of a user, or of a new one, by one run or by two side by side."""
    page = Page.of(request)
    state, asked, run = page.state, page.asked, page.run
    values: dict[str, Any] = {"views": [], "past": [], "num_past": 0, "chosen": [], "popular": []}
    if asked.user:
        values["past"], values["num_past"] = await past_of(state, run, asked.user)
    else:
        values["chosen"] = await shown_items(state, run, asked.item)
        values["popular"] = [] if asked.item or asked.q else await popular_items(state, run)
    if asked.user or asked.item:
        runs = [run] if page.beside is None else [run, page.beside]
        values["views"] = side_by_side([await list_view(state, one, asked) for one in runs])
    loaded, kept = run.current.run, await shown_items(state, run, (*asked.pin, *asked.block))
    names = await state.batcher.call(lambda: control_names(loaded))
    values["offered"] = await state.batcher.call(lambda: [value_choices(loaded, row.name, "") for row in asked.filters])
    return page.shown(
        "list.html",
        **values,
        **await _found(page),
        names=names,
        behaviours=run.current.behaviours,
        comparisons=COMPARISONS,
        max_k=state.settings.max_k,
        pinned=kept[: len(asked.pin)],
        blocked=kept[len(asked.pin) :],
        knows_user=bool(asked.user) and run.current.knows_user(asked.user),
        explains=run.current.service.explains,
    )


@router.get("/page/values")
async def values(request: Request) -> Response:
    """Values of a column or relation, for the script that offers them."""
    page = Page.of(request)
    name, loaded = request.query_params.get("of", ""), page.run.current.run
    choices = await page.state.batcher.call(lambda: value_choices(loaded, name, page.asked.q))
    return page.shown("values.html", choices=choices)


@router.get("/page/item")
async def item(request: Request) -> Response:
    """An item with its facts, and those like it."""
    page = Page.of(request)
    state, run, name = page.state, page.run, page.asked.id
    if not run.current.knows_item(name):
        raise Problem(404, f"no {run.current.target[2]} {name!r} in the run {run.name!r}")
    service = run.current.service
    about = await state.batcher.call(lambda: service.item(name))
    most = min(SIMILAR, state.settings.max_k, len(run.current.run.graph.range(run.current.target[2])))
    reason = trouble = None
    alike, scores = [], []
    try:
        similar = await state.batcher.call(lambda: service.similar(name, ListOptions(k=most)))
        reason, scores = ALIKE.get(similar.reason, similar.reason), similar.scores
        alike = await shown_items(state, run, similar.items)
    except KgrecError as error:
        trouble = str(error)
    (shown,) = await shown_items(state, run, [name])
    return page.shown("item.html", about=about, shown=shown, alike=list(zip(alike, scores)), by=reason, trouble=trouble)


@router.get("/page/why")
async def why(request: Request) -> Response:
    """Why an item is recommended to a user: a drawing of the paths behind it, and what the score loses without each."""
    page = Page.of(request)
    state, run, asked = page.state, page.run, page.asked
    if not asked.user:
        raise Problem(404, "the address names no user, and only those whom the run knows have explanations")
    found = await state.explanation(run, asked.user, asked.id)
    (shown,) = await shown_items(state, run, [asked.id])
    title = f"How {shown.label} is linked to what {asked.user} did"
    drawing = Markup(as_svg(found.paths, title)) if found.paths else None  # escapes what it draws
    return page.shown("why.html", found=found, shown=shown, drawing=drawing)


@router.get("/page/node")
async def node(request: Request) -> Response:
    """A node of the graph with its facts."""
    page = Page.of(request)
    loaded, asked = page.run.current.run, page.asked
    if not loaded.keeps_facts:
        raise Problem(404, f"the run {page.run.name!r} keeps no facts of its graph: it was trained with --lean")
    try:
        about = await page.state.batcher.call(lambda: described_node(loaded, asked.type, asked.id))
    except KgrecError as error:
        raise Problem.of(error, 404) from error
    return page.shown("node.html", about=about)


@router.get("/page/graph")
async def graph(request: Request) -> Response:
    """Types and relations with counts and samples; of one type or relation more."""
    page = Page.of(request)
    loaded, asked, call = page.run.current.run, page.asked, page.state.batcher.call
    try:
        if asked.type:
            return page.shown("node_type.html", about=await call(lambda: type_view(loaded, asked.type)))
        if asked.relation:
            return page.shown("relation.html", about=await call(lambda: relation_view(loaded, asked.relation)))
    except KgrecError as error:
        raise Problem.of(error, 404) from error
    return page.shown("graph.html", about=await call(lambda: graph_view(loaded)))


@router.get("/page/static/{name}")
async def static(name: str) -> Response:
    """A style sheet, script or image."""
    response = static_file(name)
    if response is None:
        raise Problem(404, "there is nothing at this path")
    return response


@router.get(KEY_PATH)
async def key_form(request: Request) -> Response:
    """Where a key is asked for."""
    return html_page("key.html", {"next": way_back(request.query_params.get("next", "/")), "wrong": None})


@router.post(KEY_PATH)
async def take_key(request: Request) -> Response:
    """Keep a key in a cookie that scripts cannot read and other sites cannot send, until the browser is closed."""
    state: ServingState = request.app.state.serving
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise Problem(403, "the form was sent from another site")
    try:
        form = parse_qs((await request.body()).decode("utf-8", "replace"), max_num_fields=10)
    except ValueError as error:
        raise Problem(422, f"the form cannot be read: {error}") from error
    key, back = form.get("key", [""])[-1].strip(), way_back(form.get("next", ["/"])[-1])
    keys = state.keys()
    if keys is not None and keys.of(key) is None:
        return html_page("key.html", {"next": back, "wrong": "The server does not know this key."}, 401)
    response = RedirectResponse(back, 303)
    if keys is not None:
        response.set_cookie(COOKIE, key, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


@router.post(LEAVE_PATH)
async def leave(request: Request) -> Response:
    """Forget the key."""
    response = RedirectResponse(KEY_PATH, 303)
    response.delete_cookie(COOKIE, httponly=True, samesite="strict", secure=request.url.scheme == "https")
    return response


async def _found(page: Page) -> dict[str, list[NamedNode]]:
    """The users and items that a page searches for."""
    text, service = page.asked.q.strip(), page.run.current.service
    if not text:
        return {"users": [], "items": []}

    def look() -> dict[str, list[NamedNode]]:
        return {"users": service.search(text, "user", FOUND), "items": service.search(text, "item", FOUND)}

    found: dict[str, list[NamedNode]] = await page.state.batcher.call(look)
    return found

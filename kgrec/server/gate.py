"""What every request passes on its way in and out: who may ask, how much, how long; what is measured and written down.

It is plain ASGI around the application, so that a request that is refused costs next to nothing.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import contextlib
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from kgrec.server.api_keys import ApiKeys, Role
from kgrec.server.page.page_paths import FORM_TYPE, FORMS, is_open, is_page, key_in, takes_cookie
from kgrec.server.page.page_problems import answer_to
from kgrec.server.problems import Problem
from kgrec.server.request_log import RequestLog
from kgrec.server.server_settings import LOOPBACK, ServerSettings
from kgrec.server.telemetry import Telemetry

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LONGEST_URL = 8192  #: bytes of path and query
SAFE = ("GET", "HEAD", "OPTIONS")
#: method and last step of the path -> the role that it takes; reading takes `read`, and all else `admin`
ROLE_OF: dict[tuple[str, str], Role] = {
    ("POST", "recommendations"): "read",
    ("POST", "predictions"): "read",
    ("POST", "events"): "write",
    ("PUT", "items"): "write",
    ("POST", "reload"): "admin",
}
SLOW = (("PUT", "items"), ("POST", "reload"))  #: what makes a run anew beside the one that serves
SECONDS_OF_SLOW = 300.0
BODIES = ("application/json", "application/ld+json", "text/turtle", "application/n-triples")
#: added to each answer: browsers must not guess what it is
HEADERS = [(b"x-content-type-options", b"nosniff"), (b"cache-control", b"no-store")]
#: and to pages: they must not be shown in the frame of another's
OF_PAGES = [*HEADERS, (b"x-frame-options", b"DENY"), (b"referrer-policy", b"no-referrer")]


def role_for(method: str, path: str) -> Role | None:
    """The role that a request takes; None: anyone may ask.

    >>> role_for("GET", "/users/7/recommendations"), role_for("POST", "/runs/shop/events")
    ('read', 'write')
    >>> role_for("DELETE", "/users/7/events")
    'admin'
    """
    if path.startswith("/health/") or (is_page(path) and is_open(path)):
        return None
    if method in SAFE:
        return "read"
    return ROLE_OF.get((method, path.rpartition("/")[2]), "admin")


def shown_key(headers: Mapping[bytes, bytes]) -> str | None:
    """The API key that a request shows; None: it shows none. Browsers show one as a password, for which they ask.

    >>> shown_key({b"authorization": b"Bearer abc"}), shown_key({b"authorization": b"Basic bWU6YWJj"}), shown_key({})
    ('abc', 'abc', None)
    """
    alone = headers.get(b"x-api-key")
    if alone is not None:
        return alone.decode("latin-1")
    kind, _, value = headers.get(b"authorization", b"").partition(b" ")
    if kind.lower() == b"bearer":
        return value.strip().decode("latin-1")
    if kind.lower() == b"basic":
        with contextlib.suppress(binascii.Error):
            return base64.b64decode(value, validate=True).partition(b":")[2].decode("latin-1")
    return None


class Gate:
    """The application behind limits, keys, measuring and the log."""

    def __init__(
        self,
        app: App,
        settings: ServerSettings,
        telemetry: Telemetry,
        log: RequestLog,
        keys: Callable[[], ApiKeys | None],
    ) -> None:
        """keys: gives the keys that are known now; None: everyone may ask everything."""
        self.app, self.settings, self.telemetry, self.log, self.keys = app, settings, telemetry, log, keys
        self.hosts = {*LOOPBACK, "[::1]", settings.host.lower(), *(host.lower() for host in settings.hosts)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        begun = time.perf_counter()
        passage = Passage(scope, send, receive, self.settings.max_body)
        is_slow = (scope["method"], scope["path"].rpartition("/")[2]) in SLOW
        seconds = max(SECONDS_OF_SLOW, self.settings.seconds) if is_slow else self.settings.seconds
        try:
            self.admit(scope)
            async with asyncio.timeout(seconds):
                await self.app(scope, passage.receive, passage.send)
            passage.must_be_whole()
        except TimeoutError:
            await passage.refuse(Problem.busy(f"the answer took more than {seconds:g} s"))
        except Problem as problem:
            await passage.refuse(problem)
        except Exception as error:
            self.log.happened("error", {"route": route_of(scope), "error": type(error).__name__, **_place(error)})
            await passage.refuse(Problem(500, "the server failed; its log says where"))
        self._note(scope, passage.status, time.perf_counter() - begun)

    def admit(self, scope: Scope) -> None:
        """Raise Problem for a request that is not let in."""
        headers = dict(scope["headers"])
        if len(scope.get("raw_path", b"")) + len(scope.get("query_string", b"")) > LONGEST_URL:
            raise Problem(414, f"the path and the query are longer than {LONGEST_URL:,} bytes")
        host = headers.get(b"host", b"").decode("latin-1").lower()
        name = host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0]
        keys = self.keys()
        if keys is None and self.settings.is_local and name not in self.hosts and "*" not in self.hosts:
            raise Problem(421, f"this server is not called {name!r}; --host-name says by what names it may be called")
        method = scope["method"]
        if method in ("POST", "PUT", "PATCH"):
            kind = headers.get(b"content-type", b"").decode("latin-1").partition(";")[0].strip().lower()
            is_form = kind == FORM_TYPE and scope["path"] in FORMS
            if kind not in BODIES and not is_form and scope["path"].rpartition("/")[2] != "reload":
                raise Problem(415, f"the body is {kind or 'of no type'}; Content-Type: application/json is wanted")
            length = headers.get(b"content-length", b"")
            if length.isdigit() and int(length) > self.settings.max_body:
                raise too_large(self.settings.max_body)
        role = role_for(method, scope["path"])
        if keys is None or role is None:
            return
        shown = shown_key(headers)
        if shown is None and takes_cookie(method, scope["path"]):
            shown = key_in(headers.get(b"cookie", b""))
        key = None if shown is None else keys.of(shown)
        if key is None:
            detail = "the API key is not known"
            if shown is None:
                detail = "an API key is wanted, as Authorization: Bearer KEY; in a browser, as the password of any name"
            asks = b"text/html" in headers.get(b"accept", b"") and not is_page(scope["path"])  # the page has a form
            how = 'Basic realm="kgrec"' if asks else "Bearer"
            raise Problem(401, detail, headers={"WWW-Authenticate": how})
        if not key.may(role):
            raise Problem(403, f"this takes a key of the role {role}, and this one has {key.role}")

    def _note(self, scope: Scope, status: int, seconds: float) -> None:
        route = route_of(scope)
        self.telemetry.answered(route, status, seconds)
        if self.settings.log_requests:
            said = {"method": scope["method"], "route": route, "status": status, "ms": round(1000 * seconds, 2)}
            if self.settings.log_ids:
                client = scope.get("client") or ("",)
                query = scope["query_string"].decode("latin-1")
                said |= {"path": scope["path"], "query": query, "client": client[0]}
            self.log.request(said)


class Passage:
    """A request's body, counted, and its answer, watched."""

    def __init__(self, scope: Scope, send: Send, receive: Receive, max_body: int) -> None:
        self._scope = scope
        self._send, self._receive, self._left, self._max = send, receive, max_body, max_body
        self.status = 0  #: 0: nothing was answered
        self._refused: Problem | None = None  #: which is answered in place of what the application says

    async def receive(self) -> Message:
        """The next part of the body. Raises Problem 413."""
        message = await self._receive()
        self._left -= len(message.get("body", b""))
        if self._left < 0:
            self._refused = too_large(self._max)
            raise self._refused
        return message

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on."""
        if self._refused is not None:
            return
        if message["type"] == "http.response.start":
            self.status = message["status"]
            there = dict(message["headers"])
            more = OF_PAGES if there.get(b"content-type", b"").startswith(b"text/html") else HEADERS
            message["headers"] = [*message["headers"], *(one for one in more if one[0] not in there)]
        await self._send(message)

    def must_be_whole(self) -> None:
        """Raise Problem where the body was not read to its end, whatever the application made of that."""
        if self._refused is not None:
            raise self._refused

    async def refuse(self, problem: Problem) -> None:
        """Answer with a problem, unless an answer has begun."""
        if self.status:
            return
        self._refused = None
        response = answer_to(self._scope, problem)
        if problem.status in (413, 414):  # the rest of the request is not read
            response.headers["Connection"] = "close"
        await self.send({"type": "http.response.start", "status": problem.status, "headers": response.raw_headers})
        await self.send({"type": "http.response.body", "body": response.body})


def too_large(most: int) -> Problem:
    """The problem of a body that is too large."""
    return Problem(413, f"the body has more than {most:,} bytes")


def route_of(scope: Scope) -> str:
    """The template of a request's path, without ids."""
    return str(getattr(scope.get("route"), "path_format", "none"))


def _place(error: BaseException) -> dict[str, Any]:
    """Where an error came from: files and lines, without values."""
    places, trace = [], error.__traceback__
    while trace is not None:
        code = trace.tb_frame.f_code
        places.append(f"{code.co_filename.rpartition('/kgrec/')[2]}:{trace.tb_lineno}")
        trace = trace.tb_next
    return {"at": places[-6:]}

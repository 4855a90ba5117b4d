"""Which requests are those of the page, and the key that a browser keeps for it in a cookie."""

from __future__ import annotations

from http.cookies import CookieError, SimpleCookie

COOKIE = "kgrec_key"
KEY_PATH, LEAVE_PATH, STATIC_PATH = "/page/key", "/page/leave", "/page/static/"
FORMS = (KEY_PATH, LEAVE_PATH)  #: that are sent by POST
FORM_TYPE = "application/x-www-form-urlencoded"
REFERENCE = ("/docs", "/openapi.json")  #: also read with the cookie, as the page links to it
SAFE = ("GET", "HEAD")


def is_page(path: str) -> bool:
    """Whether a path is one of the page, which answers in HTML.

    >>> is_page("/"), is_page("/page/list"), is_page("/runs")
    (True, True, False)
    """
    return path == "/" or path.startswith("/page/")


def is_open(path: str) -> bool:
    """Whether a path of the page is for everyone: where a key is asked for, and what that looks like."""
    return path in FORMS or path.startswith(STATIC_PATH)


def takes_cookie(method: str, path: str) -> bool:
    """Whether a request may show its key by the cookie: only those that read, and are of the page.

    >>> takes_cookie("GET", "/page/list"), takes_cookie("GET", "/runs"), takes_cookie("POST", "/events")
    (True, False, False)
    """
    return method in SAFE and (is_page(path) or path in REFERENCE or path.startswith("/docs/"))


def key_in(cookies: bytes) -> str | None:
    """The API key among the cookies of a request; None: there is none."""
    try:
        found = SimpleCookie(cookies.decode("latin-1")).get(COOKIE)
    except CookieError:
        return None
    return found.value if found is not None and found.value else None


def way_back(path: str) -> str:
    """A path and query of the page to go on with; the front where it is none, so that nobody is led elsewhere.

    >>> way_back("/page/list?user=ann"), way_back("//elsewhere.example"), way_back("/page/../events")
    ('/page/list?user=ann', '/', '/')
    """
    only = path.partition("?")[0].partition("#")[0]
    if not is_page(only) or is_open(only) or ".." in only or "\\" in path or not path.isprintable():
        return "/"
    return path

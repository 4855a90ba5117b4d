"""The page: plain HTML whose lists are those of the API, escaped, behind a strict policy and the server's keys."""

import re
from html.parser import HTMLParser
from urllib.parse import parse_qs, urlsplit

import pytest

from kgrec import train
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.server.api_keys import add_key
from kgrec.server.page.html_pages import STATIC
from kgrec.sources.building import build_to
from tests.server.conftest import RECIPE, write_tables


class Seen(HTMLParser):
    """What a browser makes of a page: tags with attributes, and the text outside of tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.text, self.places, self._in_places = "", list[str](), False
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag == "ol":
            self._in_places = True
        elif tag == "a" and self._in_places:
            self.places.append(dict(attrs)["href"])

    def handle_endtag(self, tag):
        self._in_places = self._in_places and tag != "ol"

    def handle_data(self, data):
        self.text += data.replace("\xa0", " ")

    def queries(self, path: str) -> list[dict]:
        """The queries of links to a path, in order."""
        links = [urlsplit(attrs["href"]) for tag, attrs in self.tags if tag == "a" and "href" in attrs]
        return [parse_qs(one.query) for one in links if one.path == path]

    def listed(self) -> list[str]:
        """The items that stand in lists."""
        return [parse_qs(urlsplit(one).query)["id"][0] for one in self.places if one.startswith("/page/item?")]


def see(client, path: str, status: int = 200) -> Seen:
    answer = client.get(path)
    assert answer.status_code == status and answer.headers["content-type"].startswith("text/html"), answer.text
    return Seen(answer.text)


PAGES = (
    "/",
    "/?q=Item",
    "/page/list",
    "/page/list?user=u1&beside=ease",
    "/page/list?item=i1&item=i2",
    "/page/item?id=i1",
    "/page/node?type=brand&id=brand1",
    "/page/graph",
    "/page/graph?type=item",
    "/page/graph?relation=item-of_brand-brand",
    "/page/key",
)


@pytest.mark.parametrize("path", PAGES)
def test_a_page_runs_and_fetches_nothing_but_the_servers_own(shop, path):
    answer = shop.get(path)
    policy = answer.headers["content-security-policy"]
    assert answer.status_code == 200 and "default-src 'none'" in policy and "unsafe" not in policy
    assert "img-src 'self';" in policy and answer.headers["x-frame-options"] == "DENY"
    seen = Seen(answer.text)
    for tag, attrs in seen.tags:
        assert tag != "style" and "style" not in attrs and not any(name.startswith("on") for name in attrs)
        assert tag != "script" or attrs["src"].startswith("/page/static/")
        for name in ("src", "href", "action"):
            assert attrs.get(name, "/").startswith(("/", "#"))
    ids = [attrs["id"] for _, attrs in seen.tags if "id" in attrs]
    assert len(ids) == len({*ids}) and "b" not in {tag for tag, _ in seen.tags}  # titles are <b>Item</b> 1
    assert "&lt;b&gt;Item" in answer.text or "<b>Item" not in answer.text


def test_a_search_finds_users_and_items(shop):
    seen = see(shop, "/?q=U3")
    assert seen.queries("/page/list")[-1] == {"user": ["u3"]} and "Items" not in seen.text
    seen = see(shop, "/?q=item</b> 1")
    found = [one["id"] for one in seen.queries("/page/item")]
    assert found == [["i1"], ["i10"], ["i11"]] and "<b>Item</b> 10" in seen.text
    fragment = shop.get("/page/found?q=nothing+like+it").text
    assert "Nothing has" in fragment and "<html" not in fragment


def test_lists_are_those_of_the_api(shop):
    controls = "side=only&name=price&op=<&value=20&side=not&name=genre&op==&value=b&seen=1&k=3"
    seen = see(shop, f"/page/list?user=u1&{controls}")
    asked = {"k": 3, "where": "price<20", "not": "genre=b", "include_seen": True}
    rows = shop.get("/users/u1/recommendations", params=asked).json()["items"]
    assert seen.listed() == [row["item"] for row in rows] and f"score {rows[0]['score']:.4g}" in seen.text
    rules = "cap_name=of_brand&cap=1&diversity=0.5&pin=i9&block=i10&calibrate=genre"
    seen = see(shop, f"/page/list?user=u1&run=ease&{rules}&exclude=bought")
    wanted = {
        "at_most": {"of_brand": 1},
        "diversity": {"weight": 0.5},
        "pinned": ["i9"],
        "blocked": ["i10"],
        "calibration": {"by": "genre"},
    }
    body = {"user": "u1", "rules": wanted, "why": True, "exclude": ["bought"]}
    (answer,) = shop.post("/runs/ease/recommendations", json=body).json()["results"]
    assert "i9" in seen.listed() and seen.listed() == [row["item"] for row in answer["items"]]
    assert answer["reason"][1:] in seen.text and "Pinned: " in seen.text and "Left out: " in seen.text


def test_a_new_user_is_made_of_items(shop):
    seen = see(shop, "/page/list?run=ease&item=i1&item=i2&q=Item")
    (answer,) = shop.post("/runs/ease/recommendations", json={"history": ["i1", "i2"]}).json()["results"]
    assert seen.listed() == [row["item"] for row in answer["items"]]
    more = [one["item"] for one in seen.queries("/page/list") if len(one.get("item", ())) == 3]
    fewer = [one["item"] for one in seen.queries("/page/list") if len(one.get("item", ())) == 1]
    assert ["i1", "i2", "i3"] in more and fewer[:2] == [["i2"], ["i1"]]
    assert {"item": ["i1"]} in see(shop, "/").queries("/page/list")


def test_two_runs_stand_side_by_side(shop):
    seen = see(shop, "/page/list?user=u1&beside=ease&k=4")
    lists = [
        [row["item"] for row in shop.get(f"{run}/users/u1/recommendations?k=4").json()["items"]]
        for run in ("", "/runs/ease")
    ]
    assert seen.listed() == [*lists[0], *lists[1]]
    assert seen.text.count("only here") == 2 * len({*lists[0]} - {*lists[1]})
    assert "Recommended by mf" in seen.text and "Recommended by ease" in seen.text
    assert see(shop, "/page/list?user=u1&run=ease&beside=ease").text.count("Recommended by") == 1


def test_events_are_known_at_once_and_strangers_hear_what_their_list_is(shop):
    before = see(shop, "/page/list?user=guest&run=ease")
    assert "most popular" in before.text and "does not know this user" in before.text
    event = {"id": "page-1", "user": "guest", "item": "i7", "time": 1_700_000_000}
    assert shop.post("/runs/ease/events", json=event).status_code == 201
    after = see(shop, "/page/list?user=guest&run=ease")
    assert "i7" not in after.listed() and "Because of <b>Item</b> 7" in after.text and "2023-11-14" in after.text


def test_items_nodes_and_the_graph_lead_to_each_other(shop):
    item = see(shop, "/page/item?id=i4")
    assert {"type": ["brand"], "id": ["brand1"]} in item.queries("/page/node") and "14" in item.text
    similar = [row["item"] for row in shop.get("/items/i4/similar?k=8").json()["items"]]
    assert [one["id"][0] for one in item.queries("/page/item")] == similar
    assert "By the cosine of the vectors" in item.text
    node = see(shop, "/page/node?type=brand&id=brand1")
    assert [one["id"][0] for one in node.queries("/page/item")] == ["i1", "i4", "i7", "i10"]
    graph = see(shop, "/page/graph")
    assert {"relation": ["item-of_brand-brand"]} in graph.queries("/page/graph") and "brand\n12\n" in graph.text
    assert {"user": ["u0"]} in graph.queries("/page/list")
    relation = see(shop, "/page/graph?relation=item-of_brand-brand")
    assert {"id": ["i1"]} in relation.queries("/page/item") and "12 edges" in relation.text


def test_values_of_a_filter_are_offered(shop):
    assert shop.get("/page/values?of=of_brand&q=D1").text == '<option value="brand1"></option>'
    assert shop.get("/page/values?of=genre").text == '<option value="a"></option><option value="b"></option>'
    assert shop.get("/page/values?of=price").text == shop.get("/page/values?of=nope").text == ""


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/page/item?id=%3Cscript%3Ealert(1)%3C/script%3E", 404, "<script>alert(1)</script>"),
        ("/page/list?user=%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E", 200, "<img src=x onerror=alert(1)>"),
        ("/page/list?item=%22%3E%3Cscript%3E", 200, '"><script>'),
        ("/page/list?user=a'%20OR%20'1'='1", 200, "a' OR '1'='1"),
        ("/page/list?user=u1&side=only&name=nope&op==&value=%3Cb%3E", 200, "no column, relation or node type 'nope'"),
        ("/page/list?user=u1&pin=%3Cb%3E", 200, "<b>"),
        ("/page/list?user=u1&k=101", 200, "lists of up to 100"),
        ("/page/list?user=u1&k=0", 422, "at least 1"),
        ("/page/list?user=u1&diversity=nan", 422, "from 0 to 1"),
        ("/page/list?user=u1&side=only&name=x", 422, "lacks one of"),
        ("/page/list?user=u1&side=all&name=x&op==&value=1", 422, "no side 'all'"),
        (f"/page/list?user={'x' * 513}", 422, "513 characters"),
        ("/page/list?user=a%00b", 422, "NUL"),
        (f"/page/list?user={'x' * 9000}", 414, "8,192 bytes"),
        ("/page/list?run=nope", 404, "no run 'nope'"),
        ("/page/node?type=nope&id=1", 404, "no node type 'nope'"),
        ("/page/node?type=brand&id=1", 404, "no brand '1'"),
        ("/page/graph?relation=nope", 404, "no relation 'nope'"),
        ("/page/static/../page_routes.py", 404, "nothing at this path"),
        ("/page/nope", 404, "nothing at this path"),
    ],
)
def test_what_does_not_fit_is_said_on_a_page_and_escaped(shop, path, status, words):
    seen = see(shop, path, status)
    assert words in seen.text and all(
        attrs.get("src", "").startswith("/page/") for tag, attrs in seen.tags if tag in ("img", "script")
    )
    assert not {"onerror"} & {name for _, attrs in seen.tags for name in attrs}


def test_a_key_is_asked_for_and_kept_in_a_cookie_that_only_the_page_is_read_with(serving, shop_runs, tmp_path):
    key = add_key(tmp_path / "keys", "people", "read")
    with serving({"ease": shop_runs / "ease.run"}, keys=tmp_path / "keys") as (client, _, _):
        form = see(client, "/page/list?user=u1", 401)
        back = next(attrs["value"] for _, attrs in form.tags if attrs.get("name") == "next")
        assert back == "/page/list?user=u1" and client.get("/page/static/page.css").status_code == 200
        wrong = client.post("/page/key", data={"key": "kgrec_wrong", "next": back})
        assert wrong.status_code == 401 and "does not know" in wrong.text and "set-cookie" not in wrong.headers
        other = {"Sec-Fetch-Site": "cross-site"}
        assert client.post("/page/key", data={"key": key}, headers=other).status_code == 403
        right = client.post("/page/key", data={"key": key, "next": back}, follow_redirects=False)
        assert right.status_code == 303 and right.headers["location"] == back
        cookie = right.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Max-Age" not in cookie
        assert see(client, back).listed() and client.get("/openapi.json").status_code == 200
        assert client.get("/runs").status_code == client.get("/users/u1/recommendations").status_code == 401
        assert client.post("/reload").status_code == client.post("/events", json={}).status_code == 401
        elsewhere = client.post("/page/key", data={"key": key, "next": "//evil.example/"}, follow_redirects=False)
        assert elsewhere.headers["location"] == "/"
        client.post("/page/leave", data={"now": "1"})
        see(client, back, 401)


@pytest.fixture(scope="module")
def pictured(tmp_path_factory):
    """A run whose items have addresses of images, of which not all are of the web."""
    root = tmp_path_factory.mktemp("pictured")
    recipe = write_tables(root / "shop")
    recipe.write_text(RECIPE.replace("{price: numeric,", "{picture: text, price: numeric,"))
    head, *rows = (root / "shop/items.csv").read_text().splitlines()
    addresses = {1: "javascript:alert(1)", 2: "//img.example/2.png", 3: ""}
    rows = [f"{row},{addresses.get(n, f'https://img.example/{n}.png?a=1&b=<2>')}" for n, row in enumerate(rows)]
    (root / "shop/items.csv").write_text("\n".join([f"{head},picture", *rows, ""]))
    build_to(recipe, None, root / "shop.graph")
    train("ease", Graph.load(root / "shop.graph"), config={"l2": 1.0}, split="last_n:1", out=root / "ease.run")
    lean = {"config": {"l2": 1.0}, "split": "last_n:1", "lean": True}
    train("ease", Graph.load(root / "shop.graph"), **lean, out=root / "lean.run")
    return {"ease": root / "ease.run", "lean": root / "lean.run"}


def test_images_are_shown_by_a_column_where_they_are_of_the_web(serving, pictured):
    with serving(pictured, image="picture") as (client, _, _):
        answer = client.get("/page/list?item=i1&item=i2&item=i3&item=i4")
        assert re.search("img-src 'self' https: http:;", answer.headers["content-security-policy"])
        images = [
            attrs["src"] for tag, attrs in Seen(answer.text).tags if tag == "img" and attrs.get("class") == "picture"
        ]
        assert images[0] == "https://img.example/4.png?a=1&b=<2>" and "javascript" not in answer.text
        assert all(one.startswith("https://img.example/") for one in images) and len(images) > 3
    with serving(pictured) as (client, _, _):
        assert 'class="picture"' not in client.get("/page/list?item=i4").text


def test_a_run_without_facts_says_so(serving, pictured):
    with serving({"lean": pictured["lean"]}) as (client, _, _):
        assert (
            "--lean" in see(client, "/page/graph").text and "--lean" in see(client, "/page/node?type=x&id=1", 404).text
        )
        seen = see(client, "/page/list?user=u1")
        assert (
            len(seen.listed()) > 3 and "Variety" not in seen.text and "no facts" in see(client, "/page/item?id=i1").text
        )


def test_a_column_of_images_must_be_there(serving, pictured):
    with (
        pytest.raises(UnknownName, match=r"no column of texts 'pictures'.*did you mean 'picture'"),
        serving(pictured, image="pictures"),
    ):
        pass
    with pytest.raises(KgrecError, match="no column of texts 'price'"), serving(pictured, image="price"):
        pass


def test_style_and_scripts_are_sent_with_their_types(shop):
    for name, kind in STATIC.items():
        answer = shop.get(f"/page/static/{name}?1")
        assert (
            answer.headers["content-type"] == kind and "max-age" in answer.headers["cache-control"] and answer.content
        )

"""Explanations over HTTP and on the page: those of the library, escaped, in which other users are not named."""

from io import StringIO

import pytest
from starlette.testclient import TestClient

from kgrec import Run, train
from kgrec.graph import Graph
from kgrec.server.application import application
from kgrec.server.request_log import RequestLog
from kgrec.server.server_settings import ServerSettings
from kgrec.server.serving_state import ServingState
from tests.server.conftest import QUIET
from tests.server.test_page import Seen, see


@pytest.fixture(scope="module")
def client(shop_runs):
    """A server of a graph network, one of interactions alone, and a model without a graph part."""
    graph, training = Graph.load(shop_runs / "shop.graph"), {"epochs": 1, "seed": 1}
    config = {"dim": 4, "layer_dims": (4, 4), "relation_dim": 4}
    how = {"training": training, "split": "last_n:1"}
    paths = {"kgat": shop_runs / "kgat.run", "gcn": shop_runs / "gcn.run", "mf": shop_runs / "mf.run"}
    train("kgat", graph, config=config, out=paths["kgat"], **how)
    train("lightgcn", graph, config={"dim": 4}, out=paths["gcn"], **how)
    state = ServingState.load(paths, ServerSettings(**QUIET), None, RequestLog(StringIO()))
    with TestClient(application(state), base_url="http://localhost", raise_server_exceptions=False) as found:
        yield found


@pytest.fixture(scope="module")
def item(client) -> str:
    """The first item of a user's list that paths lead to."""
    listed = client.get("/users/u1/recommendations").json()["items"]
    asked = [client.get("/users/u1/explanation", params={"item": row["item"], "paths": 1}).json() for row in listed]
    return next(one["items"][0]["id"] for one in asked if one["paths"])


def test_explanations_are_those_of_the_library(client, shop_runs, item):
    answer = client.get("/users/u1/explanation", params={"item": item, "paths": 3})
    assert answer.status_code == 200
    assert answer.json() == Run.load(shop_runs / "kgat.run").explain("u1", item, 3).to_json()
    assert client.get(f"/runs/kgat/users/u1/explanation?item={item}&by=attention").json()["by"] == "attention"


def test_other_users_are_not_named(client, shop_runs):
    listed = client.get("/runs/gcn/users/u1/recommendations").json()["items"]
    answer = client.get("/runs/gcn/users/u1/explanation", params={"item": listed[0]["item"]}).json()
    assert answer["through"] == "users" and answer["paths"]
    for path in answer["paths"]:
        assert path["nodes"][2] == {"type": "user", "id": "", "label": "another user", "iri": None}
        assert "as did another user, who viewed this too" in path["text"]
    seen = see(client, f"/page/why?run=gcn&user=u1&id={listed[0]['item']}")
    assert "another user" in seen.text and not [name for name in ("u0", "u2", "u3", "u4", "u5") if name in seen.text]


def test_what_cannot_be_explained_is_a_problem(client, item):
    for path, status, said in (
        (f"/users/nobody/explanation?item={item}", 404, "no user 'nobody' in the run 'kgat'"),
        ("/users/u1/explanation?item=nothing", 404, "no item 'nothing' in the run 'kgat'"),
        (f"/runs/mf/users/u1/explanation?item={item}", 422, "mf has no graph part"),
        (f"/runs/gcn/users/u1/explanation?item={item}&by=attention", 422, "lightgcn has no attention"),
        (f"/users/u1/explanation?item={item}&paths=0", 422, ""),
        (f"/users/u1/explanation?item={item}&paths=1000", 422, ""),
        ("/users/u1/explanation", 422, ""),
    ):
        answer = client.get(path)
        assert answer.status_code == status and answer.headers["content-type"] == "application/problem+json"
        assert said in answer.json()["detail"]


def test_the_page_draws_paths_and_links_to_them(client, item):
    address = f"/page/why?user=u1&id={item}"
    answer = client.get(address)
    seen = Seen(answer.text)
    assert "unsafe" not in answer.headers["content-security-policy"] and "<b>Item" not in answer.text
    drawn = [attrs for tag, attrs in seen.tags if tag == "svg"]
    assert len(drawn) == 1 and drawn[0]["role"] == "img" and drawn[0]["aria-labelledby"] == "paths-title paths-said"
    assert not [attrs for _, attrs in seen.tags if "style" in attrs]
    said = client.get("/users/u1/explanation", params={"item": item}).json()["paths"]
    assert said and seen.text.count("Because of") + seen.text.count("Because you") == len(said)
    queries = see(client, "/page/list?user=u1").queries("/page/why")
    assert {"user": ["u1"], "id": [item]} in queries
    assert see(client, "/page/list?user=u1&run=mf").queries("/page/why") == []
    assert "names no user" in see(client, f"/page/why?id={item}", 404).text
    see(client, f"/page/why?user=nobody&id={item}", 404)

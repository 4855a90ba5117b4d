"""Lists, similar items and predictions over HTTP equal those of the library."""

import threading
import time

import pytest

from kgrec.run import Run
from kgrec.serving.service import Service


@pytest.fixture(scope="module")
def mf(shop_runs):
    return Run.load(shop_runs / "mf.run")


@pytest.fixture(scope="module")
def ease(shop_runs):
    return Run.load(shop_runs / "ease.run")


def ids(answer):
    return [row["item"] for row in answer["items"]]


def test_a_users_list_is_the_librarys(shop, mf, ease):
    query = "k=3&where=price<20&not=genre%3Db&include_seen=true"
    wanted = {"where": "price<20", "not_": "genre=b", "include_seen": True}
    assert ids(shop.get(f"/users/u1/recommendations?{query}").json()) == mf.recommend("u1", 3, **wanted)["item"]
    found = shop.get("/runs/ease/users/u1/recommendations?k=4&exclude=bought").json()
    expected = ease.recommend("u1", 4, exclude="bought")
    assert ids(found) == expected["item"]
    assert [row["score"] for row in found["items"]] == pytest.approx(expected["score"], rel=1e-6)
    assert found["items"][0]["label"].startswith("<b>Item</b>")


def test_why_names_the_past_items(shop):
    answer = shop.get("/runs/ease/users/u1/recommendations?k=2&why=true").json()
    assert {step["item"] for step in answer["why"]} <= {"i1", "i3", "i5", "i7"} and "because" in answer["reason"]


def test_one_whom_nobody_knows_gets_the_most_popular_and_hears_so(shop):
    answer = shop.get("/users/nobody/recommendations?k=2")
    assert answer.status_code == 200 and answer.json()["reason"] == "no history, by popularity"


def test_many_users_each_with_options_of_their_own(shop, ease):
    body = {
        "k": 2,
        "users": [
            "u1",
            {"user": "u2", "k": 1},
            {"history": ["i1", {"item": "i2", "time": "2026-01-01T00:00:00Z"}], "exclude": ["bought"]},
            {"history": ["nope"]},
            {"user": "u3", "k": 1000},
            {},
        ],
    }
    results = shop.post("/runs/ease/recommendations", json=body).json()["results"]
    assert ids(results[0]) == ease.recommend("u1", 2)["item"] and len(ids(results[1])) == 1
    assert ids(results[2]) == ease.recommend(history=["i1", "i2"], k=2)["item"]
    assert [one["problem"]["status"] for one in results[3:]] == [422, 422, 422]
    assert "'nope'" in results[3]["problem"]["detail"] and "up to 100" in results[4]["problem"]["detail"]


def test_one_new_user_by_a_history_with_rules(shop, ease):
    body = {"history": ["i1"], "k": 3, "rules": {"blocked": ["i3"]}}
    (answer,) = shop.post("/runs/ease/recommendations", json=body).json()["results"]
    assert ids(answer) == ease.recommend(history=["i1"], k=3, rules={"blocked": ["i3"]})["item"]


def test_quick_lists_are_made_without_another_thread_and_are_the_same(shop_runs, serving, monkeypatch):
    made_by, recommend = [], Service.recommend

    def watched(service, wanted):
        made_by.append(threading.current_thread().name)
        return recommend(service, wanted)

    monkeypatch.setattr(Service, "recommend", watched)
    with serving({"ease": shop_runs / "ease.run"}) as (client, state, _):
        first = client.get("/users/u1/recommendations?k=3").json()
        while state.batcher._is_working:  # the thread has answered, and has not yet looked for more
            time.sleep(0.001)
        second = client.get("/users/u1/recommendations?k=3").json()
        client.get("/users/u1/recommendations?k=3&why=true")
        client.post("/recommendations", json={"users": ["u1", "u2"], "k": 3})
    assert first == second and len(made_by[-4:]) == 4
    first, second, why, several = (name == "kgrec-scoring" for name in made_by[-4:])
    assert (first, second, why, several) == (True, False, True, True)


def test_similar_items_and_predictions(shop, mf):
    answer = shop.get("/items/i1/similar?k=3&where=price<18").json()
    assert ids(answer) == mf.similar("i1", 3, where="price<18")["item"] and answer["reason"] == "cosine of vectors"
    pairs = [{"user": "u1", "item": "i2"}, {"user": "zz", "item": "i2"}, {"user": "u2", "item": "i5"}]
    found = shop.post("/predictions", json={"pairs": pairs}).json()["results"]
    expected = mf.predict([("u1", "i2"), ("u2", "i5")])["score"]
    assert [found[0]["score"], found[2]["score"]] == pytest.approx(expected, rel=1e-6)
    assert found[1]["problem"]["status"] == 422


def test_what_is_served_and_measured(shop):
    names = [(one["name"], one["model"], one["num_items"]) for one in shop.get("/runs").json()["runs"]]
    assert names == [("mf", "mf", 12), ("ease", "ease", 12)]
    assert shop.get("/health/live").json() == {"status": "live"}
    assert shop.get("/health/ready").json()["status"] == "ready"
    shop.get("/users/nobody/recommendations")
    text = shop.get("/metrics").text
    assert 'kgrec_lists_total{by="no history, by popularity",run="mf"}' in text
    assert 'kgrec_request_seconds_count{route="/users/{user}/recommendations"}' in text
    assert 'kgrec_model_age_seconds{run="ease"}' in text and "u1" not in text


def test_the_reference_is_served_without_anything_from_elsewhere(shop):
    paths = shop.get("/openapi.json").json()["paths"]
    assert {"/users/{user}/recommendations", "/runs/{run}/events", "/items", "/reload"} <= set(paths)
    query = {one["name"] for one in paths["/users/{user}/recommendations"]["get"]["parameters"]}
    assert query == {"user", "k", "where", "not", "exclude", "include_seen", "now", "why"}
    page = shop.get("/docs")
    assert (
        "http" not in page.text.replace('"http://localhost', "")
        and "default-src 'self'" in page.headers["content-security-policy"]
    )
    assert shop.get("/docs/static/swagger-ui-bundle.js").status_code == 200

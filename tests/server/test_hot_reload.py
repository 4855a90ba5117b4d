"""A run takes another's place while it serves, if it is sound; and new items, which stay known."""

import json
import shutil
import time

import pytest

from kgrec.run import Run
from kgrec.server.events.sqlite_store import SqliteStore


def ids(answer):
    return [row["item"] for row in answer.json()["items"]]


@pytest.fixture
def link(runs):
    path = runs / "current"
    path.symlink_to("ease.run")
    return path


def turn(link, target):
    link.unlink()
    link.symlink_to(target)


def test_a_link_that_is_turned_is_noticed_and_swapped(serving, runs, link):
    with serving({"shop": link}, watch_seconds=0.05) as (client, state, log):
        before = client.get("/runs").json()["runs"][0]
        turn(link, "mf.run")
        for _ in range(200):
            after = client.get("/runs").json()["runs"][0]
            if after["model"] == "mf":
                break
            time.sleep(0.05)
        assert (before["model"], after["model"]) == ("ease", "mf") and before["version"] != after["version"]
        assert ids(client.get("/users/u1/recommendations?k=3")) == Run.load(runs / "mf.run").recommend("u1", 3)["item"]
        assert "reloaded" in [json.loads(line)["event"] for line in log.getvalue().splitlines()]
        assert 'kgrec_reloads_total{run="shop",to="reloaded"} 1.0' in client.get("/metrics").text
        assert state.runs.default.refused is None


def corrupt(folder):
    (folder / "model.safetensors").write_bytes(b"\x00" * 100)


def of_another_version(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "format": 99}))


def without_numbers(folder):
    """A run whose weights are not finite, with hashes that are right."""
    import torch
    from safetensors.torch import load_file, save_file

    from kgrec.run_files import list_files

    path = folder / "model.safetensors"
    tensors = load_file(path)
    save_file(
        {name: torch.full_like(one, torch.nan) if one.is_floating_point() else one for name, one in tensors.items()},
        path,
    )
    config = json.loads((folder / "config.json").read_text())
    config["files"] = {name: one for name, one in list_files(folder).items() if name != "config.json"}
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (corrupt, "no safetensors file"),
        (of_another_version, "format 99"),
        (without_numbers, "not finite"),
        (shutil.rmtree, "is not there"),
    ],
)
def test_a_bad_run_is_refused_with_the_reason_and_the_old_one_stays(serving, runs, link, spoil, words):
    with serving({"shop": link}) as (client, _, log):
        before = ids(client.get("/users/u1/recommendations?k=3"))
        spoil(runs / "mf.run")
        turn(link, "mf.run")
        answer = client.post("/reload")
        assert answer.status_code == 409 and words in answer.json()["detail"]
        assert ids(client.get("/users/u1/recommendations?k=3")) == before
        ready = client.get("/health/ready").json()
        assert ready["status"] == "degraded" and words in ready["runs"]["shop"]["refused"]
        assert (
            "reload refused" in log.getvalue() and 'kgrec_reload_refused{run="shop"} 1.0' in client.get("/metrics").text
        )
        turn(link, "ease.run")
        assert client.post("/reload").status_code == 200
        assert client.get("/health/ready").json()["status"] == "ready"


def test_a_run_of_another_graph_is_refused_unless_it_is_meant(serving, runs, link):
    for any_graph in (False, True):
        turn(link, "ease.run")
        with serving({"shop": link}, any_graph=any_graph) as (client, _, _):
            turn(link, "other.run")
            answer = client.post("/reload")
            assert answer.status_code == (200 if any_graph else 409), answer.text
            assert any_graph or "another graph" in answer.json()["detail"]


def test_a_refused_run_is_not_tried_again_until_it_changes(serving, runs, link):
    with serving({"shop": link}, watch_seconds=0.02) as (_, _, log):
        corrupt(runs / "mf.run")
        turn(link, "mf.run")
        for _ in range(200):
            if "reload refused" in log.getvalue():
                break
            time.sleep(0.02)
        time.sleep(0.2)
        assert log.getvalue().count("reload refused") == 1


# ---------------------------------------------------------------------- new items

ROW = {"item": "i90", "title": "New", "price": 12, "genre": "a", "brand": "brand1"}


def test_new_items_are_ranked_from_then_on_and_after_a_restart_and_a_reload(serving, runs, tmp_path):
    store = SqliteStore(tmp_path / "events.sqlite")
    with serving({"mf": runs / "mf.run"}, store) as (client, _, _):
        assert client.get("/items/i90/similar").status_code == 404
        answer = client.put("/items", json=[ROW, {**ROW, "item": "i91", "genre": "b"}])
        assert (answer.status_code, answer.json()) == (201, {"items": 2})
        expected = Run.load(runs / "mf.run").with_items([ROW, {**ROW, "item": "i91", "genre": "b"}])
        assert ids(client.get("/users/u1/recommendations?k=10")) == expected.recommend("u1", 10)["item"]
        assert client.get("/items/i90/similar?k=1").status_code == 200
        assert client.post("/events", json={"id": "e1", "user": "u1", "item": "i91"}).status_code == 201
        assert client.post("/reload").status_code == 200
        assert client.get("/runs").json()["runs"][0]["num_items"] == 14
    store = SqliteStore(tmp_path / "events.sqlite")
    with serving({"mf": runs / "mf.run"}, store) as (client, _, _):
        assert client.get("/runs").json()["runs"][0]["num_new_items"] == 2
        assert "i91" not in ids(client.get("/users/u1/recommendations?k=10"))  # it was seen


def test_new_items_that_are_put_again_take_the_place_of_the_first(serving, runs, tmp_path):
    with serving({"mf": runs / "mf.run"}, SqliteStore(tmp_path / "events.sqlite")) as (client, _, _):
        assert client.put("/items", json=[ROW]).status_code == 201
        again = client.put("/items", json=[{**ROW, "title": "Renamed"}])
        assert (again.status_code, again.json()) == (200, {"items": 1})
        assert client.get("/items/i90/similar").json()["label"] == "Renamed"
        assert client.get("/runs").json()["runs"][0]["num_new_items"] == 1


@pytest.mark.parametrize(
    ("body", "kind", "status", "words"),
    [
        (b'[{"item": "i1", "price": 1}]', "application/json", 422, "i1"),
        (b'[{"item": "i90", "colour": "red"}]', "application/json", 422, "colour"),
        (b'[{"item": "i90", "price": {"a": [1]}}]', "application/json", 422, "price"),
        (b'[{"item": {"a": 1}}]', "application/json", 422, "item"),
        (b'{"item": "i90"}', "application/json", 422, "array"),
        (b"[]", "application/json", 422, "array"),
        (b"[1]", "application/json", 422, "array"),
        (b"[{", "application/json", 400, "no JSON"),
        (b"\xff", "application/json", 400, "UTF-8"),
        (b"{", "application/ld+json", 422, "fix the JSON"),
        (b'{"@id": "urn:x", "@context": "http://localhost:1/none"}', "application/ld+json", 422, "context"),
        (b"<urn:a> <urn:b>", "text/turtle", 422, "Unexpected end"),
        (b"item\ni90", "text/csv", 415, "text/csv"),
    ],
)
def test_new_items_that_cannot_be_known(serving, shop_runs, body, kind, status, words):
    with serving({"mf": shop_runs / "mf.run"}) as (client, _, _):
        answer = client.put("/items", content=body, headers={"content-type": kind})
        assert answer.status_code == status and words in answer.json()["detail"], answer.text
        assert "/tmp" not in answer.text
        assert client.get("/runs").json()["runs"][0]["num_items"] == 12


def test_new_items_as_facts(serving, shop_runs):
    iri = "https://shop.example/item/i95"
    forms = {
        "application/ld+json": json.dumps({"@id": iri, "https://schema.org/weight": 3}),
        "text/turtle": f"<{iri}> <https://schema.org/weight> 3 .",
        "application/n-triples": f'<{iri}> <https://schema.org/weight> "3" .',
    }
    for kind, body in forms.items():
        with serving({"mf": shop_runs / "mf.run"}) as (client, _, _):
            answer = client.put("/items", content=body, headers={"content-type": kind})
            assert (answer.status_code, answer.json()) == (201, {"items": 1}), answer.text
            assert client.get("/items/i95/similar").status_code == 200


def test_a_model_that_knows_items_by_ids_alone_says_so(shop):
    answer = shop.put("/runs/ease/items", json=[ROW])
    assert answer.status_code == 422 and "by their ids alone" in answer.json()["detail"]


def test_more_new_items_than_a_server_holds(serving, shop_runs):
    with serving({"mf": shop_runs / "mf.run"}, max_new_items=1) as (client, _, _):
        assert client.put("/items", json=[ROW]).status_code == 201
        assert client.put("/items", json=[{**ROW, "item": "i91"}]).status_code == 409
        assert client.get("/runs").json()["runs"][0]["num_items"] == 13


def test_lists_by_an_index_of_which_a_run_without_one_is_refused(serving, runs, link):
    pytest.importorskip("usearch", reason="needs the extra `index`")
    from kgrec.serving.item_index import ItemIndex

    run = Run.load(runs / "mf.run")
    ItemIndex.of(run).save(run, runs / "mf.run.index", {})
    turn(link, "mf.run")
    with serving({"shop": link}, approximate=True) as (client, state, _):
        assert state.runs.default.current.service.index is not None
        assert ids(client.get("/users/u1/recommendations?k=3")) == run.recommend("u1", 3)["item"]
        turn(link, "ease.run")
        answer = client.post("/reload")
        assert answer.status_code == 409 and "index" in answer.json()["detail"]

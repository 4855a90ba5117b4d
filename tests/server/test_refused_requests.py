"""What a server does not take: a problem document says why, never a traceback, and the next request is answered."""

import json

import pytest

HEADERS = {"content-type": "application/json"}


def refused(answer, status, *words):
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == status and "Traceback" not in answer.text
    for word in words:
        assert word in answer.text
    return problem


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("k=1000000000", "up to 100"),
        ("k=0", "greater than or equal to 1"),
        ("k=-1", "k"),
        ("k=ten", "integer"),
        ("k=" + "9" * 5000, "k"),
        ("k=50", "12 items"),
        ("kk=3", "kk"),
        ("k=1&k=2", "2 times"),
        ("where=nope%3D1", "nope"),
        ("where=price%3C", "price"),
        ("where=price%3C0", "no item is left"),
        ("exclude=liked", "liked"),
        ("include_seen=perhaps", "include_seen"),
        ("where_sparql=SELECT", "where_sparql"),
        ("&".join(["where=price%3E0"] * 21), "20"),
    ],
)
def test_a_query_that_does_not_fit(shop, query, words):
    refused(shop.get(f"/users/u1/recommendations?{query}"), 422, words)


@pytest.mark.parametrize(
    "name",
    ["'; DROP TABLE kgrec_events; --", "<script>alert(1)</script>", "../../etc/passwd", "ü 香 🙂", "a\nb", "\x00x"],
)
def test_ids_are_only_ids(shop, name):
    from urllib.parse import quote

    answer = shop.get(f"/users/{quote(name, safe='')}/recommendations?k=1")
    assert answer.status_code == 200 and answer.json()["user"] == name
    assert (
        answer.headers["content-type"] == "application/json" and answer.headers["x-content-type-options"] == "nosniff"
    )
    refused(shop.get(f"/items/{quote(name, safe='')}/similar"), 404)
    event = {"id": name, "user": name, "item": name}
    refused(shop.post("/events", json=event), 422, "item")


def test_an_id_of_a_megabyte(shop):
    refused(shop.get(f"/users/{'u' * 9000}/recommendations"), 414)
    refused(shop.post("/recommendations", json={"user": "u" * 900_000}), 422, "at most 512")
    refused(shop.post("/events", json={"id": "e" * 513, "user": "u", "item": "i1"}), 422)


@pytest.mark.parametrize("body", [b"", b"{", b"[", b"nul", b"\xff\xfe", b'{"a":' * 5000, b'{"k": NaN', b'"\\ud800"'])
@pytest.mark.parametrize("path", ["recommendations", "predictions", "events"])
def test_a_body_that_is_no_json(shop, path, body):
    answer = shop.post(f"/{path}", content=body, headers=HEADERS)
    assert answer.status_code in (400, 422)
    refused(answer, answer.status_code)


@pytest.mark.parametrize(
    ("path", "body", "words"),
    [
        ("recommendations", {}, "users"),
        ("recommendations", {"users": []}, "1 to 1,000"),
        ("recommendations", {"users": ["u1"] * 1001}, "1,001"),
        ("recommendations", {"users": ["u1"], "user": "u2"}, "not both"),
        ("recommendations", {"user": "u1", "colour": "red"}, "colour"),
        ("recommendations", {"user": "u1", "history": []}, "no item"),
        ("recommendations", {"history": [{"item": "i1", "when": 3}]}, "when"),
        ("recommendations", {"history": ["i1"] * 1001}, "1,000"),
        ("recommendations", {"history": [{"item": "i1", "time": 1e300}]}, "unix seconds"),
        ("recommendations", {"history": [{"item": "i1", "weight": "much"}]}, "weight"),
        ("recommendations", {"user": "u1", "rules": {"blocked": "/etc/passwd"}}, "no files"),
        ("recommendations", {"user": "u1", "rules": {"blocks": ["i1"]}}, "blocks"),
        ("recommendations", {"user": True}, "user"),
        ("recommendations", {"profile": {"shoe size": 44}}, ""),
        ("predictions", {"pairs": []}, "pairs"),
        ("predictions", {"pairs": [{"user": "u1"}]}, "item"),
        ("predictions", {"pairs": [["u1", "i1"]]}, "pairs"),
        ("events", {"events": []}, "events"),
        ("events", {"events": [{"id": "a", "user": "u1", "item": "i1"}] * 1001}, "1,001"),
        ("events", {"id": "a", "user": "u1", "item": "i1", "time": "tomorrow"}, "time"),
        ("events", {"id": "a", "user": "u1", "item": "i1", "behaviour": "liked"}, "viewed"),
        ("events", {"id": "a", "user": "u\x00", "item": "i1"}, "NUL"),
        ("events", {"id": "", "user": "u1", "item": "i1"}, "id"),
        ("predictions", {"pairs": [{"user": "u\ud800", "item": "i1"}]}, "surrogate"),
        ("recommendations", {"user": "u1", "k\ud800": 1}, "unicode"),
        ("recommendations", {"user": "u1", "where": ["a\ud800=1"]}, "unicode"),
        ("events", [1], "body"),
    ],
)  # fmt: skip
def test_a_body_that_does_not_fit(shop, path, body, words):
    refused(shop.post(f"/{path}", content=json.dumps(body), headers=HEADERS), 422, words)


def test_an_event_of_the_future(shop):
    import time

    event = {"id": "f", "user": "u1", "item": "i1", "time": time.time() + 3600}
    refused(shop.post("/events", json=event), 422, "ahead of the server's clock")
    refused(shop.post("/events", json={**event, "time": 1000 * int(time.time())}), 422, "milliseconds")


def test_paths_and_methods_that_are_not_there(shop):
    refused(shop.get("/nope"), 404)
    refused(shop.get("/runs/nope/users/u1/recommendations"), 404, "'mf', 'ease'")
    refused(shop.delete("/users/u1/recommendations"), 405)
    refused(shop.get("/users//recommendations"), 404)
    refused(shop.get("/items/zz/similar"), 404, "zz")


def test_a_body_that_is_too_large_is_not_read(serving, shop_runs):
    with serving({"ease": shop_runs / "ease.run"}, max_body=2000) as (client, _, _):
        body = json.dumps({"user": "u1", "where": ["x" * 3000]}).encode()
        refused(client.post("/recommendations", content=body, headers=HEADERS), 413, "2,000 bytes")
        parts = (b" " * 1000 for _ in range(100_000))  # 100 MB, of no length that is said before
        refused(client.post("/recommendations", content=parts, headers=HEADERS), 413)
        assert client.post("/recommendations", json={"user": "u1", "k": 1}).status_code == 200


def test_other_sites_cannot_ask_through_a_browser(shop, serving, shop_runs):
    """Neither by a name that points here (DNS rebinding), nor by a form, nor by a script of another origin."""
    refused(shop.get("/runs", headers={"host": "evil.example"}), 421, "evil.example")
    text = json.dumps({"id": "x", "user": "u1", "item": "i1"})
    refused(shop.post("/events", content=text, headers={"content-type": "text/plain"}), 415)
    origin = {"origin": "https://shop.example", "access-control-request-method": "POST"}
    assert "access-control-allow-origin" not in shop.get("/runs", headers=origin).headers
    with serving(
        {"ease": shop_runs / "ease.run"}, cors=("https://shop.example",), hosts=("api.shop.example",)
    ) as served:
        client = served[0]
        allowed = client.options("/events", headers={**origin, "access-control-request-headers": "content-type"})
        assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
        assert client.get("/runs", headers={"host": "api.shop.example:8000"}).status_code == 200
        evil = client.get("/runs", headers={"origin": "https://evil.example"})
        assert "access-control-allow-origin" not in evil.headers


def test_a_request_that_takes_too_long_is_given_up_and_the_next_is_answered(serving, shop_runs):
    import time

    with serving({"ease": shop_runs / "ease.run"}, seconds=0.2) as (client, state, _):
        service, predict = state.runs.default.current.service, state.runs.default.current.service.predict
        service.predict = lambda *asked: time.sleep(0.5) or predict(*asked)
        pairs = {"pairs": [{"user": "u1", "item": "i1"}]}
        slow = client.post("/predictions", json=pairs)
        refused(slow, 503, "0.2 s")
        assert slow.headers["retry-after"] == "1"
        service.predict = predict
        time.sleep(0.4)
        assert client.post("/predictions", json=pairs).status_code == 200


def test_more_than_can_wait_is_sent_away(serving, shop_runs):
    with serving({"ease": shop_runs / "ease.run"}, max_waiting=0) as (client, _, _):
        answer = client.get("/users/u1/recommendations")
        refused(answer, 503, "waiting already")
        assert answer.headers["retry-after"] == "1"


def test_an_error_of_ours_says_nothing_of_the_inside_and_spoils_no_other(serving, shop_runs):
    with serving({"ease": shop_runs / "ease.run"}) as (client, state, log):
        service = state.runs.default.current.service
        real = service.recommend
        service.recommend = lambda wanted: 1 / 0
        problem = refused(client.get("/users/u1/recommendations"), 500)
        assert "division" not in problem["detail"] and "ZeroDivisionError" in log.getvalue()
        assert "/users/u1" not in log.getvalue()
        service.recommend = real
        assert client.get("/users/u1/recommendations").status_code == 200


def test_the_log_has_no_ids_unless_asked(serving, shop_runs):
    for log_ids in (False, True):
        with serving({"ease": shop_runs / "ease.run"}, log_ids=log_ids) as (client, state, log):
            client.get("/users/u1/recommendations?k=1")
            state.log.flush()
            (line,) = [json.loads(line) for line in log.getvalue().splitlines()]
        assert line["route"] == "/users/{user}/recommendations" and line["status"] == 200 and line["ms"] > 0
        assert ("path" in line, "client" in line) == (log_ids, log_ids)
        if log_ids:
            assert line["path"] == "/users/u1/recommendations" and line["query"] == "k=1"

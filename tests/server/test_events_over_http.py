"""Events: stored once and for good, and known to the next list."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from kgrec.errors import KgrecError
from kgrec.run import Run
from kgrec.server.events import known_events
from kgrec.server.events.event_store import StoreDown
from kgrec.server.events.event_writer import EventWriter
from kgrec.server.events.known_events import KnownEvents
from kgrec.server.events.sqlite_store import SqliteStore
from kgrec.server.events.user_event import Added, Event


@pytest.fixture
def store(tmp_path):
    return SqliteStore(tmp_path / "events.sqlite")


def ids(answer):
    return [row["item"] for row in answer.json()["items"]]


def test_the_next_list_knows_of_what_a_known_user_did(serving, runs, store):
    """As one with a history: what the run knows of the user, and then the events, in order of time."""
    ease = Run.load(runs / "ease.run")
    with serving({"ease": runs / "ease.run"}, store) as (client, _, _):
        before = client.get("/users/u1/recommendations?k=3")
        assert ids(before) == ease.recommend("u1", 3)["item"]
        events = [
            {"id": "e1", "user": "u1", "item": ids(before)[0], "time": 5000},
            {"id": "e2", "user": "u1", "item": ids(before)[1], "time": "1970-01-01T01:00:00Z"},
        ]
        answer = client.post("/events", json={"events": events})
        assert (answer.status_code, answer.json()) == (201, {"stored": 2, "known": 0})
        past = [edge["item"] for edge in steps_of(ease, "u1")]
        expected = ease.recommend(history={"u1": [*past, ids(before)[1], ids(before)[0]]}, k=3)["item"]
        assert ids(client.get("/users/u1/recommendations?k=3")) == expected
        assert not {*expected} & {*ids(before)[:2]}


def test_predictions_know_of_what_users_did(serving, runs, store):
    """As those of one with a history; a user whom nobody knew has some from the first event on."""
    from kgrec.serving.service import Service
    from kgrec.serving.wanted import Wanted

    ease, pairs = Run.load(runs / "ease.run"), [{"user": user, "item": "i5"} for user in ("u1", "new", "u2")]
    with serving({"ease": runs / "ease.run", "mf": runs / "mf.run"}, store) as (client, _, _):
        before = client.post("/predictions", json={"pairs": pairs}).json()["results"]
        assert before[1]["problem"]["status"] == 422
        events = [{"id": f"e{n}", "user": user, "item": "i9", "time": 5000} for n, user in enumerate(("u1", "new"))]
        assert client.post("/events", json={"events": events}).status_code == 201
        after = client.post("/predictions", json={"pairs": pairs}).json()["results"]
        past = [edge["item"] for edge in steps_of(ease, "u1")]
        asked = [(Wanted(history=[*past, "i9"]), "i5"), (Wanted(history=["i9"]), "i5"), ("u2", "i5")]
        assert [one["score"] for one in after] == pytest.approx(Service(ease).predict(asked), rel=1e-6)
        assert after[0]["score"] != before[0]["score"] and after[2] == before[2]
        folded = client.post("/runs/mf/predictions", json={"pairs": pairs}).json()["results"]
        assert all("score" in one for one in folded)


def steps_of(run, user):
    from kgrec.serving.service import Service

    return Service(run).history_of(user)


def test_a_new_user_is_one_from_the_first_event_on(serving, runs, store):
    with serving({"ease": runs / "ease.run", "mf": runs / "mf.run"}, store) as (client, _, _):
        assert client.get("/users/new/recommendations").json()["reason"] == "no history, by popularity"
        client.post("/events", json={"id": "e1", "user": "new", "item": "i1"})
        expected = Run.load(runs / "ease.run").recommend(history=["i1"], k=3)["item"]
        assert ids(client.get("/users/new/recommendations?k=3")) == expected
        assert client.get("/runs/mf/users/new/recommendations").json()["reason"] == "by history, folded in"  # one graph
        client.post("/events", json={"id": "e2", "user": "other", "item": "i1", "behaviour": "bought"})
        unread = client.get("/users/other/recommendations").json()
        assert unread["reason"] == "no history, by popularity"  # ease reads views alone


def test_an_event_is_stored_once_whoever_sends_it_again(serving, runs, store, monkeypatch):
    event = {"id": "e1", "user": "u1", "item": "i1", "time": 5000}
    with serving({"ease": runs / "ease.run"}, store) as (client, _, _):
        assert client.post("/events", json=event).json() == {"stored": 1, "known": 0}
        again = client.post("/events", json={"events": [event, event, {**event, "id": "e2"}]})
        assert again.json() == {"stored": 1, "known": 2}
        assert client.post("/events", json=event).status_code == 200
        other = client.post("/events", json={"events": [{**event, "id": "e3"}, {**event, "item": "i2"}]})
        assert other.status_code == 409 and "'e1'" in other.json()["detail"]
        timed_here = {"id": "e9", "user": "u1", "item": "i1"}
        assert client.post("/events", json=timed_here).json() == {"stored": 1, "known": 0}
        clock = time.time
        monkeypatch.setattr(time, "time", lambda: clock() + 60)  # it is sent again a minute later
        assert client.post("/events", json=timed_here).json() == {"stored": 0, "known": 1}
        assert store.count() == 3  # nothing of a request with a conflict is stored


def test_what_the_run_knows_already_is_not_counted_twice(serving, runs, store):
    """Events from before a run was trained stand in its own history."""
    run = Run.load(runs / "ease.run")
    steps = steps_of(run, "u1")
    with serving({"ease": runs / "ease.run"}, store) as (client, state, _):
        event = {"id": "e1", "user": "u1", "item": steps[0]["item"], "time": steps[0]["time"]}
        client.post("/events", json=event)
        loaded = state.runs.default.current
        from kgrec.serving.wanted import Wanted

        assert loaded.with_events(Wanted("u1"), store.of_user(loaded.graph_key, "u1", 10)) == Wanted("u1")
        assert ids(client.get("/users/u1/recommendations?k=3")) == run.recommend("u1", 3)["item"]


def test_events_of_unknown_items_are_refused_or_kept_for_a_later_run(serving, runs, tmp_path, store):
    event = {"id": "e1", "user": "u1", "item": "unborn"}
    with serving({"ease": runs / "ease.run"}, store) as (client, _, _):
        assert "unborn" in client.post("/events", json=event).json()["detail"] and store.count() == 0
    store = SqliteStore(tmp_path / "kept.sqlite")
    with serving({"ease": runs / "ease.run"}, store, keep_unknown_items=True) as (client, _, _):
        assert client.post("/events", json=event).status_code == 201 and store.count() == 1
        assert (
            ids(client.get("/users/u1/recommendations?k=3")) == Run.load(runs / "ease.run").recommend("u1", 3)["item"]
        )


def test_many_requests_go_into_one_transaction(store):
    known = KnownEvents(store, 100)
    slow, sizes = store.write, []

    def write(statements):
        time.sleep(0.05)
        sizes.append(len(statements[0][1]))
        slow(statements)

    store.write = write
    writer = EventWriter(store, known.stored)
    with ThreadPoolExecutor(16) as pool:
        added = list(
            pool.map(lambda n: writer.add("g", [Event(f"e{n}", f"u{n % 3}", "i", "b", n)]).result(), range(48))
        )
    writer.close()
    assert added == [Added(1)] * 48 and sum(sizes) == 48 and len(sizes) < 12
    assert [event.time for event in known.of("g", "u1")] == list(range(1, 48, 3))


def test_a_disk_that_is_full_loses_nothing_that_was_acknowledged(serving, runs, tmp_path):
    store = SqliteStore(tmp_path / "events.sqlite")
    (pages,) = store._writer.execute("PRAGMA page_count").fetchone()
    with serving({"ease": runs / "ease.run"}, store) as (client, _, _):
        store._writer.execute(f"PRAGMA max_page_count = {pages + 4}")
        acknowledged, refused = [], None
        for number in range(400):
            events = [{"id": f"e{number}-{n}", "user": f"u{n}", "item": "i1", "time": n} for n in range(20)]
            refused = client.post("/events", json={"events": events})
            if refused.status_code != 201:
                break
            acknowledged += [one["id"] for one in events]
        assert refused.status_code == 503 and refused.headers["retry-after"] and "full" in refused.json()["detail"]
        assert client.get("/users/u1/recommendations").status_code == 200
        ready = client.get("/health/ready")
        assert ready.status_code == 200 and ready.json()["status"] == "degraded"
        assert "full" in ready.json()["events"]["writing"]
        store._writer.execute("PRAGMA max_page_count = 1000000")
        assert client.post("/events", json={"id": "last", "user": "u1", "item": "i1"}).status_code == 201
        assert client.get("/health/ready").json()["status"] == "ready"
    there = [row[0] for row in sqlite3.connect(tmp_path / "events.sqlite").execute("SELECT id FROM kgrec_events")]
    assert sorted(there) == sorted([*acknowledged, "last"])


def test_a_file_that_is_none_of_ours(tmp_path):
    other = sqlite3.connect(tmp_path / "other.sqlite")
    other.execute("CREATE TABLE songs (name TEXT)")
    other.commit()
    with pytest.raises(KgrecError, match="another program"):
        SqliteStore(tmp_path / "other.sqlite")
    (tmp_path / "text.sqlite").write_text("these are no pages of SQLite, but a text")
    with pytest.raises(KgrecError, match="cannot be opened"):
        SqliteStore(tmp_path / "text.sqlite")
    SqliteStore(tmp_path / "new.sqlite").close()
    sqlite3.connect(tmp_path / "new.sqlite").execute("PRAGMA user_version = 9")
    with pytest.raises(KgrecError, match="version 9"):
        SqliteStore(tmp_path / "new.sqlite")
    with pytest.raises(KgrecError, match="cannot be opened"):
        SqliteStore(tmp_path / "no" / "folder.sqlite")


def test_a_user_read_while_another_writes_is_not_kept_stale(store):
    """An event that is stored between the reading of a user and the keeping of what was read is not lost to memory."""
    known = KnownEvents(store, 10)
    first, second = (Event(f"e{n}", "u", "i", "b", n) for n in (1, 2))
    store.add("g", [[first]])
    known.stored("g", [first])
    real = store.of_user

    def read(graph, user, most):
        found = real(graph, user, most)
        store.of_user = real
        store.add("g", [[second]])
        known.stored("g", [second])
        return found

    store.of_user = read
    assert known.of("g", "u") == (first,)
    assert known.of("g", "u") == (first, second)


def test_the_events_that_are_kept_in_memory_are_bounded(store, monkeypatch):
    monkeypatch.setattr(known_events, "EVENTS", 4)
    known = KnownEvents(store, 10)
    events = {user: tuple(Event(f"{user}{n}", user, "i", "b", n) for n in range(3)) for user in "abc"}
    for of_user in events.values():
        store.add("g", [[*of_user]])
        known.stored("g", of_user)
    for user in "abca":
        assert known.of("g", user) == events[user]
        assert known.kept("g", user) == events[user]
    assert known.kept("g", "b") is None  # four events have no room for two users
    assert known.of("g", "b") == events["b"]


def test_a_store_that_cannot_be_read_leaves_lists_as_the_run_has_them(serving, runs, store):
    with serving({"ease": runs / "ease.run"}, store) as (client, _, _):
        client.post("/events", json={"id": "e1", "user": "new", "item": "i1"})
        real = store.of_user

        def broken(graph, user, most):
            raise StoreDown("it is away")

        store.of_user = broken
        assert client.get("/users/new/recommendations").json()["reason"] == "no history, by popularity"
        assert client.get("/health/ready").json()["events"]["reading"] == "it is away"
        store.of_user = real
        assert "reason" not in client.get("/users/new/recommendations").json()
        assert client.get("/health/ready").json()["status"] == "ready"


def test_a_users_events_are_deleted_and_no_other(serving, runs, store):
    """The next list is as if they had not been, and an event of the same id is new again."""
    event = {"id": "e1", "user": "u/1", "item": "i1", "time": 5000}
    with serving({"ease": runs / "ease.run", "mf": runs / "mf.run"}, store) as (client, state, log):
        unknown = client.get("/users/u/1/recommendations").json()
        more = [{**event, "id": "e2", "item": "i2"}, {**event, "id": "e3", "user": "u2"}]
        client.post("/events", json={"events": [event, *more]})
        assert "reason" not in client.get("/users/u/1/recommendations").json()
        answer = client.delete("/users/u/1/events")
        assert (answer.status_code, answer.json()) == (200, {"deleted": 2})
        graph = state.runs.default.current.graph_key
        assert [one.id for one in store.of_user(graph, "u2", 10)] == ["e3"] and store.count() == 1
        assert client.get("/users/u/1/recommendations").json() == unknown
        assert "u/1" not in log.getvalue() and '"events deleted","run":"ease","events":2' in log.getvalue()
        assert client.delete("/runs/mf/users/u/1/events").json() == {"deleted": 0}
        assert client.delete("/users//events").status_code == 404
        assert client.post("/events", json=event).json() == {"stored": 1, "known": 0}
        assert 'kgrec_events_total{to="deleted"} 2.0' in client.get("/metrics").text
    with serving({"ease": runs / "ease.run"}) as (client, _, _):
        assert "stores no events" in client.delete("/users/u1/events").json()["detail"]


def test_nothing_of_a_deleted_user_is_left_in_the_file(store, tmp_path):
    store.add("g", [[Event(f"e{n}", "somebody-to-forget", "i", "b", n) for n in range(300)]])
    files = [tmp_path / f"events.sqlite{suffix}" for suffix in ("", "-wal")]
    assert any(b"somebody-to-forget" in file.read_bytes() for file in files)
    assert store.delete_of_user("g", "somebody-to-forget") == 300
    assert not any(b"somebody-to-forget" in file.read_bytes() for file in files)


def test_events_that_wait_to_be_stored_are_deleted_too(store):
    """In the order in which they came, although all of them are in one batch."""
    known, begin = KnownEvents(store, 10), threading.Event()
    real, batches = store.add, []

    def add(graph, requests):
        begin.wait()
        batches.append(len(requests))
        return real(graph, requests)

    store.add = add
    writer = EventWriter(store, known.stored, known.deleted)
    first = writer.add("g", [Event("e0", "u", "i", "b", 0)])
    second, gone = writer.add("g", [Event("e1", "u", "i", "b", 1)]), writer.delete("g", "u")
    last = writer.add("g", [Event("e2", "u", "i", "b", 2)])
    begin.set()
    assert (first.result(), second.result(), gone.result(), last.result()) == (Added(1), Added(1), 2, Added(1))
    writer.close()
    assert [event.id for event in known.of("g", "u")] == ["e2"] and sum(batches) == 3


def test_a_store_that_cannot_delete_says_so(serving, runs, store, monkeypatch):
    def fail(statements):
        raise StoreDown("the disk is full")

    with serving({"ease": runs / "ease.run"}, store) as (client, _, _):
        client.post("/events", json={"id": "e1", "user": "u1", "item": "i1"})
        monkeypatch.setattr(store, "write", fail)
        answer = client.delete("/users/u1/events")
        assert answer.status_code == 503 and answer.json()["detail"] == "the disk is full; no event is deleted"
        assert store.count() == 1

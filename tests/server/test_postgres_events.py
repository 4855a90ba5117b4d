"""Events in PostgreSQL, on a real server: the same as in a file; and it goes away and comes back."""

import os
import threading

import pytest

from kgrec.server.events.event_store import StoreDown
from kgrec.server.events.postgres_store import PostgresStore
from kgrec.server.events.user_event import Added, Event, NewItemsDocument

URL = os.environ.get("KGREC_POSTGRES")
pytestmark = [
    pytest.mark.postgres,
    pytest.mark.skipif(URL is None, reason="needs a PostgreSQL server; its URL is read from KGREC_POSTGRES"),
]


@pytest.fixture
def store():
    store = PostgresStore(URL)
    store.write([("TRUNCATE kgrec_events, kgrec_new_items", [()])])
    yield store
    store.close()


def test_events_are_stored_once_and_read_by_user(store):
    first, second = Event("e1", "u'; --", "i", "b", 20, 3.5), Event("e2", "u'; --", "j", "b", 10)
    assert store.add("g", [[first], [second, first], [Event("e1", "x", "i", "b", 1)]]) == [
        Added(1, 0),
        Added(1, 1),
        Added(conflicts=("e1",)),
    ]
    assert store.of_user("g", "u'; --", 10) == [second, first] and store.of_user("g", "u'; --", 1) == [first]
    assert store.of_user("other", "u'; --", 10) == [] and store.count() == 2
    other = PostgresStore(URL)  # another server on the same database
    assert other.add("g", [[first, Event("e3", "v", "i", "b", 1)]]) == [Added(1, 1)]
    other.close()
    assert store.count() == 3


def test_a_users_events_are_deleted(store):
    store.add("g", [[Event("e1", "u", "i", "b", 1), Event("e2", "v", "i", "b", 1)]])
    store.add("h", [[Event("e1", "u", "i", "b", 1)]])
    assert store.delete_of_user("g", "u") == 1 and store.delete_of_user("g", "u") == 0
    assert store.of_user("g", "u", 10) == [] and store.count() == 2


def test_new_items_are_kept(store):
    for body in ("[1]", "[2]"):
        store.put_items("g", NewItemsDocument(("a", "b"), ".json", body))
    assert store.new_items("g") == [NewItemsDocument(("a", "b"), ".json", "[2]")] and store.new_items("h") == []


def test_writing_and_reading_threads_do_not_disturb_each_other(store):
    def write() -> None:
        for number in range(50):
            store.add("g", [[Event(f"e{number}", "u", "i", "b", number)]])

    thread = threading.Thread(target=write)
    thread.start()
    while thread.is_alive():
        found = [event.time for event in store.of_user("g", "u", 100)]
        assert found == list(range(len(found)))
    thread.join()
    assert len(store.of_user("g", "u", 100)) == 50


def cut(store) -> None:
    """End all connections to the database, as a server that is restarted does."""
    import psycopg

    with psycopg.connect(URL, autocommit=True) as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() "
            "AND datname = current_database()"
        )


def test_a_connection_that_was_cut_is_made_again(store):
    store.add("g", [[Event("e1", "u", "i", "b", 1)]])
    cut(store)
    assert store.add("g", [[Event("e2", "u", "i", "b", 2)]]) == [Added(1)]
    cut(store)
    assert len(store.of_user("g", "u", 10)) == 2


def test_a_server_that_goes_away_and_comes_back(serving, runs, store, monkeypatch):
    """Writes get 503 with Retry-After, reads go on, /health/ready says so; later all is as before."""
    event = {"user": "new", "item": "i1"}
    with serving({"ease": runs / "ease.run"}, store) as (client, _, _):
        assert client.post("/events", json={"id": "e1", **event}).status_code == 201
        assert "reason" not in client.get("/users/new/recommendations").json()
        url, store._url = store._url, "postgresql://nobody@127.0.0.1:1/none"
        monkeypatch.setattr("kgrec.server.events.postgres_store.SECONDS_BETWEEN", 0.05)
        cut(store)
        answer = client.post("/events", json={"id": "e2", **event})
        assert answer.status_code == 503 and answer.headers["retry-after"] == "5"
        assert "nobody" not in answer.text and "nothing of this request is stored" in answer.json()["detail"]
        assert "reason" not in client.get("/users/new/recommendations").json()  # from memory
        assert client.get("/users/other/recommendations").status_code == 200
        ready = client.get("/health/ready")
        assert ready.status_code == 200 and ready.json()["status"] == "degraded"
        store._url = url
        threading.Event().wait(0.1)
        assert client.post("/events", json={"id": "e2", **event}).json() == {"stored": 1, "known": 0}
        client.get("/users/third/recommendations")
        assert client.get("/health/ready").json()["status"] == "ready"
        assert store.count() == 2


def test_a_url_that_leads_nowhere_is_told_of_without_its_password():
    store = PostgresStore("postgresql://me:secret@127.0.0.1:1/none")
    with pytest.raises(StoreDown) as raised:
        store.count()
    assert "secret" not in str(raised.value) and "127.0.0.1" in str(raised.value)

"""API keys: who may ask what, and the file of their hashes."""

import hashlib

import pytest

from kgrec.errors import BadData, KgrecError
from kgrec.server.api_keys import ApiKeys, add_key
from kgrec.server.server_settings import ServerSettings
from kgrec.server.serving_process import serve


@pytest.fixture
def keys(tmp_path):
    path = tmp_path / "keys.txt"
    return path, {role: add_key(path, f"for-{role}", role) for role in ("read", "write", "admin")}


def test_the_file_holds_hashes_alone_and_only_its_owner_reads_it(keys):
    path, made = keys
    text = path.read_text()
    assert path.stat().st_mode & 0o777 == 0o600 and len(set(made.values())) == 3
    for role, key in made.items():
        assert key not in text and hashlib.sha256(key.encode()).hexdigest() in text
        assert ApiKeys.read(path).of(key).role == role
    assert ApiKeys.read(path).of("kgrec_wrong") is None


def test_a_role_may_what_those_below_it_may(serving, runs, keys):
    path, made = keys
    event = {"id": "e", "user": "u1", "item": "i1"}
    asked = {
        "read": lambda client, **how: client.get("/users/u1/recommendations", **how),
        "write": lambda client, **how: client.post("/events", json=event, **how),
        "admin": lambda client, **how: client.post("/reload", **how),
        "delete": lambda client, **how: client.delete("/users/u1/events", **how),
    }
    with serving({"ease": runs / "ease.run"}, keys=path) as (client, _, _):
        found = {
            role: [ask(client, headers={"Authorization": f"Bearer {key}"}).status_code for ask in asked.values()]
            for role, key in made.items()
        }
        assert found == {  # 404: no events are stored here
            "read": [200, 403, 403, 403],
            "write": [200, 404, 403, 403],
            "admin": [200, 404, 200, 404],
        }
        for headers in (
            {},
            {"Authorization": "Bearer wrong"},
            {"Authorization": f"Basic {made['read']}"},
            {"x-api-key": "é"},
        ):
            answer = client.get("/users/u1/recommendations", headers={k: v.encode() for k, v in headers.items()})
            assert answer.status_code == 401 and answer.headers["www-authenticate"] == "Bearer"
        assert client.get("/runs", headers={"x-api-key": made["read"], "host": "any.example"}).status_code == 200
        page = client.get("/docs", headers={"accept": "text/html"})
        assert page.status_code == 401 and page.headers["www-authenticate"].startswith("Basic")
        assert client.get("/", auth=("anyone", made["read"])).status_code == 200
        assert client.get("/metrics").status_code == 401 and client.get("/docs").status_code == 401
        assert client.get("/health/live").status_code == 200 and client.get("/health/ready").status_code == 200


def test_a_changed_file_is_read_again_and_a_broken_one_is_not(serving, runs, keys):
    path, made = keys
    with serving({"ease": runs / "ease.run"}, keys=path) as (client, state, log):
        path.write_text("nonsense")
        state.read_keys_again()
        assert client.get("/runs", headers={"x-api-key": made["read"]}).status_code == 200
        assert "keys not read" in log.getvalue()
        path.unlink()
        new = add_key(path, "new", "read")
        state.read_keys_again()
        assert client.get("/runs", headers={"x-api-key": made["read"]}).status_code == 401
        assert client.get("/runs", headers={"x-api-key": new}).status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [("shop read", "64 hexadecimal"), (f"shop owner {'0' * 64}", "read, write, admin"), ("", "holds no keys")],
)
def test_a_file_of_keys_that_is_none(tmp_path, text, words):
    (tmp_path / "keys").write_text(f"# keys\n{text}\n")
    with pytest.raises(KgrecError, match=words):
        ApiKeys.read(tmp_path / "keys")
    with pytest.raises(KgrecError):
        ApiKeys.read(tmp_path / "nope")


def test_a_key_that_cannot_be_made(keys):
    for name, role, words in (("for-read", "read", "already"), ("a b", "read", "letters"), ("x", "owner", "no role")):
        with pytest.raises(KgrecError, match=words):
            add_key(keys[0], name, role)


def test_other_machines_are_not_served_without_keys(runs):
    with pytest.raises(KgrecError, match="nothing says who may ask"):
        serve({"ease": runs / "ease.run"}, ServerSettings(host="0.0.0.0", port=0))
    with pytest.raises(BadData, match="no key"):
        (runs / "keys").write_text("a b c")
        serve({"ease": runs / "ease.run"}, ServerSettings(host="0.0.0.0", port=0, keys=runs / "keys"))

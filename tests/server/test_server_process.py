"""A server as a process of its own: what was acknowledged outlives kill -9; and what keeps one from starting."""

import http.client
import json
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from kgrec.errors import KgrecError
from kgrec.server.events.sqlite_store import SqliteStore
from kgrec.server.server_settings import ServerSettings
from kgrec.server.serving_process import listening, named_runs, open_store, serve


def run_the_guides_client(port: int) -> None:
    """The client of docs/guides/serving.md does what it says."""
    page = (Path(__file__).parents[2] / "docs/guides/serving.md").read_text(encoding="utf-8")
    code = page.partition('```python title="client.py"\n')[2].partition("```")[0]
    names: dict = {}
    exec(code.replace("http://127.0.0.1:8000", f"http://127.0.0.1:{port}"), names)
    assert len(names["before"]) == 3 and names["before"][0] not in names["after"]


def test_every_acknowledged_event_is_stored_once_after_kill_9(runs, tmp_path):
    store = tmp_path / "events.sqlite"
    command = [sys.executable, "-m", "kgrec", "serve", str(runs / "ease.run"), "--port", "0", "--events", str(store)]
    acknowledged, sent = list[str](), list[str]()
    with subprocess.Popen([*command, "--no-log"], stderr=subprocess.PIPE, text=True) as server:
        try:
            line = next(one for one in server.stderr if one.startswith("serving"))
            port = int(re.search(r":(\d+)/", line).group(1))
            run_the_guides_client(port)

            def send(name: str) -> None:
                connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
                try:
                    for number in range(10_000):
                        events = [{"id": f"{name}-{number}-{n}", "user": f"u{n}", "item": "i1"} for n in range(3)]
                        sent.extend(one["id"] for one in events)
                        body = json.dumps({"events": events})
                        connection.request("POST", "/events", body, {"Content-Type": "application/json"})
                        if connection.getresponse().read() != b'{"stored":3,"known":0}':
                            return
                        acknowledged.extend(one["id"] for one in events)
                        if len(acknowledged) > 120:
                            server.send_signal(signal.SIGKILL)
                except (OSError, http.client.HTTPException):
                    return
                finally:
                    connection.close()

            threads = [threading.Thread(target=send, args=(f"t{n}",)) for n in range(4)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        finally:
            server.kill()
    query = "SELECT id FROM kgrec_events WHERE user_id <> 'u0003'"  # whom the guide's client asks for
    there = [row[0] for row in sqlite3.connect(store).execute(query)]
    assert server.returncode == -signal.SIGKILL and len(acknowledged) > 120
    assert len(there) == len(set(there)) and {*acknowledged} <= {*there} <= {*sent}
    again = SqliteStore(store)
    assert len(again.of_user("corner-shop/user/item", "u1", 1000)) == len(there) // 3
    again.close()


def test_a_port_in_use_an_address_of_another_machine_and_no_port(runs):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(KgrecError, match=f"port {port}: Address already in use"):
            serve({"ease": runs / "ease.run"}, ServerSettings(port=port))
    for host, port in (("192.0.2.1", 0), ("no.such.host.invalid", 0), ("127.0.0.1", 99999)):
        with pytest.raises(KgrecError, match="cannot listen"):
            listening(host, port)


def test_a_run_that_cannot_serve_keeps_the_server_from_starting(runs):
    with pytest.raises(KgrecError, match="is not there"):
        serve({"none": runs / "none.run"}, ServerSettings(port=0))
    config = json.loads((runs / "mf.run/config.json").read_text())
    (runs / "mf.run/config.json").write_text(json.dumps({**config, "format": 99}))
    with pytest.raises(KgrecError, match="format 99"):
        serve({"mf": runs / "mf.run"}, ServerSettings(port=0))


def test_names_of_runs(tmp_path):
    assert list(named_runs(["a/kgat.run", "b=a/kgat.run", "."])) == ["kgat", "b", named_runs(["."]).popitem()[0]]
    for runs in (["a.run", "b/a.run"], ["=a"], ["x/y=a"]):
        with pytest.raises(KgrecError):
            named_runs(runs)


def test_events_that_go_nowhere():
    assert open_store("none") is None
    with pytest.raises(KgrecError, match="no URL"):
        open_store("postgresql://user@host:notaport/x?nonsense=1")


def test_the_demos_sample_is_found():
    from kgrec.cli.demo import sample_shop

    assert (sample_shop().parent / "events.csv").is_file()

"""What tests of the server share: two runs of one tiny graph, and a server of them in this process."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from kgrec import train
from kgrec.graph import Graph
from kgrec.server.application import application
from kgrec.server.events.sqlite_store import SqliteStore
from kgrec.server.request_log import RequestLog
from kgrec.server.server_settings import ServerSettings
from kgrec.server.serving_state import ServingState
from kgrec.sources.building import build_to

RECIPE = """
name: corner-shop
nodes:
  user: {file: users.csv, id: user, complete: true}
  item:
    file: items.csv
    id: item
    label: title
    features: {price: numeric, genre: categorical}
    edges: {of_brand: {column: brand, to: brand}}
    complete: true
interactions:
  file: events.csv
  item: item
  relations: {column: event, values: {view: viewed, buy: bought}}
  time: time
links:
  item: {template: "https://shop.example/item/{id}"}
rdf:
  files: catalog.ttl
  prefixes: {schema: https://schema.org/}
  literals:
    schema:weight: {feature: weight, kind: numeric}
target: viewed
"""


def write_tables(folder: Path, items: int = 12) -> Path:
    """The recipe of a corner shop: 8 users, each with four views and a purchase."""
    folder.mkdir()
    (folder / "shop.yaml").write_text(RECIPE)
    (folder / "users.csv").write_text("user\n" + "".join(f"u{n}\n" for n in range(8)))
    rows = [f"i{n},<b>Item</b> {n},{10 + n},{'ab'[n % 2]},brand{n % 3}\n" for n in range(items)]
    (folder / "items.csv").write_text("item,title,price,genre,brand\n" + "".join(rows))
    weights = [f"<https://shop.example/item/i{n}> <https://schema.org/weight> {n % 5 + 1} .\n" for n in range(items)]
    (folder / "catalog.ttl").write_text("".join(weights))
    views = [f"u{n},i{(n + m) % items},view,{1000 + 10 * m}\n" for n in range(8) for m in (0, 2, 4, 6)]
    bought = [f"u{n},i{n % items},buy,2000\n" for n in range(8)]
    (folder / "events.csv").write_text("user,item,event,time\n" + "".join(views + bought))
    return folder / "shop.yaml"


@pytest.fixture(scope="session")
def shop_runs(tmp_path_factory) -> Path:
    """A folder with the runs `mf.run`, which reads columns of items, and `ease.run`, and with `other.run` of another
    graph."""
    root = tmp_path_factory.mktemp("shop")
    for name, items in (("shop", 12), ("tiny", 9)):
        build_to(write_tables(root / name, items), None, root / f"{name}.graph")
    graph = Graph.load(root / "shop.graph")
    training = {"epochs": 1, "seed": 1}
    train("mf", graph, config={"dim": 4, "features": "all"}, training=training, split="last_n:1", out=root / "mf.run")
    train("ease", graph, config={"l2": 1.0}, split="last_n:1", out=root / "ease.run")
    import pandas as pd

    rows = pd.DataFrame(
        [(f"u{n}", f"film{m}") for n in range(4) for m in range(n, n + 3)], columns=["source", "target"]
    )
    other = Graph.from_frames(edges={("user", "viewed", "item"): rows})
    train("ease", other, config={"l2": 1.0}, split="ratio:0.2", out=root / "other.run")
    return root


@pytest.fixture
def runs(shop_runs, tmp_path) -> Path:
    """Copies of the runs that a test may change."""
    for name in ("mf.run", "ease.run", "other.run"):
        shutil.copytree(shop_runs / name, tmp_path / name)
    return tmp_path


QUIET = {"watch_seconds": 0, "seconds": 120}  #: settings of servers in tests: none is held to a clock
Served = tuple[TestClient, ServingState, StringIO]


@pytest.fixture
def serving() -> Callable:
    """A server of some runs by name in this process: its client, its state and its log."""

    @contextmanager
    def start(runs: dict[str, Path], store: object = None, **settings: object) -> Iterator[Served]:
        log = StringIO()
        settings = {**QUIET, **settings}
        state = ServingState.load(runs, ServerSettings(**settings), store, RequestLog(log))
        with TestClient(application(state), base_url="http://localhost", raise_server_exceptions=False) as client:
            yield client, state, log

    return start


@pytest.fixture(scope="module")
def shop(shop_runs, tmp_path_factory) -> Iterator[TestClient]:
    """A server that the tests of a file share."""
    store = SqliteStore(tmp_path_factory.mktemp("events") / "events.sqlite")
    paths = {"mf": shop_runs / "mf.run", "ease": shop_runs / "ease.run"}
    state = ServingState.load(paths, ServerSettings(**QUIET), store, RequestLog(StringIO()))
    with TestClient(application(state), base_url="http://localhost", raise_server_exceptions=False) as client:
        yield client

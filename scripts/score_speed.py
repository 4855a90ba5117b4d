"""How fast the lists of all users are made and written, and whether that takes more memory the more users there are."""

from __future__ import annotations

import itertools
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.graph.assembly import EdgePart, NodePart, assemble
from kgrec.graph.vocabulary import Vocabulary
from kgrec.models.mf import MF, MFConfig
from kgrec.run import Run
from kgrec.serving.list_tables import write_tables

K = 10
TASTES = 2_000  #: around which vectors of users and items lie, as training makes them
SHARE = 10  #: memory is compared with what one in so many users take
COMPARED, BARE = 200, 1024  #: users who are asked for one by one, and those of the bare product


def score_all(benchmark: Mapping[str, Any], quick: bool = False) -> dict[str, Any]:
    """Users a second from a run in memory to a Parquet file; the MiB of anonymous memory that it takes beside the run,
    for all users and for a tenth; and how long the bare product and torch's top-k take. quick: with a tenth of the
    users."""
    users = benchmark["users"] // (SHARE if quick else 1)
    run = made_run(users, benchmark["items"], benchmark["dim"], benchmark["per_user"])
    run.recommend(["u0", "u1"], K)  # what is made once for a run
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "lists.parquet"
        few = [f"u{number}" for number in range(users // SHARE)]
        with anonymous_mb() as of_few:
            write_tables(run.recommend_in_parts(few, K), file)
        file.unlink()
        bare = bare_ms(run)
        begun, cpu = time.perf_counter(), time.process_time()
        with anonymous_mb() as of_all:
            rows = write_tables(run.recommend_in_parts("all", K), file)
        seconds, cpu = time.perf_counter() - begun, time.process_time() - cpu
        megabytes = file.stat().st_size / 2**20
        compare(run, file)
    return {
        "test": {
            "users_per_second": users / seconds,
            "ms_a_user": seconds / users * 1000,
            "cpu_ms_a_user": cpu / users * 1000,
            "bare_ms_a_user": bare,
            "anonymous_mb": of_all[0],
            "anonymous_mb_of_a_tenth": of_few[0],
            "rows": rows,
            "file_mb": megabytes,
            "threads": torch.get_num_threads(),
        }
    }


def made_run(users: int, items: int, dim: int, per_user: int) -> Run:
    """MF whose vectors lie around tastes, with random interactions in which popularity falls off."""
    rng = np.random.default_rng(0)
    nodes = {
        kind: NodePart(Vocabulary(pa.array([f"{kind[0]}{number}" for number in range(count)])))
        for kind, count in (("user", users), ("item", items))
    }
    edges = users * per_user
    rated = EdgePart(rng.integers(0, users, edges), (rng.random(edges) ** 2 * items).astype(np.int64))
    target = ("user", "rated", "item")
    graph = Graph.of(assemble(nodes, {target: rated}, target=target))
    model = MF(graph, MFConfig(dim=dim)).eval()
    tastes = rng.normal(size=(TASTES, dim)).astype(np.float32)
    with torch.no_grad():
        for table, count in ((model.user, users), (model.item, items)):
            near = tastes[rng.integers(0, TASTES, count)] + 0.7 * rng.normal(size=(count, dim)).astype(np.float32)
            table.weight[:-1] = torch.from_numpy(near * rng.lognormal(0, 0.3, (count, 1)).astype(np.float32))
    return Run("mf", model, graph)


def bare_ms(run: Run) -> float:
    """Milliseconds a user of the product and torch's top-k alone, 64 users at once, nothing left out."""
    user, item = (run.model.get_parameter(f"{end}.weight")[:-1] for end in ("user", "item"))
    begun = time.perf_counter()
    with torch.no_grad():
        for start in range(0, BARE, 64):
            (user[start : start + 64] @ item.T).topk(K)
    return (time.perf_counter() - begun) / BARE * 1000


def compare(run: Run, file: Path) -> None:
    """Raise KgrecError where the file has other lists than some users get who are asked for alone."""
    number, lists = len(run.graph.range("user")), pq.read_table(file)
    for user in range(0, number, max(1, number // COMPARED)):
        alone = run.recommend(f"u{user}", K).to_arrow()
        if not lists.slice(user * K, K).equals(alone):  # nobody has so many items that a list is short
            raise KgrecError(f"user u{user} has another list alone than among all")


@contextmanager
def anonymous_mb() -> Iterator[list[float]]:
    """How many MiB of anonymous memory this process takes at its peak, above what it has now."""
    found, ended = [0.0], threading.Event()
    before = _anonymous()

    def look() -> None:
        while not ended.wait(0.05):
            found[0] = max(found[0], _anonymous() - before)

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    try:
        yield found
    finally:
        ended.set()
        watcher.join()


def _anonymous() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    value = next(itertools.dropwhile(lambda line: not line.startswith("RssAnon"), lines), "RssAnon: 0 kB")
    return int(value.split()[1]) / 1024

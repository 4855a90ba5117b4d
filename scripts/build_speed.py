"""Building within a limit of memory: seconds and memory, against DuckDB and against building in memory.

Each build runs in a process of its own, which measures its anonymous memory beyond what it has after imports.
"""

from __future__ import annotations

import argparse
import importlib
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from kgrec.errors import KgrecError

ROWS_AT_ONCE = 5_000_000  #: that are made at a time
WATCHED = 0.05  #: seconds between two looks at the memory
IMPORTS = ("torch", "pandas", "pyarrow.csv", "pyarrow.parquet", "pyoxigraph", "kgrec.sources.building",
           "kgrec.sources.tables.record_scan", "kgrec.sources.rdf.numbering")  # fmt: skip

TABLE_RECIPE = """\
name: synthetic
interactions: {file: ratings.csv, relation: rated, weight: rating, rating_range: [1, 5], time: time}
"""
FACTS_RECIPE = """\
name: synthetic
interactions: {file: ratings.csv, relation: rated}
links: {item: {template: "http://example.org/e/{id}"}}
rdf: [{files: facts.nt}]
"""

#: the same as a build, in DuckDB: users and items are numbered by first appearance, edges are in the order of the file
NUMBERED = """
SET memory_limit = '{memory}';
SET threads = 2;
SET temp_directory = '{folder}/duckdb';
CREATE TABLE rows AS SELECT row_number() OVER () AS row, * FROM read_csv('{folder}/ratings.csv', header = true,
  columns = {{'user': 'VARCHAR', 'item': 'VARCHAR', 'rating': 'FLOAT', 'time': 'BIGINT'}});
CREATE TABLE users AS SELECT id, (row_number() OVER (ORDER BY first) - 1)::INTEGER AS number
  FROM (SELECT "user" AS id, min(row) AS first FROM rows GROUP BY "user");
CREATE TABLE items AS SELECT id, (row_number() OVER (ORDER BY first) - 1)::INTEGER AS number
  FROM (SELECT item AS id, min(row) AS first FROM rows GROUP BY item);
COPY (SELECT id FROM users ORDER BY number) TO '{folder}/users.parquet' (FORMAT parquet);
COPY (SELECT id FROM items ORDER BY number) TO '{folder}/items.parquet' (FORMAT parquet);
COPY (SELECT users.number AS source, items.number AS target, rows.time AS time, rows.rating AS weight
  FROM rows JOIN users ON rows."user" = users.id JOIN items ON rows.item = items.id ORDER BY rows.row)
  TO '{folder}/edges.parquet' (FORMAT parquet);
"""


def build_bounded(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of `kgrec build --memory` and of DuckDB with the same limit, for a CSV file of synthetic
    interactions. With `equal_at`, smaller data is built in memory too, and the graphs are compared."""
    number, memory = benchmark["interactions"] // (20 if options.quick else 1), benchmark["memory"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_ratings(folder, number)
        built, duckdb = measured("graph-on-disk", folder, memory), measured("duckdb", folder, memory)
        with_duckdb = {f"duckdb_{what}": value for what, value in duckdb.items()}
        equal = _edges_are_equal(folder)
    result = {"seconds": built["seconds"], "anon_mb": built["anon_mb"], "file_mb": built["file_mb"], **with_duckdb}
    result |= {"share_of_duckdb": built["seconds"] / duckdb["seconds"], "same_edges": float(equal)}
    if "equal_at" in benchmark:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            write_ratings(folder, benchmark["equal_at"] // (20 if options.quick else 1))
            result["same_graph"] = float(_is_same_graph(folder, memory))
    return {"test": result, "interactions": number}


def build_facts_bounded(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory of a build from synthetic N-Triples in memory and with a limit, and whether the graphs are the
    same."""
    number, memory = benchmark["triples"] // (20 if options.quick else 1), benchmark["memory"]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_facts(folder, number)
        whole = measured("graph", folder, "1TB", out="memory.graph")
        built = measured("graph-on-disk", folder, memory)
        same = _hash(folder / "out.graph") == _hash(folder / "memory.graph")
    result = {**built, **{f"in_memory_{what}": value for what, value in whole.items()}}
    return {
        "test": result | {"share_of_in_memory": built["seconds"] / whole["seconds"], "same_graph": float(same)},
        "triples": number,
    }


def write_ratings(folder: Path, number: int) -> None:
    """A CSV file of random ratings, of number / 145 users and number / 750 items, and its recipe."""
    import pyarrow as pa
    import pyarrow.csv

    rng = np.random.default_rng(0)
    (folder / "recipe.yaml").write_text(TABLE_RECIPE, encoding="utf-8")
    with (folder / "ratings.csv").open("wb") as file:
        for start in range(0, number, ROWS_AT_ONCE):
            rows = min(ROWS_AT_ONCE, number - start)
            columns = {
                "user": rng.integers(0, number // 145, rows),
                "item": (rng.random(rows) ** 2 * (number // 750)).astype(np.int64),
                "rating": rng.integers(1, 6, rows),
                "time": rng.integers(789652009, 1427784002, rows),
            }
            pa.csv.write_csv(pa.table(columns), file, pa.csv.WriteOptions(include_header=start == 0))


def write_facts(folder: Path, number: int) -> None:
    """N-Triples between number / 10 entities by 20 predicates, a table of some items among them, and a recipe."""
    rng = np.random.default_rng(0)
    (folder / "recipe.yaml").write_text(FACTS_RECIPE, encoding="utf-8")
    rows = "".join(f"u{row % 977},{row % 5000}\n" for row in range(100_000))
    (folder / "ratings.csv").write_text(f"user,item\n{rows}", encoding="utf-8")
    with (folder / "facts.nt").open("w") as file:
        for start in range(0, number, ROWS_AT_ONCE // 10):
            count = min(ROWS_AT_ONCE // 10, number - start)
            subjects = rng.integers(0, number // 10, count).tolist()
            objects = (rng.random(count) ** 2 * (number // 10)).astype(np.int64).tolist()
            for s, p, o in zip(subjects, rng.integers(0, 20, count).tolist(), objects):
                file.write(f"<http://example.org/e/{s}> <http://example.org/p/{p}> <http://example.org/e/{o}> .\n")


def measured(what: str, folder: Path, memory: str, out: str = "out.graph") -> dict[str, float]:
    """Seconds, and the peaks of anonymous and of file-backed memory in MB, of a build or of DuckDB in a new process."""
    command = [sys.executable, __file__, what, str(folder), memory, out]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise KgrecError(f"{what} failed: {done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _is_same_graph(folder: Path, memory: str) -> bool:
    """Whether a build in memory writes the same files as one on disk."""
    measured("graph", folder, "1TB", out="memory.graph")
    measured("graph-on-disk", folder, memory)
    return _hash(folder / "out.graph") == _hash(folder / "memory.graph")


def _hash(graph: Path) -> str:
    """The hash of graph.json, which has the hashes of all other files."""
    from kgrec.files import file_hash

    return file_hash(graph / "graph.json")


def _edges_are_equal(folder: Path) -> bool:
    """Whether the edges that DuckDB wrote are those of the graph."""
    import pyarrow.parquet as pq

    ours, theirs = (
        pq.ParquetFile(path).iter_batches(ROWS_AT_ONCE)
        for path in (folder / "out.graph/edges/user__rated__item.parquet", folder / "edges.parquet")
    )
    columns = ("source", "target", "time", "weight")
    return all(
        len(one) == len(two) and all(np.array_equal(one[name], two[name]) for name in columns)
        for one, two in zip(ours, theirs, strict=True)
    )


# ---------------------------------------------------------------------- in a process of its own


def memory_now() -> tuple[int, int]:
    """Anonymous and file-backed memory of this process, in bytes."""
    found = {}
    for line in Path("/proc/self/status").read_text().splitlines():
        name, _, rest = line.partition(":")
        if name.startswith("Rss"):
            found[name] = int(rest.split()[0]) * 1024
    return found["RssAnon"], found["RssFile"] + found["RssShmem"]


def watched(work: Callable[[], None]) -> dict[str, float]:
    """Seconds that some work takes, and the peaks of memory beyond that before it, in MB."""
    before, peak, is_over = memory_now(), [0, 0], threading.Event()

    def watch() -> None:
        while not is_over.wait(WATCHED):
            peak[:] = (max(most, now - then) for most, now, then in zip(peak, memory_now(), before))

    watcher = threading.Thread(target=watch)
    watcher.start()
    begun = time.perf_counter()
    try:
        work()
    finally:
        is_over.set()
        watcher.join()
    return {"seconds": time.perf_counter() - begun, "anon_mb": peak[0] / 1e6, "file_mb": peak[1] / 1e6}


def _graph(folder: Path, memory: str, out: str) -> None:
    from kgrec.sources.building import build_to

    build_to(folder / "recipe.yaml", folder, folder / out, memory=memory)


def _graph_on_disk(folder: Path, memory: str, out: str) -> None:
    from kgrec.sources.building import pipeline

    pipeline.needed_memory = lambda *_: 10**18
    _graph(folder, memory, out)


def _duckdb(folder: Path, memory: str, out: str) -> None:
    duckdb = importlib.import_module("duckdb")
    duckdb.connect(str(folder / "rows.duckdb")).execute(NUMBERED.format(folder=folder, memory=memory))


def main() -> None:
    what, folder, memory, out = sys.argv[1:]
    for name in ("duckdb",) if what == "duckdb" else IMPORTS:
        importlib.import_module(name)
    work = {"graph": _graph, "graph-on-disk": _graph_on_disk, "duckdb": _duckdb}[what]
    print(json.dumps(watched(lambda: work(Path(folder), memory, out))))


if __name__ == "__main__":
    main()

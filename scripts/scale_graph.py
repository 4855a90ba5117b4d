"""Write a synthetic graph folder of any size, in little memory: its Parquet files are written a million rows at a time.

    python scripts/scale_graph.py --edges 100000000 --out /tmp/large.graph

There is one node for ten edges. Half of the edges are interactions with a time and popular items, half are facts of 20
relations between items and entities. The same seed gives the same graph.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from kgrec.files import file_hash, whole, write_json
from kgrec.graph.schema import EdgeSchema, EdgeType, NodeSchema, Schema
from kgrec.graph.storage import FORMAT, GRAPH_FOLDER, edge_file

ROWS = 1 << 20
RELATIONS = 20
TARGET: EdgeType = ("user", "rated", "item")
YEAR = 31_536_000  #: seconds


def sizes_of(edges: int) -> dict[str, int]:
    """The number of nodes of each type."""
    return {"user": edges // 25, "item": edges // 50, "entity": edges // 25}


def write_scale_graph(path: Path, edges: int, seed: int = 0) -> None:
    """Write the folder; one that is there is replaced."""
    sizes, random = sizes_of(edges), np.random.default_rng(seed)
    facts = {("item", f"fact{number}", "entity"): edges // 2 // RELATIONS for number in range(RELATIONS)}
    with whole(path, True, GRAPH_FOLDER) as folder:
        for name in ("nodes", "edges", "splits"):
            (folder / name).mkdir(parents=True)
        for name, size in sizes.items():
            _write(folder / "nodes" / f"{name}.parquet", ({"id": _ids(name, rows)} for rows in _chunks(size)))
        for edge, number in {TARGET: edges // 2, **facts}.items():
            _write(folder / "edges" / edge_file(edge), (_edges(edge, sizes, rows, random) for rows in _chunks(number)))
        kinds = {edge: EdgeSchema() for edge in (TARGET, *facts)}
        schema = Schema({name: NodeSchema(size) for name, size in sizes.items()}, kinds, TARGET)
        files = {file.relative_to(folder).as_posix(): file_hash(file) for file in sorted(folder.rglob("*.parquet"))}
        write_json(folder / "graph.json", {"format": FORMAT, **schema.to_json(), "files": files})


def _chunks(number: int) -> Iterator[range]:
    return (range(start, min(start + ROWS, number)) for start in range(0, number, ROWS))


def _ids(name: str, rows: range) -> pa.Array:
    return pa.array(np.char.add(name[0], np.arange(rows.start, rows.stop).astype("U10")))


def _edges(edge: EdgeType, sizes: dict[str, int], rows: range, random: np.random.Generator) -> dict[str, pa.Array]:
    number = len(rows)
    found = {
        "source": pa.array(random.integers(0, sizes[edge[0]], number, dtype=np.int32)),
        "target": pa.array((random.random(number) ** 2 * sizes[edge[2]]).astype(np.int32)),
    }
    if edge == TARGET:
        found["time"] = pa.array(random.integers(0, YEAR, number))
    return found


def _write(path: Path, chunks: Iterator[dict[str, pa.Array]]) -> None:
    writer = None
    for columns in chunks:
        table = pa.table(columns)
        writer = writer or pq.ParquetWriter(path, table.schema, compression="snappy")
        writer.write_table(table)
    assert writer is not None
    writer.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edges", type=int, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    write_scale_graph(options.out, options.edges, options.seed)

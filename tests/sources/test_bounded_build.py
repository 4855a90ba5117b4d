"""Building within a limit of memory. That graph and report are the same is shown by `build_of` in every other test."""

from __future__ import annotations

import filecmp
import json
import os
import random
import signal

import pytest

from kgrec.errors import BadData, KgrecError
from kgrec.large_arrays import DiskArrays, arrays_on_disk
from kgrec.sources.building import build, build_to, pipeline
from kgrec.sources.tables import separated

RECIPE = """
name: t
interactions: {file: r.csv, relation: rated, weight: w, time: t, min_user: 2, duplicates: last}
splits: {s: {test: s.csv}}
rdf: [{files: k.nt}]
links: {item: {template: "http://x/{id}"}}
"""
ROWS = "".join(f"u{n % 37},i{n * n % 23},{n % 5},{1000 + n % 11}\n" for n in range(400))
FILES = {
    "recipe.yaml": RECIPE,
    "r.csv": "user,item,w,t\n" + ROWS,
    "s.csv": "user,item\nu1,i1\nu5,i2\n",
    "k.nt": "".join(f"<http://x/i{n % 23}> <http://x/p{n % 3}> <http://x/e{n % 7}> .\n" for n in range(200)),
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return tmp_path


@pytest.fixture
def is_large(monkeypatch):
    """Every recipe is taken for one whose data does not fit into memory, and each array for a large one."""
    monkeypatch.setattr(pipeline, "needed_memory", lambda *_: 1 << 50)
    monkeypatch.setattr(
        DiskArrays, "within", lambda memory, folder: DiskArrays(folder, memory, small=0, rows=50, text=500)
    )


def test_the_files_of_the_graph_are_the_same(folder, is_large, monkeypatch):
    report = build_to(folder / "recipe.yaml", None, folder / "large.graph", memory="300MB")
    monkeypatch.setattr(pipeline, "needed_memory", lambda *_: 0)
    assert report.to_json() | {"seconds": 0} == build_to(
        folder / "recipe.yaml", None, folder / "small.graph", memory="300MB"
    ).to_json() | {"seconds": 0}
    files = [path.relative_to(folder / "small.graph") for path in (folder / "small.graph").rglob("*.*")]
    assert len(files) > 10 and (folder / "small.graph/splits/s.parquet").exists()
    assert filecmp.cmpfiles(folder / "small.graph", folder / "large.graph", files, shallow=False)[0] == files


def test_the_sizes_of_files_decide(folder, monkeypatch):
    asked = []
    monkeypatch.setattr(pipeline, "arrays_on_disk", lambda where: asked.append(where.memory) or arrays_on_disk(where))
    monkeypatch.setattr(pipeline, "TEXT_MEMORY", 50_000.0)  # as if the files were 10,000 times as large
    needed = (len(FILES["r.csv"]) + len(FILES["s.csv"])) * 50_000 + len(FILES["k.nt"]) * 5
    assert pipeline.needed_memory(pipeline.Recipe.load(folder / "recipe.yaml"), folder) == needed > 250_000_000
    for number, memory in enumerate((None, needed, "250MB")):
        build_to(folder / "recipe.yaml", None, folder / f"{number}.graph", memory=memory)
    assert asked == [250_000_000]


def test_ids_that_do_not_fit_into_memory(folder):
    with arrays_on_disk(DiskArrays(folder, 3_000, small=0, rows=50, text=500)):
        said = r"user ids take .* of memory after 5% of the data, .* set --memory 250MB or more"
        with pytest.raises(KgrecError, match=said.replace("5%", r"\d+%")):
            build(folder / "recipe.yaml")


@pytest.mark.parametrize("name", ["r.csv", "s.csv", "k.nt"])
def test_a_file_that_changes_while_it_is_read(folder, name, monkeypatch):
    def changing(what, path):
        state = path.stat()
        if path.name == name:  # a row is added by somebody else as this build has looked at the file
            path.write_text(FILES[name] + FILES[name].splitlines(keepends=True)[-1])
            os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
        return state.st_size, state.st_mtime_ns

    from kgrec.sources.rdf import reading
    from kgrec.sources.tables import table_columns

    for module in (reading, table_columns):
        monkeypatch.setattr(module, "file_state", lambda path: changing("", path))
    with pytest.raises(BadData, match=f"{name} changed while it was read"):
        build(folder / "recipe.yaml")


KILLED = """
import os, signal, sys
from kgrec.sources.building import build_to, pipeline
from kgrec.large_arrays import DiskArrays
pipeline.needed_memory = lambda *_: 1 << 50
DiskArrays.within = lambda memory, folder: DiskArrays(folder, memory, small=0, rows=50, text=500)
def write_graph(graph, folder):
    assert graph.edge_index.untyped_storage().nbytes()
    os.kill(os.getpid(), signal.SIGKILL)
pipeline.write_graph = write_graph
build_to(sys.argv[1], None, sys.argv[2])
"""


def test_a_kill_leaves_no_files(folder, forked, is_large):
    out = folder / "made" / "t.graph"
    out.parent.mkdir()
    assert forked(KILLED, folder / "recipe.yaml", out).ended().returncode == -signal.SIGKILL
    assert not out.exists() and [path for path in out.parent.rglob("*") if path.is_file() and path.stat().st_size] == []
    build_to(folder / "recipe.yaml", None, out)
    assert [path.name for path in out.parent.iterdir()] == ["t.graph"]
    assert json.loads((out / "graph.json").read_text())["format"] == 1


def test_a_full_disk_leaves_nothing(folder, is_large, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(KgrecError, match=r"cannot write .*: No space left on device; no file is left there"):
        build_to(folder / "recipe.yaml", None, folder / "t.graph")
    assert sorted(path.name for path in folder.iterdir()) == sorted(FILES)


def test_rows_are_read_carefully_from_the_first_bad_one(build_of, monkeypatch):
    """What was read in bulk before a bad row is not used twice."""
    careful = []
    parsed = separated.Separated._parsed
    monkeypatch.setattr(
        separated.Separated,
        "_parsed",
        lambda self, stream, names, types: careful.append(types["w"]) or parsed(self, stream, names, types),
    )
    rows = ROWS.splitlines(keepends=True)
    rows[300] = rows[300].replace(",", ",x", 2).replace(",x", ",", 1)
    recipe = "name: t\non_bad_rows: report\ninteractions: {file: r.csv, relation: rated, weight: w, time: t}\n"
    graph, report = build_of(recipe, {"r.csv": "user,item,w,t\n" + "".join(rows)})
    assert graph.num_edges == 399 and len(report.problems) == 1
    kinds = [str(kind) for kind in careful]
    assert kinds.count("string") > 2 and kinds.count("double") > 2  # some parts in bulk, then all of them carefully


VALUES = ("", "x", "9e9", "nan", '"open', "-1", "é", "1,2", "\ufeff")  # bad in one column or another


def random_table(rng: random.Random) -> bytes:
    """A CSV file with quotes, line ends in values, empty lines, and rows that are bad in every way."""
    share, end = rng.choice([0, 0.02, 0.3]), rng.choice(["\n", "\r\n"])
    lines = ["u,i,w,t,e"]
    for _ in range(rng.randint(1, 120)):
        user, item = (f"{kind}{rng.randint(0, 9)}" for kind in "ui")
        if rng.random() < 0.2:
            user = '"' + user + rng.choice(["", ",x", '""q""', "\n2"]) + '"'
        event = rng.choice(["view", "buy", "skip"])
        row = [user, item, str(rng.choice([1, 2, 3.5, 5])), str(rng.randint(1, 50)), event]
        if rng.random() < share:
            row[rng.randint(0, 4)] = rng.choice(VALUES)
        lines.append(",".join(row if rng.random() > share / 4 else row[:3]))
        if rng.random() < 0.03:
            lines.append("")
    data = (end.join(lines) + rng.choice([end, ""])).encode()
    return data.replace(b"u3", b"u\xff", 1) if rng.random() < share else data


RANDOM = """
name: t
on_bad_rows: {on_bad_rows}
target: bought
interactions:
  file: r.csv
  user: u
  item: i
  time: t
  weight: w
  rating_range: [1, 5]
  relations: {{column: e, values: {{view: viewed, buy: bought, skip: null}}}}
  duplicates: {duplicates}
  min_user: {min_user}
splits: {{s: {{test: s.csv, separator: ",", columns: [u, i], ids: {ids}}}}}
"""


def test_random_tables_of_many_parts(build_of):
    """`build_of` builds each in memory and in parts of some rows, and compares graphs, reports and errors."""
    rng, graphs, errors = random.Random(0), 0, 0
    for _ in range(12):
        recipe = RANDOM.format(
            on_bad_rows=rng.choice(["error", "report", "report"]),
            duplicates=rng.choice(["keep", "first", "last", "sum"]),
            min_user=rng.randint(0, 4),
            ids=rng.choice(["ids", "first_appearance"]),
        )
        pairs = "".join(f"{rng.randint(0, 3)},{rng.randint(0, 3)}\n" for _ in range(20))
        try:
            build_of(recipe, {"r.csv": random_table(rng), "s.csv": pairs})
            graphs += 1
        except KgrecError:
            errors += 1
    assert graphs and errors

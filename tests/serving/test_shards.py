"""Shards of users: together they are what one process gives, and their files say what they are a part of."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import kgrec
from kgrec import models
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.serving.list_parts import Part
from kgrec.serving.rules.rule_settings import Rules
from kgrec.serving.shards import Shard

MODELS = ["mf", "ease", "itemknn", "popularity", "neumf", "sasrec", "lightgcn", "ials"]
ASKED: list[dict[str, Any]] = [
    {},
    {"why": True, "where": "has_genre=g1"},
    {"rules": {"at_most": {"has_genre": 1}}, "include_seen": True},
]


def test_shards_are_of_equal_size_and_leave_nobody_out() -> None:
    for count, of in ((10, 4), (3, 5), (0, 2), (1_000_003, 7)):
        rows = [Shard(number, of).rows(count) for number in range(1, of + 1)]
        assert [row for part in rows for row in (part.start, part.stop)][1:-1] == [
            stop for part in rows[:-1] for stop in (part.stop, part.stop)
        ]
        assert (rows[0].start, rows[-1].stop) == (0, count)
        assert max(map(len, rows)) - min(map(len, rows)) <= 1


@pytest.mark.parametrize(
    ("shard", "message"),
    [
        ("5/4", "shard 5/4: shards go from 1/4 to 4/4"),
        ("0/4", "shard 0/4: shards go from 1/4 to 4/4"),
        ("-1/4", "shards go from 1/4 to 4/4"),
        ("1/0", "there are no 0 shards"),
        ("1/-2", "there are no -2 shards"),
        ("first", "a share such as 1/4 is wanted"),
        ("", "a share such as 1/4 is wanted"),
        ("1", "a share such as 1/4 is wanted"),
        ("1/2/3", "a share such as 1/4 is wanted"),
        ("1.0/4", "a share such as 1/4 is wanted"),
        ("\u0661/4", "a share such as 1/4 is wanted"),
        ("1/" + "9" * 5000, "a share such as 1/4 is wanted"),
        ((1, 4, 2), "a share such as 1/4 is wanted"),
        ((True, 4), "a share such as 1/4 is wanted"),
        ((1.0, 4), "a share such as 1/4 is wanted"),
        (3, "a share such as 1/4 is wanted"),
    ],
)
def test_what_is_no_shard_is_refused(shard: Any, message: str) -> None:
    with pytest.raises(KgrecError, match=message):
        Shard.read(shard)


@pytest.fixture(scope="module")
def runs(planted: Graph) -> Callable[[str], Run]:
    made: dict[str, Run] = {}

    def of(name: str) -> Run:
        if name not in made:
            made[name] = Run(name, models.build(name, planted).eval(), planted)
        return made[name]

    return of


@pytest.mark.parametrize("name", MODELS)
def test_parts_are_the_whole(name: str, runs: Callable[[str], Run]) -> None:
    run = runs(name)
    for options in ASKED:
        whole = run.recommend("all", 4, **options)
        parts = [run.recommend("all", 4, shard=(number, 7), **options) for number in range(1, 8)]
        assert pa.concat_tables([part.arrow for part in parts]).equals(whole.arrow)
        assert [user for part in parts for user in part.users or ()] == whole.users


def test_parts_of_named_and_of_new_users_are_the_whole(runs: Callable[[str], Run]) -> None:
    for name in ("ease", "mf"):
        run = runs(name)
        items, users = (run.graph.vocabulary[one].ids(range(6)) for one in ("item", "user"))
        asked = {"users": users[:5], "history": {f"new {number}": items[number:] for number in range(5)}}
        whole = run.recommend(**asked, k=3)
        parts = [run.recommend(**asked, k=3, shard=f"{number}/3") for number in (1, 2, 3)]
        assert pa.concat_tables([part.arrow for part in parts]).equals(whole.arrow)
        assert [part.users for part in parts] == [
            users[:3],
            [*users[3:5], "new 0"],
            ["new 1", "new 2", "new 3", "new 4"],
        ]
        more_than_users = [run.recommend(users[:2], 3, shard=(number, 5)) for number in range(1, 6)]
        assert [part.users for part in more_than_users] == [[], [], [users[0]], [], [users[1]]]


# ---------------------------------------------------------------------- part files


@pytest.fixture(scope="module")
def folder(planted: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("shards") / "ease.run"
    train("ease", planted, split="last_n:1", out=out)
    return out


def test_part_files_are_the_whole_and_a_rerun_skips_them(
    folder: Path, command: Callable[..., CompletedProcess[str]], tmp_path: Path
) -> None:
    def recommend(shard: str, *more: object) -> tuple[int, str]:
        done = command("recommend", folder, "--users", "all", "--shard", shard, *more)
        return done.returncode, done.stderr

    whole = Run.load(folder).recommend("all", 4).arrow
    files = [tmp_path / f"part{number}.parquet" for number in (1, 2)]
    for number, file in enumerate(files, 1):
        assert recommend(f"{number}/2", "--k", 4, "--out", file) == (0, f"120 rows in {file}\n")
    assert pa.concat_tables(map(pq.read_table, files)).equals(whole)
    assert pq.read_table(files).equals(whole)  # as one data set
    before = files[0].stat().st_mtime_ns
    code, said = recommend("1/2", "--k", 4, "--out", files[0])
    assert code == 0 and "is there already, with 120 rows" in said
    code, said = recommend("1/2", "--k", 5, "--out", files[0])
    assert code == 1 and "is a part of other lists: 'k' is not the same" in said
    assert files[0].stat().st_mtime_ns == before
    code, said = recommend("3/2", "--out", tmp_path / "none.parquet")
    assert code == 1 and "shards go from 1/2 to 2/2" in said
    assert sorted(tmp_path.iterdir()) == files


def test_a_file_of_other_lists_is_refused(folder: Path, tmp_path: Path) -> None:
    asked, out, run = {"k": 4, "where": [], "users": "all"}, tmp_path / "part.parquet", Run.load(folder)
    part = Part.of_run(folder, Shard(1, 2), asked)
    assert part.write([run.recommend("all", 4, shard=(1, 2))], out) == 120
    assert part.is_done(out, overwrite=False) == 120 and part.is_done(out, overwrite=True) is None
    assert part.is_done(tmp_path / "none.parquet", overwrite=False) is None
    other = tmp_path / "other.run"
    train("ease", kgrec.Graph.from_frames(edges=_other()), split="ratio:0.2,seed=1", out=other)
    many = [f"u{number}" for number in range(1000)]  # whose ids are not written into the file
    for wanted, message in [
        (Part.of_run(folder, Shard(2, 2), asked), "is shard 1/2 of these lists, and 2/2 is asked for"),
        (Part.of_run(folder, Shard(1, 3), asked), "is shard 1/2 of these lists, and 1/3 is asked for"),
        (Part.of_run(folder, Shard(1, 2), asked | {"k": 5, "where": ["a=b"]}), "'k', 'where' are not the same"),
        (Part.of_run(folder, Shard(1, 2), asked | {"users": many}), "'users' is not the same"),
        (Part.of_run(folder, Shard(1, 2), {"k": 4, "users": "all"}), "'where' is not the same"),
        (Part.of_run(other, Shard(1, 2), asked), "'run' is not the same"),
    ]:
        with pytest.raises(KgrecError, match=message):
            wanted.is_done(out, overwrite=False)
    assert len(json.dumps(Part.of_run(folder, Shard(1, 2), {"users": many}).of)) < 500
    pq.write_table(run.recommend("all", 4).arrow, out)
    with pytest.raises(KgrecError, match="does not say that it is a part"):
        part.is_done(out, overwrite=False)
    out.write_bytes(out.read_bytes()[:-100])
    with pytest.raises(KgrecError, match="does not say that it is a part"):
        part.is_done(out, overwrite=False)


def _other() -> dict[tuple[str, str, str], pd.DataFrame]:
    rows = [(f"u{number % 7}", f"i{number % 5}") for number in range(35)]
    return {("user", "rated", "item"): pd.DataFrame(rows, columns=["source", "target"])}


def test_what_files_hold_is_part_of_what_a_part_is_of(folder: Path, tmp_path: Path) -> None:
    rules, history = tmp_path / "rules.yaml", tmp_path / "history.csv"
    (tmp_path / "stock.txt").write_text("item1\nitem2\n")
    rules.write_text("in_stock: stock.txt\n")
    history.write_text("item\nitem1\n")

    def of(**asked: Any) -> Part:
        return Part.of_run(folder, Shard(1, 2), asked)

    one, same = (of(rules=Rules.of(rules), history=history) for _ in range(2))
    assert one == same
    (tmp_path / "stock.txt").write_text("item1\n")
    assert of(rules=Rules.of(rules), history=history).of["rules"] != one.of["rules"]
    history.write_text("item\nitem2\n")
    assert of(history=history).of["history"] != one.of["history"]
    with pytest.raises(KgrecError, match=r"history .*none.csv is not there"):
        of(history=tmp_path / "none.csv")
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(KgrecError, match="neither a file nor a folder"):
        of(history=tmp_path / "pipe")


def test_a_kill_leaves_no_half_part(folder: Path, forked: Callable[..., Any], tmp_path: Path) -> None:
    out, sign = tmp_path / "part.parquet", tmp_path / "begun"
    code = f"""
import sys, time
from pathlib import Path
from kgrec.run import Run
from kgrec.serving.list_parts import Part
from kgrec.serving.shards import Shard

def tables():
    yield Run.load({str(folder)!r}).recommend("all", 4, shard=(1, 2))
    Path({str(sign)!r}).touch()
    time.sleep(60)

Part.of_run(Path({str(folder)!r}), Shard(1, 2), {{}}).write(tables(), Path({str(out)!r}))
"""
    process = forked(code)
    for _ in range(600):
        if sign.exists():
            break
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.ended()
    assert not out.exists()
    part = Part.of_run(folder, Shard(1, 2), {})
    assert part.is_done(out, False) is None
    assert part.write([Run.load(folder).recommend("all", 4, shard=(1, 2))], out) == part.is_done(out, False) == 120
    assert sorted(one.name for one in tmp_path.iterdir()) == ["begun", "part.parquet"]

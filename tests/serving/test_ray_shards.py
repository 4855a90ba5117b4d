"""Shards over a Ray cluster of this machine, whose workers are killed while they write."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow.parquet as pq
import pytest

from kgrec.cli.list_shards import ShardOptions
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.serving import ray_shards
from kgrec.serving.list_options import ListOptions
from kgrec.serving.list_parts import Part, described
from kgrec.serving.ray_shards import Asked, Done, Making, recommend_over_ray
from kgrec.serving.shards import Shard

pytest.importorskip("ray", reason="needs the extra `ray`")
pytestmark = [pytest.mark.ray, pytest.mark.filterwarnings("ignore")]


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """A cluster of two workers, for all tests of this file."""
    import torch

    before, on_sigterm = torch.get_num_threads(), signal.getsignal(signal.SIGTERM)
    with ray_shards.cluster() as found:
        assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
        yield found
    torch.set_num_threads(before)
    assert signal.getsignal(signal.SIGTERM) is on_sigterm


@pytest.fixture(scope="module")
def folder(planted: Graph, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ray") / "ease.run"
    train("ease", planted, split="last_n:1", out=out)
    return out


def asked_for(folder: Path, users: Any = "all", **options: Any) -> Asked:
    wanted = ListOptions(**options)
    return Asked(folder, wanted, described(folder, {"users": users, **vars(wanted)}), users)


def killed_once(number: int, sign: Path) -> Callable[..., Done]:
    """`make_part` in a worker that kills itself when it has written the first rows of this shard, but only once."""

    def make(asked: Asked, part: Any, folder: Path, overwrite: bool) -> Done:
        import os
        import signal

        from kgrec.serving import ray_shards as there

        if part.shard.number == number and not sign.exists():
            lists = there.tables_for

            def tables(*arguments: Any, **options: Any) -> Iterator[Any]:
                yield from lists(*arguments, **options)
                assert list(folder.glob(f".part-{number}-of-*"))  # the draft that is being written
                sign.touch()
                os.kill(os.getpid(), signal.SIGKILL)

            there.tables_for = tables
        return there.make_part(asked, part, folder, overwrite)

    return make


def test_shards_of_killed_workers_are_made_again(
    ray: Any, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, out = asked_for(folder, k=4, why=True, where="has_genre=g1"), tmp_path / "lists"
    whole = Run.load(folder).recommend("all", 4, why=True, where="has_genre=g1").arrow
    said, reports = list[str](), list[tuple[Done, int]]()

    def how(retries: int) -> Making:
        reports.clear()
        return Making(retries, report=lambda done, left: reports.append((done, left)), say=said.append)

    monkeypatch.setattr(ray_shards, "make_part", killed_once(2, tmp_path / "killed"))
    assert recommend_over_ray(asked, out, 3, how=how(1)) == len(whole)
    assert (tmp_path / "killed").exists()
    assert len(said) == 1 and said[0].startswith("shard 2/3: its worker was lost (WorkerCrashedError")
    assert sorted(str(done.shard) for done, _ in reports) == ["1/3", "2/3", "3/3"] and reports[-1][1] == 0
    assert sorted(one.name for one in out.iterdir()) == [f"part-{number}-of-3.parquet" for number in (1, 2, 3)]
    assert pq.read_table(out).equals(whole)

    (out / "part-3-of-3.parquet").unlink()  # as a cluster leaves it that was lost as a whole
    assert recommend_over_ray(asked, out, 3, how=how(1)) == len(whole)
    assert [(str(done.shard), done.was_there, left) for done, left in reports] == [
        ("1/3", True, 1),
        ("2/3", True, 1),
        ("3/3", False, 0),
    ]
    assert pq.read_table(out).equals(whole)


def test_what_workers_refuse_is_said_and_leaves_nothing(ray: Any, folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "lists"
    with pytest.raises(KgrecError, match=r"^k 41 is more than the catalog's 40 items$"):
        recommend_over_ray(asked_for(folder, k=41), out, 2)
    with pytest.raises(KgrecError, match="no user 'nobody' among the 60 known"):
        recommend_over_ray(asked_for(folder, ["nobody"]), out, 1)
    assert not out.exists()


# ---------------------------------------------------------------------- without a cluster


def test_what_is_wrong_with_the_folder_is_said_before_a_cluster_starts(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_shards, "cluster", lambda address: pytest.fail("a cluster starts"))
    asked, out = asked_for(folder), tmp_path / "lists"
    for shards in (0, -1, True, 2.5):
        with pytest.raises(KgrecError, match="1 or more are wanted"):
            recommend_over_ray(asked, out, shards)  # type: ignore[arg-type]
    out.write_text("")
    with pytest.raises(KgrecError, match="is a file, and a folder of parts is wanted"):
        recommend_over_ray(asked, out, 2)
    out.unlink()
    out.mkdir()
    (out / "part-1-of-3.parquet").touch()
    with pytest.raises(KgrecError, match=r"has other files than these 2 parts: 'part-1-of-3.parquet'"):
        recommend_over_ray(asked, out, 2)
    with pytest.raises(KgrecError, match="does not say that it is a part"):
        recommend_over_ray(asked, out, 3)


@pytest.mark.parametrize("is_own", [False, True])
def test_sigterm_is_handled_as_before(is_own: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ray puts a handler of its own in place of any, and leaves it there."""

    def rays(*_: Any) -> None: ...
    def own(*_: Any) -> None: ...

    fake = SimpleNamespace(is_initialized=lambda: False, exceptions=SimpleNamespace(RayError=OSError))
    fake.init, fake.shutdown = lambda **_: signal.signal(signal.SIGTERM, rays), lambda: None
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    usual = signal.signal(signal.SIGTERM, own if is_own else signal.SIG_DFL)
    before = signal.getsignal(signal.SIGTERM)
    try:
        with ray_shards.cluster():
            assert signal.getsignal(signal.SIGTERM) is (own if is_own else rays)
        assert signal.getsignal(signal.SIGTERM) is before
        with pytest.raises(KeyError), ray_shards.cluster():
            raise KeyError
        assert signal.getsignal(signal.SIGTERM) is before
    finally:
        signal.signal(signal.SIGTERM, usual)


def test_an_address_where_nobody_answers_is_refused_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    import ray

    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    monkeypatch.setattr(ray, "init", lambda **options: pytest.fail("Ray would wait"))
    for address in ("127.0.0.1:1", "ray://[::1]:1", "127.0.0.1:99999"):
        with pytest.raises(KgrecError, match="no Ray cluster at"), ray_shards.cluster(address):
            pass
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:1")
    with pytest.raises(KgrecError, match=r"no Ray cluster at 127.0.0.1:1"), ray_shards.cluster():
        pass


def test_a_shard_whose_workers_are_lost_again_and_again_is_given_up() -> None:
    lost = RuntimeError("the worker died\nof something")
    said = ray_shards.said_of_lost(Shard(2, 3), lost, 2, 2)
    assert said == "shard 2/3: its worker was lost (RuntimeError: the worker died); it is made again, 2 of 2 times"
    with pytest.raises(KgrecError, match="shard 2/3: its worker was lost 3 times, at last by RuntimeError: the worker"):
        ray_shards.said_of_lost(Shard(2, 3), lost, 3, 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shards": 3}, "--shards is for --engine ray"),
        ({"ray_address": "local"}, "--ray-address is for --engine ray"),
        ({"engine": "ray", "shard": "1/2"}, "so leave out --shard"),
        ({"engine": "ray", "out": None}, "name it by --out"),
        ({"engine": "ray", "csv_safe": True}, "leave out --csv-safe"),
        ({"engine": "ray", "json": True}, "leave out --json"),
    ],
)
def test_options_that_do_not_go_together_are_refused(options: dict[str, Any], message: str) -> None:
    fields = {name: options[name] for name in ("shard", "engine", "shards", "ray_address") if name in options}
    without = {name: name in options for name in ("json", "csv_safe")}
    with pytest.raises(KgrecError, match=message):
        ShardOptions(**fields).check(options.get("out", Path("lists")), **without)


def test_a_worker_that_sees_another_run_says_so(folder: Path, tmp_path: Path) -> None:
    asked = asked_for(folder)
    other = Asked(folder, asked.options, {**asked.of, "run": "another"}, "all")
    with pytest.raises(KgrecError, match="a worker finds another run than it is asked for"):
        ray_shards.make_part(other, Part(Shard(1, 1), other.of), tmp_path, False)
    gone = Asked(tmp_path / "gone", asked.options, asked.of, "all")
    with pytest.raises(KgrecError, match="a worker sees no run in"):
        ray_shards.make_part(gone, Part(Shard(1, 1), gone.of), tmp_path, False)

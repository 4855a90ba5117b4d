"""Shards of users over a Ray cluster: part files in a folder, with progress, and shards of lost workers made again.

Ray is the extra `ray`. Workers read the run folder and write the parts at the paths that the caller names, so on
several machines both are on a disk that all of them share, and the same version of kgrec is installed on each.
"""

from __future__ import annotations

import logging
import os
import secrets
import shutil
import signal
import socket
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kgrec.drafts import clear_abandoned
from kgrec.errors import KgrecError, some
from kgrec.progress import counted
from kgrec.serving.answers import Table
from kgrec.serving.list_options import ListOptions
from kgrec.serving.list_parts import Part
from kgrec.serving.recommendation import tables_for
from kgrec.serving.shards import Shard
from kgrec.table_files import refuse_out
from kgrec.training.trained_model import TrainedModel

RETRIES = 3  #: times that a shard is made again whose worker was lost
SHARDS_A_CORE = 4  #: by default, so that a slow core leaves the others little to wait for
OBJECTS = 256 << 20  #: bytes of shared memory of a local cluster; little more than ids of users goes through it
CONNECTS_WITHIN, ENDS_WITHIN = 10, 10  #: seconds
LONGEST_FOLDER = 40  #: characters of the folder of a local cluster's sockets, whose paths may have some hundred


@dataclass(frozen=True)
class Asked:
    """What every worker is asked for. Paths are absolute."""

    run: Path  #: the run folder
    options: ListOptions
    of: Mapping[str, Any]  #: what the parts are of: see `Part`
    users: Any = None  #: as `Run.recommend` takes them
    history: Path | None = None
    profile: Path | None = None
    trust: str | None = None  #: see `Run.load`
    new_items: tuple[Path, ...] = ()  #: files of items that the run does not know


@dataclass(frozen=True)
class Done:
    """One part that is there."""

    shard: Shard
    rows: int
    was_there: bool = False  #: from a former try
    notes: tuple[str, ...] = ()


def part_name(shard: Shard) -> str:
    """The name of a part file in its folder: they sort in the order of users.

    >>> part_name(Shard(3, 16))
    'part-03-of-16.parquet'
    """
    return f"part-{shard.number:0{len(str(shard.of))}d}-of-{shard.of}.parquet"


@dataclass(frozen=True)
class Making:
    """How parts are made."""

    retries: int = RETRIES  #: times that a shard is made again whose worker was lost
    overwrite: bool = False
    report: Callable[[Done, int], None] = lambda done, left: None  #: called after each part, with how many are to come
    say: Callable[[str], None] = lambda message: None  #: called with what went wrong and is tried again


def recommend_over_ray(
    asked: Asked, out: Path, shards: int | None = None, *, address: str | None = None, how: Making | None = None
) -> int:
    """Write lists as part files in the folder `out`, one task of a Ray cluster each. Together, in the order of their
    names, they are what one process writes. Returns the number of rows.

    shards: how many parts; None: four for each core of the cluster. address: of a cluster; None: the one that
    RAY_ADDRESS names, or one of this machine's own, which ends with this call. Parts of the same run, users and options
    that are there are kept, unless `how.overwrite`.

    Raises KgrecError where Ray is not installed or not reached, for a folder of other things, for parts of other lists,
    for what `Run.recommend` refuses, and for a shard whose worker is lost again and again; the parts that are done
    stay, and the same call goes on from there."""
    how = how or Making()
    if shards is not None and (isinstance(shards, bool) or not isinstance(shards, int) or shards < 1):
        raise KgrecError(f"{shards!r} shards; 1 or more are wanted")
    out = out.resolve()
    if shards is not None:  # what is wrong is said before a cluster starts, and where all is there none does
        there, missing = _missing(asked, out, shards, how.overwrite)
        if not missing:
            return sum(done.rows for done in _reported(there, how, 0))
    was_there = out.exists()
    try:
        with cluster(address) as ray:
            number = shards or max(1, int(ray.cluster_resources().get("CPU", 1)) * SHARDS_A_CORE)
            there, missing = _missing(asked, out, number, how.overwrite)
            rows = sum(done.rows for done in _reported(there, how, len(missing)))
            made = counted("making lists", _made(ray, asked, out, missing, how), len(missing), "shards")
            for done, left in zip(made, range(len(missing) - 1, -1, -1)):
                rows += done.rows
                how.report(done, left)
            return rows
    finally:
        if not was_there:
            with suppress(OSError):  # it has parts, or was never made
                out.rmdir()


def _reported(there: list[Done], how: Making, left: int) -> list[Done]:
    for done in there:
        how.report(done, left)
    return there


def _missing(asked: Asked, out: Path, number: int, overwrite: bool) -> tuple[list[Done], list[Part]]:
    """The parts that are there, and those to be made. Raises KgrecError for a folder of other things."""
    parts = [Part(Shard(one, number), asked.of) for one in range(1, number + 1)]
    if out.exists() and not out.is_dir():
        raise KgrecError(f"--out {out} is a file, and a folder of parts is wanted; name another --out")
    names = {part_name(part.shard) for part in parts}
    found = sorted(one.name for one in out.iterdir() if not one.name.startswith(".")) if out.is_dir() else []
    other = [name for name in found if name not in names]
    if other:
        raise KgrecError(
            f"--out {out} has other files than these {number:,} parts: {some(other)}; name another --out, or as many "
            "shards as before"
        )
    there, missing = list[Done](), list[Part]()
    for part in parts:
        file = out / part_name(part.shard)
        rows = part.is_done(file, overwrite)
        if rows is None:
            refuse_out(file, overwrite)
            missing.append(part)
        else:
            there.append(Done(part.shard, rows, was_there=True))
    return there, missing


def _made(ray: Any, asked: Asked, out: Path, parts: list[Part], how: Making) -> Iterator[Done]:
    """The parts, each when it is done."""
    work, given = ray.remote(num_cpus=1, max_retries=0)(make_part), ray.put(asked)
    lost = {str(part.shard): 0 for part in parts}

    def start(part: Part) -> Any:
        return work.remote(given, part, out, how.overwrite)

    running = {start(part): part for part in parts}
    try:
        while running:
            (ready,), _ = ray.wait(list(running), num_returns=1)
            part = running.pop(ready)
            try:
                done = ray.get(ready)
            except ray.exceptions.RayTaskError as error:
                raise _of_worker(error, part.shard) from error
            except ray.exceptions.RayError as error:
                lost[str(part.shard)] += 1
                how.say(said_of_lost(part.shard, error, lost[str(part.shard)], how.retries))
                running[start(part)] = part
                continue
            if not (out / part_name(part.shard)).is_file():
                raise KgrecError(
                    f"a worker wrote {part_name(part.shard)}, and it is not in {out} here; with several machines, "
                    "--out is on a disk that all of them share"
                )
            yield done
    finally:
        for task in running:
            ray.cancel(task, force=True)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=ENDS_WITHIN)
        for part in running.values():
            clear_abandoned(out / part_name(part.shard))


def said_of_lost(shard: Shard, error: Exception, lost: int, retries: int) -> str:
    """What is said of a worker that is gone. Raises KgrecError where that was so too often."""
    lines = str(error).strip().splitlines()
    reason = f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
    if lost > retries:
        raise KgrecError(
            f"shard {shard}: its worker was lost {lost} times, at last by {reason}; parts that are done stay, and the "
            "same command goes on from there. Where memory is short, give each worker more of it, or fewer cores"
        ) from error
    return f"shard {shard}: its worker was lost ({reason}); it is made again, {lost} of {retries} times"


def _of_worker(error: Any, shard: Shard) -> KgrecError:
    """What went wrong inside a worker, as the error that one process raises."""
    cause = error.cause
    return cause if isinstance(cause, KgrecError) else KgrecError(f"shard {shard}: {type(cause).__name__}: {cause}")


def make_part(asked: Asked, part: Part, folder: Path, overwrite: bool) -> Done:
    """Write one part, in a worker. Raises KgrecError where the worker sees another run or version of kgrec."""
    if not (asked.run / "config.json").is_file():
        raise KgrecError(
            f"a worker sees no run in {asked.run}; with several machines, it is on a disk that all of them share"
        )
    for name, value in Part.of_run(asked.run, part.shard, {}).of.items():
        if part.of.get(name) != value:
            raise KgrecError(f"a worker finds another {name} than it is asked for: {value}")
    notes = list[str]()

    def tables() -> Iterator[Table]:
        run = _loaded(asked, str(part.of["run"]))
        people = {"history": asked.history, "profile": asked.profile}
        for table in tables_for(run, asked.users, asked.options, **people, shard=part.shard):
            notes.extend(table.notes)
            yield table

    rows = part.write(tables(), folder / part_name(part.shard), overwrite=overwrite)
    return Done(part.shard, rows, notes=tuple(notes))


_KEPT: dict[Any, TrainedModel] = {}  #: the run of a worker's last shard, which the next one asks for again


def _loaded(asked: Asked, content: str) -> TrainedModel:
    """The run of a worker. content: the hash of what the run is."""
    key = asked.run, content, asked.trust, asked.new_items, asked.options.skip_unknown
    if key not in _KEPT:
        run = TrainedModel.load(asked.run, trust=asked.trust, mapped=True)
        if asked.new_items:
            from kgrec.serving.added_items import run_with_items  # what reads recipes takes its time to come

            run = run_with_items(run, list(asked.new_items), skip_unknown=asked.options.skip_unknown)
        _KEPT.clear()
        _KEPT[key] = run
    return _KEPT[key]


@contextmanager
def cluster(address: str | None = None) -> Iterator[Any]:
    """Ray, connected: to the cluster that this process is connected to already, to that of an address or of
    RAY_ADDRESS, else to one of this machine alone, which ends with the block. Ray sends nobody statistics. SIGTERM is
    handled as before: Ray's own way, which ends its processes, holds within the block where there was none.

    Raises KgrecError where Ray is not installed, or nobody answers at the address."""
    address = address or os.environ.get("RAY_ADDRESS")
    _set_environment(is_local=not address)
    try:
        import ray
    except ImportError as error:
        raise KgrecError("shards over Ray need it installed: pip install 'kgrec[ray]'") from error
    if ray.is_initialized():
        yield ray
        return
    quiet: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
    folder, on_sigterm = None, signal.getsignal(signal.SIGTERM)
    try:
        try:
            if address:
                must_answer(address)
                ray.init(address=address, **quiet)
            else:
                folder = _folder_of_sockets()
                own: dict[str, Any] = {"_temp_dir": folder, "_node_ip_address": "127.0.0.1"}
                ray.init(address="local", include_dashboard=False, object_store_memory=OBJECTS, **own, **quiet)
        except (OSError, RuntimeError, ValueError, OverflowError, ray.exceptions.RayError) as error:
            where = f"no Ray cluster at {address}" if address else "no Ray cluster starts on this machine"
            lines = str(error).strip().splitlines() or [type(error).__name__]
            raise KgrecError(f"{where}: {lines[0]}") from error
        if on_sigterm != signal.SIG_DFL:  # as the command has one, which cleans up and comes here
            _handle_sigterm(on_sigterm)
        yield ray
    finally:
        ray.shutdown()
        _handle_sigterm(on_sigterm)
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def _handle_sigterm(handler: Any) -> None:
    """Set what `signal.getsignal` gave, which is None where it is no handler of Python. Only the main thread can."""
    if handler is not None and threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGTERM, handler)


def must_answer(address: str) -> None:
    """Raise OSError where nobody answers at an address such as 10.0.0.1:6379: Ray would wait for minutes."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if host and port.isdecimal():
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECTS_WITHIN).close()


def _folder_of_sockets() -> str:
    place = tempfile.gettempdir()
    return tempfile.mkdtemp(prefix="kgrec-ray-", dir=place if len(place) <= LONGEST_FOLDER else "/tmp")


def _set_environment(is_local: bool) -> None:
    """What Ray reads when it is imported: no statistics, and for a cluster of this machine alone a token, by which it
    obeys this process only. Else Ray would write one into the home folder."""
    if "ray" in sys.modules:
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if is_local and not any(name in os.environ for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")):
        os.environ.update(RAY_AUTH_MODE="token", RAY_AUTH_TOKEN=secrets.token_hex(32))

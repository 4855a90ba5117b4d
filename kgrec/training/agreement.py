"""Ranks of one training must have the same code, graph and settings."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import inspect
import json
import socket
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path
from typing import Any

from kgrec import models, ranks
from kgrec.graph import Graph
from kgrec.ranks import RankError
from kgrec.training.job import TrainingJob

PACKAGE = Path(__file__).parents[1]  #: the folder of kgrec's code
#: Fields of a job that may differ, as rank 0 alone writes and reads
OF_FIRST = ("out", "overwrite", "init", "lean", "mmap", "track")


def must_agree_on(job: TrainingJob, graph: Graph | str | Path) -> None:
    """Raise RankError, on all ranks, if the code, the graph or the settings of one differ from those of rank 0, with
    what differs. Does nothing in a single process."""
    if ranks.world() == 1:
        return
    every = ranks.of_all({"host": socket.gethostname(), **_code(job.model), **_graph(graph), **_settings(job)})
    first, said = every[0], list[str]()
    for number, other in enumerate(every):
        differ = [name for name in {**first, **other} if name != "host" and first.get(name) != other.get(name)]
        if differ:
            what = "; ".join(
                f"{name} is {first.get(name)!r} on rank 0 and {other.get(name)!r} there" for name in differ
            )
            said.append(f"rank {number} (on {other['host']}): {what}")
    if said:
        raise RankError(
            f"the processes cannot train together, as they differ. {'. '.join(said)}. Give all of them the same "
            "version of kgrec, the same model file, the same graph folder and the same options"
        )


def _code(model: str) -> dict[str, str]:
    """Versions of kgrec and torch, the hash of kgrec's files, and of the model's where it is another one."""
    found = {**{name: metadata.version(name) for name in ("kgrec", "torch")}, "the code of kgrec": _code_of_kgrec()}
    file = inspect.getsourcefile(models.find(model))
    if file is not None and not Path(file).is_relative_to(PACKAGE):
        found[f"the file of {model}"] = _short(Path(file).read_bytes())
    return found


@functools.cache
def _code_of_kgrec() -> str:
    files = sorted(PACKAGE.rglob("*.py"))
    return _short(b"".join(str(one.relative_to(PACKAGE)).encode() + one.read_bytes() for one in files))


def _graph(graph: Graph | str | Path) -> dict[str, str]:
    """The hash of graph.json, which has the hashes of the graph's files; of a graph in memory, that of its content."""
    if isinstance(graph, Graph):
        return {"the graph": graph.content_hash()[:12]}
    file = Path(graph) / "graph.json"
    return {"the graph (graph.json)": _short(file.read_bytes()) if file.is_file() else "missing"}


def _short(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:12]


def _settings(job: TrainingJob) -> dict[str, Any]:
    """All options of a job by dotted name, except those that only rank 0 needs."""
    fields: dict[str, Any] = {one.name: getattr(job, one.name) for one in dataclasses.fields(job)}
    fields = {name: value for name, value in fields.items() if name not in OF_FIRST}
    fields["training"] = dataclasses.asdict(job.training)
    return dict(_flat(json.loads(json.dumps({**fields, "init": job.init is not None}, default=str))))


def _flat(values: Mapping[str, Any], before: str = "") -> list[tuple[str, Any]]:
    found = []
    for name, value in values.items():
        found += _flat(value, f"{before}{name}.") if isinstance(value, dict) else [(before + name, value)]
    return found

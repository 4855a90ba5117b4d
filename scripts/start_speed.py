"""How long `kgrec recommend RUN --user ID` takes from the start of Python to its end."""

from __future__ import annotations

import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.run import train


def start(benchmark: Mapping[str, Any], graph: Graph, folder: Path) -> dict[str, Any]:
    """The median of some calls for a run of each model, in seconds by the clock; `cpu_seconds` are the mean of both
    kinds of CPU time over the calls without torch. `why_seconds` is the time of the same with `--why`, which needs
    torch, and `help_seconds` that of `kgrec --help`. Runs are trained for one epoch, and kept in a folder."""
    runs = {name: folder / f"speed-start-{name}.run" for name in benchmark["models"]}
    for name, out in runs.items():
        if not out.exists():
            training = {"epochs": 1, "device": "cpu"}
            train(name, graph, split=benchmark["split"], config=benchmark["models"][name], training=training, out=out)
    users = graph.vocabulary[graph.target[0]].ids(range(benchmark["calls"]))
    begun = _cpu_seconds()
    measured = {
        f"{name}_seconds": statistics.median(_seconds("recommend", str(out), "--user", user) for user in users)
        for name, out in runs.items()
    }
    measured["cpu_seconds"] = (_cpu_seconds() - begun) / len(runs) / len(users)
    first, some = str(next(iter(runs.values()))), users[:3]
    measured["why_seconds"] = statistics.median(_seconds("recommend", first, "--user", user, "--why") for user in some)
    measured["help_seconds"] = statistics.median(_seconds("--help") for _ in some)
    return {"test": measured, "load": os.getloadavg()[0]}


def _seconds(*arguments: str) -> float:
    """The seconds that a call of kgrec takes. Raises KgrecError if it fails."""
    begun = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "kgrec", *arguments], capture_output=True, text=True)
    seconds = time.perf_counter() - begun
    if done.returncode or not done.stdout:
        raise KgrecError(f"kgrec {' '.join(arguments)} failed: {done.stderr}")
    return seconds


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime

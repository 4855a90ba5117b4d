"""Trains over two hosts and in two local processes, by torchrun: the results must be the same. What does a step cost?

The hosts are two network namespaces of this machine, joined by a line, perhaps a slow one. It needs root and `ip`.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError

ADDRESS, PORT, INTERFACE = "10.98.0.1", "29500", "eth0"
SECONDS = 900  #: how long one training may take


def two_hosts(benchmark: Mapping[str, Any], graph: Path, quick: bool) -> dict[str, Any]:
    """For each model the largest difference of a metric between two hosts and two local processes, and milliseconds and
    kB for a step on the hosts, with the share of the time that is exchange.

    benchmark: `models`, each with model, set, and perhaps `shard`; `line`, the rate of a second pair of hosts' line,
    such as 1gbit. Raises KgrecError if this system makes no namespaces, or a training fails.
    """
    measured: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, one in benchmark["models"].items():
            words = [one["model"], str(graph), *_options(one, benchmark, quick)]
            local = _train(words, Path(folder) / f"{name}-local", [["--nproc-per-node", "2"]], [[]])
            measured |= _of_step(name, "local", local)
            for line in ("", benchmark.get("line", "")):
                with _hosts(line) as hosts:
                    where = [["ip", "netns", "exec", host] for host in hosts]
                    how = ["--nnodes", "2", "--nproc-per-node", "1", "--master-addr", ADDRESS, "--master-port", PORT]
                    ranks = [[*how, "--node-rank", str(rank)] for rank in range(2)]
                    found = _train(words, Path(folder) / f"{name}-hosts{line}", ranks, where)
                measured |= _of_step(name, f"hosts_{line}".rstrip("_"), found)
                if not line:
                    measured[f"{name}_apart"] = _apart(local, found)
                if not benchmark.get("line"):
                    break
    return {"test": measured}


def _options(one: Mapping[str, Any], benchmark: Mapping[str, Any], quick: bool) -> list[str]:
    words = ["--epochs", str(1 if quick else benchmark["epochs"]), "--device", "cpu", "--json"]
    for field, value in one.get("set", {}).items():
        words += ["--set", f"{field}={json.dumps(value) if isinstance(value, bool | list) else value}"]
    return words + ["--shard-vectors"] * bool(one.get("shard"))


def _train(words: list[str], out: Path, ranks: list[list[str]], where: list[list[str]]) -> dict[str, Any]:
    """The metrics of a training that torchrun starts in one or several places; rank 0 prints them."""
    environment = os.environ | {"GLOO_SOCKET_IFNAME": INTERFACE if len(ranks) > 1 else "lo", "OMP_NUM_THREADS": "1"}
    torchrun = [sys.executable, "-m", "torch.distributed.run"]
    begun = [
        subprocess.Popen(
            [*place, *torchrun, *rank, "-m", "kgrec", "train", *words, "--out", str(out)],
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for place, rank in zip(where, ranks)
    ]
    said = [one.communicate(timeout=SECONDS) for one in begun]
    if any(one.returncode for one in begun):
        raise KgrecError(f"a training over {len(ranks)} hosts failed: {' '.join(err[-2000:] for _, err in said)}")
    return dict(json.loads(said[0][0].splitlines()[-1]))


def _of_step(name: str, where: str, found: Mapping[str, Any]) -> dict[str, float]:
    return {
        f"{name}_{where}_step_ms": 1000 * found["seconds_per_step"],
        f"{name}_{where}_exchange_share": found["exchange_share"],
        f"{name}_step_kb": found["exchange_bytes_per_step"] / 1000,
    }


def _apart(one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    return max(abs(value - other[part][key]) for part in ("valid", "test") for key, value in one[part].items())


@contextmanager
def _hosts(line: str) -> Iterator[list[str]]:
    """The names of two network namespaces, joined by a line of a rate such as 1gbit; "": as fast as it goes."""
    names = [f"kgrec-bench-{os.getpid()}-{one}" for one in range(2)]
    made = [f"ip netns add {name}" for name in names]
    made.append(f"ip -n {names[0]} link add {INTERFACE} type veth peer name {INTERFACE} netns {names[1]}")
    for place, name in enumerate(names):
        made.append(f"ip -n {name} addr add {ADDRESS[:-1]}{place + 1}/24 dev {INTERFACE}")
        made += [f"ip -n {name} link set {device} up" for device in ("lo", INTERFACE)]
        if line:
            made.append(f"tc -n {name} qdisc add dev {INTERFACE} root tbf rate {line} burst 1mb latency 50ms")
    try:
        for words in made:
            try:
                subprocess.run(words.split(), check=True, capture_output=True)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", b"") or b""
                raise KgrecError(f"this system makes no two hosts: {words}: {error} {said.decode()}") from error
        yield names
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], check=False, capture_output=True)

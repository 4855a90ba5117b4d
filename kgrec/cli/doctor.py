"""`kgrec doctor`: installed versions and what this machine offers, to add to a bug report."""

from __future__ import annotations

import os
import platform
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from kgrec.cli.options import Json
from kgrec.cli.output import console, print_json

if TYPE_CHECKING:
    from rich.console import Console

PACKAGES = (
    "kgrec",
    "torch",
    "torch-geometric",
    "lightning-fabric",
    "numpy",
    "pandas",
    "pyarrow",
    "rdflib",
    "pyoxigraph",
    "networkx",
    "numba",
    "scipy",
    "safetensors",
    "pydantic",
    "torchmetrics",
    "typer",
    "rich",
)

OPTIONAL = {
    "tensorboard": "for TensorBoard logs: pip install 'kgrec[tensorboard]'",
    "mlflow": "for runs in MLflow: pip install 'kgrec[mlflow]'",
    "optuna": "for kgrec tune: pip install 'kgrec[tune]'",
    "matplotlib": "for plots: pip install 'kgrec[plot]'",
    "sentence_transformers": "for vectors of texts: pip install sentence-transformers",
    "timm": "for vectors of images: pip install timm",
    "ray": "for lists by a Ray cluster: pip install 'kgrec[ray]'",
    "pyg_lib": "not needed; only PyG's own samplers use it",
}
"""Optional modules: what each is for, and how to install it."""


def doctor_command(as_json: Json = False) -> None:
    """Show what is installed and what this machine offers: versions, devices, threads, memory, optional modules."""
    facts = doctor()
    print_json(facts) if as_json else show(facts, console())


def doctor() -> dict[str, Any]:
    """Versions, devices, threads, memory, and which optional modules are installed, as plain data for JSON.

    Memory is in bytes; None where the system does not report it.
    """
    from kgrec.memory import memory
    from kgrec.parallel_loops import threading_layer

    return {
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {name: _version(name) for name in PACKAGES},
        "devices": _devices(),
        "threads": _threads(),
        "numba_threads": threading_layer(),
        "memory": memory(),
        "optional": {name: find_spec(name) is not None for name in OPTIONAL},
    }


def _version(name: str) -> str | None:
    from importlib import metadata

    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _devices() -> list[dict[str, Any]]:
    """The devices that training may run on, the CPU first."""
    import torch

    devices: list[dict[str, Any]] = [{"device": "cpu", "name": platform.processor() or platform.machine()}]
    for number in range(torch.cuda.device_count()):
        properties = torch.cuda.get_device_properties(number)
        devices.append({"device": f"cuda:{number}", "name": properties.name, "memory": properties.total_memory})
    if torch.backends.mps.is_available():
        devices.append({"device": "mps", "name": "Apple"})
    return devices


def _threads() -> dict[str, int]:
    """Number of cores that this process may use, and of the threads of torch and numba."""
    import numba
    import torch

    of_numba = numba.get_num_threads()  # first: it starts numba's threads, which may set torch's number
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return {"cores": cores, "torch": torch.get_num_threads(), "numba": of_numba}


def show(found: dict[str, Any], screen: Console) -> None:
    """Print the facts as a table."""
    from kgrec.parallel_loops import SEVERAL
    from kgrec.text_tables import text_table

    table = text_table("", ["what", "found"], headings=False)
    table.add_row("python", f"{found['python']} on {found['platform']}")
    for name, version in found["versions"].items():
        table.add_row(name, version or "missing: reinstall kgrec")
    for device in found["devices"]:
        memory = f", {device['memory'] / 2**30:.1f} GiB" if "memory" in device else ""
        table.add_row(device["device"], device["name"] + memory)
    table.add_row("threads", ", ".join(f"{count} {name}" for name, count in found["threads"].items()))
    layer = found["numba_threads"]
    if layer not in SEVERAL:
        layer += "; compiled loops of several threads wait for each other, as there is no OpenMP (Debian: libgomp1)"
    table.add_row("numba's threads", layer)
    sizes = ((name, size) for name, size in found["memory"].items() if size is not None)
    table.add_row("memory", ", ".join(f"{size / 2**30:.1f} GiB {name}" for name, size in sizes) or "unknown")
    for name, is_there in found["optional"].items():
        table.add_row(name, "installed" if is_there else f"not installed ({OPTIONAL[name]})")
    screen.print(table)

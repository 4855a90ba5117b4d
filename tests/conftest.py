"""What tests share: the public data's folder, the skip where no CUDA device is, and a planted graph."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kgrec.graph import Graph

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell leaves it for what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The public data sets: $KGREC_DATA, else ../shared/data beside the project. Skips the test where it is missing."""
    root = Path(os.environ.get("KGREC_DATA") or Path(__file__).parents[1] / "../shared/data").resolve()
    if not root.is_dir():
        pytest.skip(f"needs the public data sets, and {root} is no folder; set KGREC_DATA")
    return root


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what is marked `cuda` where there is no device."""
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))


PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
"""


@pytest.fixture(scope="session")
def megabytes_of() -> Callable[[str, str], float]:
    """By how many MB the peak of memory rises as a step runs after a setup, on one thread of a new Python."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc, which this system lacks")

    def rise(setup: str, step: str) -> float:
        code = (
            f"import torch\ntorch.set_num_threads(1)\n{PEAK}\n{setup}\nbefore = peak()\n{step}\nprint(peak() - before)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return float(done.stdout)

    return rise


@pytest.fixture(scope="session")
def planted() -> Graph:
    """60 users, 40 items and 5 genres: taste, facts and time all say what comes next, popularity does not."""
    from kgrec.testing import planted_graph

    return planted_graph()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much of the documentation ran, and what of it did not, and why."""
    found = [pair for report in terminalreporter.stats.get("passed", []) for pair in report.user_properties]
    counts = [value for name, value in found if name == "documentation"]
    if counts:
        blocks, commands, outputs = map(sum, zip(*counts))
        terminalreporter.write_sep("-", "documentation")
        terminalreporter.write_line(
            f"{len(counts)} pages: {blocks} blocks and {commands} commands ran, {outputs} outputs were compared"
        )
        for name, value in found:
            if name == "documentation not run":
                terminalreporter.write_line(f"not run: {value}")

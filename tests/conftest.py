"""What tests share: the public data's folder, the skip where no CUDA device is, and a planted graph."""

import fcntl
import gc
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import suppress
from pathlib import Path

import pytest

from kgrec.cli.before_torch import add_up_alike

add_up_alike()  # as the kgrec command does, before torch starts

from kgrec.graph import Graph  # noqa: E402

if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:  # as a shell leaves it for what it runs in the background
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect tests without Python's search for garbage: all that is made stays in use."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()
        gc.freeze()
        gc.set_threshold(10_000, 20, 20)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The public data sets: $KGREC_DATA, else ../shared/data beside the project. Skips the test where it is missing."""
    root = Path(os.environ.get("KGREC_DATA") or Path(__file__).parents[1] / "../shared/data").resolve()
    if not root.is_dir():
        pytest.skip(f"needs the public data sets, and {root} is no folder; set KGREC_DATA")
    return root


@pytest.fixture
def bf16_everywhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Training in bf16 is not refused on a CPU that is slow in it."""
    monkeypatch.setattr("kgrec.training.precision.cost_of_bf16", lambda: 1.0)


#: Files that begin first. The first two need few of kgrec's compiled loops, which scripts/compile_kernels.py makes in
#: the meantime; the next wait for other processes, while checks beside the tests need the cores; the others take
#: longest, so that none of two processes ends with such a file alone
FIRST = (
    *("test_bombs.py", "test_packaging.py", "test_ranks.py", "test_ray_shards.py", "test_page_in_browser.py"),
    *("test_interruptions.py", "test_report.py", "test_race.py", "test_strangers.py", "test_exact.py", "test_docs.py"),
    *("test_crash.py", "test_perf_guard.py", "test_ranges.py", "test_next_item.py", "test_cke.py"),
    *("test_check_agrees.py", "test_run.py", "test_neighbors.py", "test_models_contract.py", "test_export.py"),
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put some files first, and skip what is marked `cuda` where there is no device."""
    order = {name: number for number, name in enumerate(FIRST)}
    items.sort(key=lambda item: order.get(item.path.name, len(order)))
    marked = [item for item in items if item.get_closest_marker("cuda")]
    if not marked:
        return
    import torch

    if not torch.cuda.is_available():
        for item in marked:
            item.add_marker(pytest.mark.skip(reason="needs a CUDA device, and torch sees none"))


F_SETPIPE_SZ = 1031

PEAK = """
def peak():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) / 1024
"""

GIVING_BACK = """
import contextlib, ctypes
with contextlib.suppress(AttributeError, OSError):  # another C library
    ctypes.CDLL(None).mallopt(-3, 1 << 20)  # M_MMAP_THRESHOLD, bytes from which a block is mapped alone
"""


class Forked:
    """A program that runs in a process forked from one that has imported kgrec: see tests/fork_server.py."""

    def __init__(self, server: subprocess.Popen[str], request: dict[str, object], folder: Path) -> None:
        assert server.stdin is not None and server.stdout is not None
        self._answers, pipes = server.stdout, []
        for name in ("out", "err"):
            os.mkfifo(folder / name)
            pipe = os.open(folder / name, os.O_RDONLY | os.O_NONBLOCK)  # which does not wait for who writes
            os.set_blocking(pipe, True)
            fcntl.fcntl(pipe, F_SETPIPE_SZ, 1 << 20)  # more than any program here writes
            pipes.append(os.fdopen(pipe, encoding="utf-8"))
            request = request | {name: str(folder / name)}
        self.out, self._err = pipes
        print(json.dumps(request), file=server.stdin, flush=True)
        self.pid = int(self._answers.readline())

    def send_signal(self, number: int) -> None:
        with suppress(ProcessLookupError):  # it has ended
            os.kill(self.pid, number)

    def ended(self) -> subprocess.CompletedProcess[str]:
        """Its exit code and what it wrote, when it has ended; it is killed after five minutes."""
        late = threading.Timer(300, self.send_signal, (signal.SIGKILL,))
        late.start()
        with self.out, self._err:
            out, err = self.out.read(), self._err.read()
        code = int(self._answers.readline())
        late.cancel()
        return subprocess.CompletedProcess([], code, out, err)


@pytest.fixture(scope="session")
def _fork_server() -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, str(Path(__file__).with_name("fork_server.py"))]
    server = subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=Path(__file__).parents[1])
    yield server
    server.communicate(timeout=60)


@pytest.fixture
def forked(_fork_server: subprocess.Popen[str], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Forked]:
    """Starts a program's code with arguments; bytes_a_file: the system refuses to write longer files, as a full disk
    would; first: modules that this program and all later ones find imported."""

    def start(code: str, *arguments: object, bytes_a_file: int | None = None, first: Sequence[str] = ()) -> Forked:
        request = {"code": code, "arguments": list(map(str, arguments)), "bytes_a_file": bytes_a_file, "first": first}
        return Forked(_fork_server, request, tmp_path_factory.mktemp("forked"))

    return start


@pytest.fixture
def command(forked: Callable[..., Forked]) -> Callable[..., subprocess.CompletedProcess[str]]:
    """Runs `kgrec` with arguments, in a process of its own in the project's folder, and gives its end."""

    def run(*arguments: object, bytes_a_file: int | None = None) -> subprocess.CompletedProcess[str]:
        return forked("from kgrec.cli import main; main()", *arguments, bytes_a_file=bytes_a_file).ended()

    return run


@pytest.fixture
def megabytes_of(forked: Callable[..., Forked]) -> Callable[[str, str], float]:
    """By how many MB the peak of memory rises as a step runs after a setup, on one thread of a new process. There the C
    library gives freed blocks of 1 MB and more back at once: else the peak counts what it keeps, which differs from run
    to run."""
    if not Path("/proc/self/status").exists():
        pytest.skip("the peak of memory is read from /proc, which this system lacks")

    def rise(setup: str, step: str) -> float:
        done = forked(
            f"{GIVING_BACK}\nimport torch\ntorch.set_num_threads(1)\n{PEAK}\n{setup}\nbefore = peak()\n{step}\n"
            "print(peak() - before)"
        ).ended()
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

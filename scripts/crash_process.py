"""Runs a kgrec command in its own process and ends it at a chosen moment.

The process is forked from this one, which has imported kgrec and computed nothing; so hundreds of commands are quick. A
moment is a number of touches and a delay in seconds after the last of them. A touch is an operation on files in the
working folder: an audit hook counts what Python opens, creates, renames, links and removes there. So the same touch can
be found again in every run.
"""

from __future__ import annotations

import atexit
import ctypes
import errno
import fcntl
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

LONGEST = 240.0  #: most seconds that a command may take, also to end after a signal
PIPE = 1 << 20  #: most bytes of output that a command may write
F_SETPIPE_SZ = 1031
MS_REMOUNT, CLONE_NEWNS, CLONE_NEWUSER = 32, 0x00020000, 0x10000000
#: Python's audit events for changes of files, and how many of their arguments are paths
START = "kgrec.crash.start"  #: the touch 0, before the command
TOUCHES = {
    START: 1,
    "open": 1,
    "os.mkdir": 1,
    "os.rename": 2,
    "os.link": 2,
    "os.remove": 1,
    "os.rmdir": 1,
    "os.chmod": 1,
}
MAKING = ("os.mkdir", "os.link")  #: events that need disk space, like the opening of a new file

NO_SPACE, LONG_FILE, FULL_DISK = "no space", "long file", "full disk"
SIGNALS = {"KILL": signal.SIGKILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT, "HUP": signal.SIGHUP}


@dataclass(frozen=True)
class Ending:
    """How a command is ended.

    kind: one of SIGNALS; `no space`: from one touch on, creating files fails; `long file`: the system refuses to write
    files longer than `limit`; `full disk`: the folder is a volume of `limit` bytes.
    """

    kind: str
    touch: int = 0  #: number of the touch at which it is ended, from 0
    delay: float = 0.0  #: seconds after that touch; 0: instead of the touch
    limit: int = 0  #: size of a file or of a volume, in bytes
    new: bool = False  #: start `python -m kgrec` as a new process and end it `delay` seconds after its start

    def __str__(self) -> str:
        if self.new:
            return f"{self.kind} of a new process after {self.delay:.3f} s"
        if self.kind in (FULL_DISK, LONG_FILE):
            return f"{self.kind} of {self.limit} bytes"
        return f"{self.kind} at touch {self.touch}" + (f" and {self.delay:.3f} s" if self.delay else "")


@dataclass(frozen=True)
class Ended:
    """The outcome of a command."""

    code: int  #: exit code as in a shell: 128 + the signal's number if a signal ended the process
    said: str  #: what it wrote to stderr
    touches: list[tuple[float, str, str]] = field(default_factory=list)  #: (seconds from the start, event, path)
    seconds: float = 0.0
    was_hit: bool = False  #: whether the chosen moment came before the command's end
    stayed: bool = False  #: whether one of its processes remained after its end


def run(arguments: Sequence[str], folder: Path, ending: Ending | None = None, threads: int = 1) -> Ended:
    """Run `kgrec ARGUMENTS` in a folder, and end it as `ending` says."""
    if ending is not None and ending.new:
        return _new_process(arguments, folder, ending)
    said, moment, report = _pipe(), _pipe(), _pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        _become(arguments, folder, ending, threads, said[1], moment[1], report[1])
    for pipe in (said, moment, report):
        os.close(pipe[1])
    begun, process = time.perf_counter(), os.pidfd_open(child)
    hit = False
    if ending is not None and ending.kind in SIGNALS:
        # the moment's pipe closes at the child's end at the latest
        select.select([moment[0]], [], [], LONGEST)
        hit = os.read(moment[0], 1) == b"x"
        if hit and ending.delay:
            hit = not select.select([process], [], [], ending.delay)[0]
            if hit:
                os.kill(child, SIGNALS[ending.kind])
    if not select.select([process], [], [], LONGEST)[0]:
        os.killpg(child, signal.SIGKILL)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if ending is not None and ending.kind == "KILL" and ending.delay and code >= 0:
        hit = False  # it was at its end, and only not waited for yet
    seconds = time.perf_counter() - begun
    stayed = _stays(child)
    written, rest = _all(said[0]), _all(report[0])
    for descriptor in (process, said[0], moment[0], report[0]):
        os.close(descriptor)
    touches = [(when, what, path) for when, what, path in json.loads(rest)] if rest else []
    return Ended(code if code >= 0 else 128 - code, written, touches, seconds, hit, stayed)


def prepare_numba() -> None:
    """Fill numba's tables of what it knows, which starts no thread. Else every forked process does so before its first
    kernel, for longer than many a command takes."""
    from numba.core.registry import cpu_target

    cpu_target.typing_context.refresh()
    cpu_target.target_context.refresh()


def in_fork(work: Callable[[], Any]) -> Any:
    """Run a function in a forked process and return its result, passed as JSON. Raises RuntimeError if it fails."""
    found = _pipe()
    child = os.fork()
    if child == 0:
        try:
            answer = {"found": work()}
        except BaseException:
            answer = {"broken": traceback.format_exc()}
        os.write(found[1], json.dumps(answer).encode())
        os._exit(0)
    os.close(found[1])
    os.waitpid(child, 0)
    answer = json.loads(_all(found[0]))
    os.close(found[0])
    if "broken" in answer:
        raise RuntimeError(answer["broken"])
    return answer["found"]


def in_small_volume(place: Path, trial: Callable[[Callable[[int], None]], dict[str, Any]]) -> dict[str, Any] | None:
    """Run a function in a process in which `place` is a volume in memory, and return its result. Its argument is a
    function that sets the size of the volume, in bytes. Returns None if this system does not allow it."""
    return in_fork(lambda: trial(lambda size: _resize(place, size)) if _mount(place) else None)


def _become(
    arguments: Sequence[str], folder: Path, ending: Ending | None, threads: int, said: int, moment: int, report: int
) -> None:
    """Turn this process into the command, until it ends."""
    code, touches = 1, list[tuple[float, str, str]]()
    try:
        os.setpgid(0, 0)
        os.chdir(folder)
        nothing = os.open(os.devnull, os.O_RDWR)
        for to, descriptor in ((0, nothing), (1, nothing), (2, said)):
            os.dup2(descriptor, to)
        sys.stdout, sys.stderr = (open(to, "w", encoding="utf-8", closefd=False) for to in (1, 2))  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        _use_threads(threads)
        if ending is not None and ending.kind == LONG_FILE:
            resource.setrlimit(resource.RLIMIT_FSIZE, (ending.limit, ending.limit))
        sys.argv = ["kgrec", *arguments]
        _watch(folder, ending, moment, touches)
        from kgrec.cli.entry import main

        try:
            main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:
            traceback.print_exc()
            code = 128 + signal.SIGINT
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
        if ending is None:
            os.write(report, json.dumps(touches).encode())
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


def _watch(folder: Path, ending: Ending | None, moment: int, touches: list[tuple[float, str, str]]) -> None:
    """Count the touches of files in the folder and of temporary files, and end this process at the chosen one."""
    begun, place, seen, done = time.perf_counter(), f"{folder}/", 0, False
    places = (place, f"{tempfile.gettempdir()}/")

    def hook(event: str, args: tuple[Any, ...]) -> None:
        nonlocal seen, done
        if event not in TOUCHES or isinstance(args[0], int):
            return
        paths = [os.path.normpath(folder / os.fsdecode(one)) for one in args[: TOUCHES[event]]]
        if not any(path.startswith(places) for path in paths):
            return
        number, seen = seen, seen + 1
        if ending is None:
            touches.append((time.perf_counter() - begun, event, paths[-1].removeprefix(place)))
        elif ending.kind == NO_SPACE:
            makes = event in MAKING or (event == "open" and args[2] & os.O_CREAT)
            if (number >= ending.touch and makes) or (number == ending.touch and event == "os.rename"):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        elif ending.kind in SIGNALS and number == ending.touch and not done:
            done = True
            os.write(moment, b"x")
            if not ending.delay:
                os.kill(os.getpid(), SIGNALS[ending.kind])

    sys.addaudithook(hook)
    sys.audit(START, place + START)


def _use_threads(threads: int) -> None:
    import numba
    import torch

    torch.set_num_threads(threads)
    numba.set_num_threads(min(threads, numba.config.NUMBA_NUM_THREADS))


def _new_process(arguments: Sequence[str], folder: Path, ending: Ending) -> Ended:
    def default_signals() -> None:
        os.setpgid(0, 0)
        signal.signal(signal.SIGINT, signal.default_int_handler)

    command = [sys.executable, "-m", "kgrec", *arguments]
    begun = time.perf_counter()
    process = subprocess.Popen(
        command, cwd=folder, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=-1, text=True,
        preexec_fn=default_signals, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])},
    )  # fmt: skip
    hit = False
    try:
        said = process.communicate(timeout=ending.delay)[1]
    except subprocess.TimeoutExpired:
        hit = True
        process.send_signal(SIGNALS[ending.kind])
        said = process.communicate(timeout=LONGEST)[1]
    code = process.returncode
    return Ended(
        code if code >= 0 else 128 - code, said, [], time.perf_counter() - begun, hit, stayed=_stays(process.pid)
    )


def _stays(group: int) -> bool:
    """Whether a process group still has a process a moment after its first one has ended. Such a process is killed."""
    for _ in range(20):
        if not _is_alive(group):
            return False
        time.sleep(0.1)
    os.killpg(group, signal.SIGKILL)
    return True


def _is_alive(group: int) -> bool:
    """Whether a process group has a process that is still running; zombies do not count."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    for file in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, of = file.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue  # it has ended meanwhile
        if int(of) == group and state != "Z":
            return True
    return False


def _pipe() -> tuple[int, int]:
    ends = os.pipe()
    fcntl.fcntl(ends[1], F_SETPIPE_SZ, PIPE)
    return ends


def _all(descriptor: int) -> str:
    parts = []
    while part := os.read(descriptor, PIPE):
        parts.append(part)
    return b"".join(parts).decode(errors="backslashreplace")


def _mount(place: Path) -> bool:
    """Mount an empty volume in memory at a folder, for this process and those that it starts."""
    system, user, group = ctypes.CDLL(None, use_errno=True), os.getuid(), os.getgid()
    if system.unshare(CLONE_NEWUSER | CLONE_NEWNS):
        return False
    try:
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"{user} {user} 1")
        Path("/proc/self/gid_map").write_text(f"{group} {group} 1")
    except OSError:
        return False
    return not system.mount(b"none", os.fsencode(place), b"tmpfs", 0, b"size=1g")


def _resize(place: Path, size: int) -> None:
    system = ctypes.CDLL(None, use_errno=True)
    if system.mount(b"none", os.fsencode(place), b"tmpfs", MS_REMOUNT, f"size={size}".encode()):
        raise OSError(ctypes.get_errno(), f"{place} cannot be given {size} bytes")

"""Runs Python programs, each in a process of its own that is forked from this one. This one has imported kgrec and
computed nothing: so a command of kgrec starts at once, and is a process like any other.

Reads a line of JSON for each program: code, arguments, out and err (named pipes), bytes_a_file (null: no limit), and
first, modules that are imported here first: this one, and all programs from then on, have them.
Answers with the number of its process as it begins, and with its exit code, negative for a signal, as it ends.
"""

from __future__ import annotations

import atexit
import importlib
import json
import os
import resource
import signal
import sys
import threading
import traceback
from collections.abc import Iterable
from typing import Any

IMPORTED = (
    *("kgrec.cli.entry", "kgrec.run", "kgrec.sources.building", "kgrec.serving.recommendation", "kgrec.cli.train"),
    *("kgrec.cli.build", "kgrec.cli.recommend", "kgrec.models.mf", "kgrec.models.popularity"),
    *("rich.table", "pyarrow.csv", "pyarrow.parquet", "pyoxigraph"),
)


def serve() -> None:
    from numba.core.registry import cpu_target

    from kgrec.training.processes import _versions_alone

    def imported(names: Iterable[str]) -> None:
        with _versions_alone("torchmetrics"):
            for name in names:
                importlib.import_module(name)

    imported(IMPORTED)
    for context in (cpu_target.typing_context, cpu_target.target_context):
        context.refresh()  # numba's tables, which every program would else fill before its first kernel
    for line in sys.stdin:
        program = json.loads(line)
        imported(program.pop("first"))
        out, err = (os.open(program.pop(name), os.O_WRONLY) for name in ("out", "err"))
        child = os.fork()
        if child == 0:
            become(out=out, err=err, **program)
        os.close(out)
        os.close(err)
        print(child, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)


def become(code: str, arguments: list[str], out: int, err: int, bytes_a_file: int | None) -> None:
    """Turn this process into the program, until it ends."""
    exit_code = 1
    try:
        for to, descriptor in ((0, os.open(os.devnull, os.O_RDONLY)), (1, out), (2, err)):
            os.dup2(descriptor, to)
        os.close(out)
        os.close(err)
        sys.stdout, sys.stderr = (open(to, "w", encoding="utf-8", closefd=False) for to in (1, 2))  # noqa: SIM115
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number in (signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, signal.SIG_DFL)
        if bytes_a_file is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_a_file, bytes_a_file))
        sys.argv = ["-c", *arguments]
        names: dict[str, Any] = {"__name__": "__main__"}
        try:
            exec(compile(code, "<program>", "exec"), names)
            exit_code = 0
        except SystemExit as end:
            exit_code = end.code if isinstance(end.code, int) else int(end.code is not None)
        except KeyboardInterrupt:
            traceback.print_exc()
            exit_code = 128 + signal.SIGINT
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(exit_code)


if __name__ == "__main__":
    serve()

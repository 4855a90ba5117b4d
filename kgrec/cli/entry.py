"""The kgrec command: thin; every option is a field of a config or an argument of a library function."""

from __future__ import annotations

import atexit
import io
import logging
import math
import os
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import typer
from typer.core import TyperGroup

from kgrec._deprecation import FormerName
from kgrec.cli.adopt import adopt
from kgrec.cli.backtest import backtest
from kgrec.cli.build import build
from kgrec.cli.check import check
from kgrec.cli.compare import compare
from kgrec.cli.doctor import doctor_command
from kgrec.cli.evaluate import evaluate
from kgrec.cli.generate import generate
from kgrec.cli.info import info
from kgrec.cli.models import models
from kgrec.cli.output import note, status
from kgrec.cli.predict import predict
from kgrec.cli.print_schema import schema
from kgrec.cli.recommend import recommend
from kgrec.cli.robustness import robustness
from kgrec.cli.train import train
from kgrec.errors import KgrecError
from kgrec.printable import printable

# what its parsers find odd is logged with the term as it came, control characters and all
logging.getLogger("rdflib").addHandler(logging.NullHandler())

SECONDS_TO_CLEAN = 5.0  #: for which a further signal is not heeded
SECONDS_TO_RAISE = 0.02  #: until a signal that came where nothing can be raised is raised again


def wait_briefly() -> None:
    """Let OpenMP's threads spin some microseconds and then sleep; to be called before torch starts.

    By default they never stop spinning, and a batch takes ten times as long where another process shares the cores.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


class CleanGroup(TyperGroup):
    """Commands whose usage errors repeat what was typed with control characters escaped."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with escaped_messages():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with escaped_messages():
            return super().invoke(ctx)


@contextmanager
def escaped_messages() -> Iterator[None]:
    """While this lasts, the message of a usage error is made fit for a terminal."""
    try:
        yield
    except Exception as error:
        message = getattr(error, "message", None)
        if hasattr(error, "format_message") and isinstance(message, str):
            vars(error)["message"] = printable(message, "\n")
        raise


app = typer.Typer(
    name="kgrec",
    cls=CleanGroup,
    help="Files to one graph, models on it, recommendations in your own ids.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)

#: By name, in the order that `kgrec --help` lists them
COMMANDS: dict[str, Callable[..., None]] = {
    "build": build,
    "adopt": adopt,
    "info": info,
    "check": check,
    "schema": schema,
    "doctor": doctor_command,
    "models": models,
    "train": train,
    "evaluate": evaluate,
    "compare": compare,
    "backtest": backtest,
    "robustness": robustness,
    "recommend": recommend,
    "predict": predict,
    "generate": generate,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


class Stopped(SystemExit):
    """A signal asked the command to end; the exit code is 128 and the signal's number, as shells say it."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@contextmanager
def stopped_cleanly() -> Iterator[None]:
    """While this lasts, Ctrl-C, SIGTERM, and SIGHUP when a terminal is closed, end the command with Stopped: what is
    half-written is removed. A single operation of torch that is under way comes to its end first.

    Where Python ignores what is raised, in a callback from C or in a destructor, it is raised again a moment later.
    """
    stopped_at = -math.inf

    def stop(number: int, _: object) -> None:
        nonlocal stopped_at
        if time.monotonic() - stopped_at < SECONDS_TO_CLEAN:
            return  # `timeout`, for one, sends it twice
        stopped_at = time.monotonic()
        raise Stopped(number)

    def not_ignored(ignored: Any) -> None:
        nonlocal stopped_at
        if not isinstance(ignored.exc_value, Stopped):
            show_ignored(ignored)
            return
        stopped_at = -math.inf
        again = threading.Timer(SECONDS_TO_RAISE, os.kill, (os.getpid(), ignored.exc_value.number))
        again.daemon = True
        again.start()

    in_main = threading.current_thread() is threading.main_thread()  # where alone handlers can be set
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {one: signal.getsignal(one) for one in usual}
    numbers = [one for one in usual if in_main and before[one] == usual[one]]
    for one in numbers:
        signal.signal(one, stop)
    show_ignored, sys.unraisablehook = sys.unraisablehook, not_ignored
    try:
        yield
    except Exception as error:  # of what was interrupted, in the place of the interruption
        stopped = _stopped_within(error)
        if stopped is None:
            raise
        raise stopped from None
    finally:
        sys.unraisablehook = show_ignored
        for one in numbers:
            signal.signal(one, before[one])


def _stopped_within(error: BaseException | None) -> Stopped | None:
    """The signal during whose handling an error was raised, such as by code that closes what it has not opened yet."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error


def main() -> None:
    """The entry point: what cannot be done is said in one message, with exit code 1; a signal's code is 128 + its
    number."""
    # Ctrl-C while Python ends is no traceback
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    try:
        with stopped_cleanly(), former_names_as_notes():
            wait_briefly()
            for name in ("stdout", "stderr"):
                if getattr(sys, name) is None:  # it was closed, as by `>&-`
                    setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # what its encoding lacks is written as an escape
                    stream.reconfigure(errors="backslashreplace")
            try:
                app()
            finally:
                sys.stdout.flush()  # here, where a full disk is an error as any other
    except Stopped:
        status("stopped by a signal; nothing is left half-written")
        raise
    except KgrecError as error:
        status(f"error: {error}")
        sys.exit(1)
    except OSError as error:
        status(f"error: {error.filename or ''} {error.strerror or error}".replace("  ", " "))
        sys.exit(1)


@contextmanager
def former_names_as_notes() -> Iterator[None]:
    """While this lasts, warnings of former names, which Python hides by default, are notes on stderr, once each."""
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, FormerName):
            usual(message, category, *where, **more)
        elif str(message) not in shown:
            shown.add(str(message))
            note(str(message))

    with warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.showwarning = show
        warnings.simplefilter("always", FormerName)
        yield

"""The kgrec command. It is thin: every option is a field of a config or an argument of a library function."""

from __future__ import annotations

import atexit
import functools
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
from kgrec.cli.audit import audit
from kgrec.cli.backtest import backtest
from kgrec.cli.before_torch import add_up_alike, wait_briefly
from kgrec.cli.build import build
from kgrec.cli.check import check
from kgrec.cli.compare import compare
from kgrec.cli.cycles import collecting_less
from kgrec.cli.demo import demo
from kgrec.cli.doctor import doctor_command
from kgrec.cli.evaluate import evaluate
from kgrec.cli.explain import explain
from kgrec.cli.generate import generate
from kgrec.cli.index import index
from kgrec.cli.info import info
from kgrec.cli.init import init
from kgrec.cli.link import link
from kgrec.cli.models import models
from kgrec.cli.output import note, status
from kgrec.cli.predict import predict
from kgrec.cli.print_schema import schema
from kgrec.cli.recommend import recommend
from kgrec.cli.report_runs import report
from kgrec.cli.robustness import robustness
from kgrec.cli.serve import key, serve
from kgrec.cli.similar import similar
from kgrec.cli.train import train
from kgrec.cli.tune import tune
from kgrec.errors import KgrecError, TrackingWarning
from kgrec.printable import printable

# rdflib's parsers log a strange term as it is, with its control characters
logging.getLogger("rdflib").addHandler(logging.NullHandler())

SECONDS_TO_CLEAN = 5.0  #: after a signal, how long further signals are ignored
SECONDS_TO_RAISE = 0.02  #: how long to wait before raising a signal again that came where Python ignores exceptions


class CleanGroup(TyperGroup):
    """A group of commands. Its usage errors show what the user typed with control characters escaped."""

    def make_context(self, *args: Any, **extra: Any) -> Any:
        with escaped_messages():
            return super().make_context(*args, **extra)

    def invoke(self, ctx: Any) -> Any:
        with escaped_messages():
            return super().invoke(ctx)


@contextmanager
def escaped_messages() -> Iterator[None]:
    """Inside this context, control characters in the message of a usage error are escaped."""
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
    help="Build one graph from your files, train recommender models on it, and get recommendations with your own ids.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
    rich_markup_mode="rich",
)

#: Name -> command, in the order in which `kgrec --help` lists them
COMMANDS: dict[str, Callable[..., None]] = {
    "init": init,
    "build": build,
    "adopt": adopt,
    "link": link,
    "info": info,
    "check": check,
    "schema": schema,
    "doctor": doctor_command,
    "models": models,
    "train": train,
    "tune": tune,
    "evaluate": evaluate,
    "compare": compare,
    "report": report,
    "backtest": backtest,
    "robustness": robustness,
    "audit": audit,
    "recommend": recommend,
    "similar": similar,
    "explain": explain,
    "predict": predict,
    "generate": generate,
    "index": index,
    "serve": serve,
    "key": key,
    "demo": demo,
}
for name, command in COMMANDS.items():
    app.command(name)(command)


@functools.cache
def whole_command() -> Callable[..., None]:
    """The `kgrec` command with all its subcommands, which are built once in a process."""
    return typer.main.get_command(app)


class Stopped(SystemExit):
    """A signal asked the command to end. The exit code is 128 plus the signal's number, as in shells."""

    def __init__(self, number: int) -> None:
        super().__init__(128 + number)
        self.number = number


@contextmanager
def stopped_cleanly() -> Iterator[None]:
    """Inside this context, Ctrl-C, SIGTERM and SIGHUP (a closed terminal) end the command with Stopped. Half-written
    files are removed. A torch operation that is running is finished first.

    Python ignores exceptions in a callback from C or in a destructor. There, Stopped is raised again a moment later.
    """
    stopped_at = -math.inf

    def stop(number: int, _: object) -> None:
        nonlocal stopped_at
        if time.monotonic() - stopped_at < SECONDS_TO_CLEAN:
            return  # `timeout`, for example, sends it twice
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

    in_main = threading.current_thread() is threading.main_thread()  # only there can handlers be set
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGTERM: signal.SIG_DFL, signal.SIGHUP: signal.SIG_DFL}
    before = {one: signal.getsignal(one) for one in usual}
    numbers = [one for one in usual if in_main and before[one] == usual[one]]
    for one in numbers:
        signal.signal(one, stop)
    show_ignored, sys.unraisablehook = sys.unraisablehook, not_ignored
    try:
        yield
    except Exception as error:  # the interrupted code may raise its own error in place of Stopped
        stopped = _stopped_within(error)
        if stopped is None:
            raise
        for text in getattr(error, "__notes__", ()):
            stopped.add_note(text)
        raise stopped from None
    finally:
        sys.unraisablehook = show_ignored
        for one in numbers:
            signal.signal(one, before[one])


def _stopped_within(error: BaseException | None) -> Stopped | None:
    """The Stopped that led to an error, if one did: code that is interrupted may close what it has not opened yet."""
    while error is not None and not isinstance(error, Stopped):
        error = error.__context__
    return error


def main() -> None:
    """The entry point. An error is one message on stderr and exit code 1; a signal gives exit code 128 + its number."""
    # Ctrl-C while Python shuts down ends without a traceback
    atexit.register(signal.signal, signal.SIGINT, signal.SIG_DFL)
    try:
        with collecting_less(), stopped_cleanly(), warnings_as_notes():
            wait_briefly()
            add_up_alike()
            for name in ("stdout", "stderr"):
                if getattr(sys, name) is None:  # the shell closed it, as with `>&-`
                    setattr(sys, name, Path(os.devnull).open("w", encoding="utf-8"))  # noqa: SIM115
            for stream in (sys.stdout, sys.stderr):
                if isinstance(stream, io.TextIOWrapper):  # characters outside its encoding are written as escapes
                    stream.reconfigure(errors="backslashreplace")
            refuse_several(sys.argv[1:2])
            try:
                whole_command()()
            finally:
                sys.stdout.flush()  # here a full disk is reported like any other error
    except Stopped as stopped:
        if os.environ.get("LOCAL_RANK", "0") == "0":  # one process of a machine says it
            status("stopped by a signal; no half-written files are left")
            for advice in getattr(stopped, "__notes__", ()):
                status(advice)
        raise
    except KgrecError as error:
        if not getattr(error, "quiet", False):  # another process says it
            status(f"error: {error}")
        if getattr(error, "ends_at_once", False):  # threads wait for others that are lost
            sys.stdout.flush()
            os._exit(1)
        sys.exit(1)
    except OSError as error:
        if getattr(error, "quiet", False):
            sys.exit(1)
        status(f"error: {error.filename or ''} {error.strerror or error}".replace("  ", " "))
        sys.exit(1)


def refuse_several(words: list[str]) -> None:
    """Raise KgrecError if this is one of several processes, as of torchrun, and the command is not for them. words: the
    command."""
    if os.environ.get("RANK", "") == "" or os.environ.get("WORLD_SIZE", "1") == "1":
        return
    if words[0:1] != ["train"] and words[0:1] and words[0] in COMMANDS:
        error = KgrecError(
            f"kgrec {words[0]} runs in one process, but this is one of {os.environ['WORLD_SIZE']} that torchrun has "
            "started; only kgrec train trains in several: leave torchrun out"
        )
        vars(error)["quiet"] = os.environ.get("LOCAL_RANK", "0") != "0"
        raise error


@contextmanager
def warnings_as_notes() -> Iterator[None]:
    """Inside this context, a warning about a former name, or about what follows a training, is a note on stderr, once
    each. Python hides the first by default."""
    shown: set[str] = set()

    def show(message: Warning | str, category: type[Warning], *where: Any, **more: Any) -> None:
        if not issubclass(category, FormerName | TrackingWarning):
            usual(message, category, *where, **more)
        elif str(message) not in shown:
            shown.add(str(message))
            note(str(message))

    with warnings.catch_warnings():
        usual = warnings.showwarning
        warnings.showwarning = show
        warnings.simplefilter("always", FormerName)
        warnings.simplefilter("always", TrackingWarning)
        yield

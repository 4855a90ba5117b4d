"""What a person sees of a long command: on a terminal, in a pipe, with --quiet, after Ctrl-C, and what to do next."""

import fcntl
import io
import os
import pty
import re
import shlex
import struct
import sys
import termios
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from typing import TextIO

import pytest

from kgrec import cli
from kgrec.cli import live_line
from kgrec.cli.live_line import LiveLine
from kgrec.progress import Task, watched, working

SHOP = Path(__file__).parent.parent / "graphs/shop/shop.yaml"
TRAINED = ("--epochs", "3", "--set", "dim=4")

#: A program that runs a command of kgrec on a terminal of its own, 80 columns wide, and prints what arrives there. The
#: arguments: a text at which Ctrl-C is pressed ("": never), and the command's
ON_A_TERMINAL = """
import fcntl, os, pty, signal, struct, sys, termios, threading
from kgrec.cli import live_line, main

real, (master, slave) = os.dup(1), pty.openpty()
fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
for number in (1, 2):
    os.dup2(slave, number)
os.environ["TERM"] = "xterm"
os.environ.pop("NO_COLOR", None)
live_line.SECONDS_BEFORE, live_line.SECONDS_BETWEEN = 0.0, 0.003
at, sys.argv, seen = sys.argv[1].encode(), ["kgrec", *sys.argv[2:]], b""

def read():
    global seen, at
    while not seen.endswith(b"THE END"):
        seen += os.read(master, 65536)
        if at and at in seen:
            at = b""
            os.kill(os.getpid(), signal.SIGINT)

reader = threading.Thread(target=read)
reader.start()
try:
    main()
finally:
    sys.stdout.flush()
    sys.stderr.flush()
    os.write(slave, b"THE END")
    reader.join()
    os.write(real, seen.removesuffix(b"THE END"))
"""


def shown(text: str) -> list[str]:
    """The lines that stand on a terminal after a text of lines, returns and erasures."""
    lines = []
    for line in text.replace("\r\n", "\n").split("\n"):
        left = ""
        for part in line.replace("\x1b[K", "\r\x1b").split("\r"):
            erased = part.startswith("\x1b")
            part = part.removeprefix("\x1b")
            left = part if erased or len(part) >= len(left) else part + left[len(part) :]
        lines.append(left)
    return lines


def kgrec(*words: object) -> tuple[int, str, str]:
    """Run the command in this process, with stdout and stderr that are no terminals: its exit code, and both."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kgrec", *map(str, words)])
        try:
            cli.main()
            code = 0
        except SystemExit as end:
            code = end.code if isinstance(end.code, int) else 0
    return code, out.getvalue(), err.getvalue()


def epochs(text: str) -> list[str]:
    """The lines of epochs, without their seconds."""
    return [re.sub(r"  [\d.]+ s", "", line) for line in text.splitlines() if line.startswith("epoch ")]


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    from kgrec.sources.building import build_to

    folder = tmp_path_factory.mktemp("watching") / "my shop.graph"
    build_to(SHOP, None, folder)
    return folder


@pytest.fixture
def terminal(monkeypatch) -> Iterator[tuple[TextIO, Callable[[], str]]]:
    """A terminal of 40 columns, and a function that gives what arrived there so far."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 40, 0, 0))
    got = bytearray()

    def read() -> None:
        with suppress(OSError):  # the other end is closed
            while found := os.read(master, 65536):
                got.extend(found)

    threading.Thread(target=read, daemon=True).start()
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.delenv("NO_COLOR", raising=False)
    for name, value in (("SECONDS_BEFORE", 0.0), ("SECONDS_BETWEEN", 0.001)):
        monkeypatch.setattr(live_line, name, value)
    with os.fdopen(slave, "w") as stream:
        yield stream, lambda: got.decode()


def wait_for(text: Callable[[], str], wanted: str) -> None:
    until = time.monotonic() + 60
    while wanted not in text():
        assert time.monotonic() < until, text()
        time.sleep(0.002)


# ---------------------------------------------------------------------- the line


def test_what_is_printed_goes_above_the_line_and_nothing_is_left_of_it(terminal, monkeypatch):
    line, (stream, arrived) = LiveLine(), terminal
    monkeypatch.setattr(sys, "stderr", stream)
    with watched(line), working(Task("ranking", 4_000, "users")) as task:
        task.reach(1_000)
        wait_for(arrived, "\rranking  1,000/4,000 users")
        print("note: of a step", file=sys.stderr)
        with working(Task("a task with a name that is too long for this terminal")):
            wait_for(arrived, "a task with a name that is too long...\x1b[K")
    assert sys.stderr is stream
    wait_for(arrived, "\r\x1b[K")
    text = arrived()
    assert shown(text) == ["note: of a step", ""]
    assert max(len(part) for part in re.split(r"\r|\n|\x1b\[K", text)) < 40
    assert not re.search(r"\x1b(?!\[K)", text)  # no colors, and the cursor is never hidden
    line.begins(Task("another"))
    line.close()
    assert sys.stderr is stream


def test_where_a_line_is_drawn(terminal, monkeypatch):
    def live(**environment: str) -> bool:
        with pytest.MonkeyPatch.context() as patch:
            for name, value in environment.items():
                patch.setenv(name, value)
            return live_line.is_live()

    read, write = os.pipe()
    with os.fdopen(read), os.fdopen(write, "w") as pipe:
        monkeypatch.setattr(sys, "stderr", terminal[0])
        assert live() and not live(TERM="dumb") and not live(NO_COLOR="1")
        monkeypatch.setattr(sys, "stderr", pipe)
        assert not live()
        monkeypatch.setattr(sys, "stderr", terminal[0])
        monkeypatch.setattr(sys, "stdout", pipe)  # as in `kgrec recommend --json | less`
        assert not live()


def test_elsewhere_long_work_is_a_plain_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(live_line, "SECONDS_OF_LINES", 0.0)
    monkeypatch.setattr(live_line, "SECONDS_PLAIN", 0.001)
    with watched(LiveLine()), working(Task("ranking", 4_000, "users")):
        printed = list[str]()
        wait_for(lambda: printed.append(capsys.readouterr().err) or "".join(printed), "\n")
    assert set("".join(printed).splitlines()) == {"ranking  0/4,000 users"}


# ---------------------------------------------------------------------- commands


def test_a_training_on_a_terminal_shows_a_line_and_leaves_what_a_pipe_gets(shop, tmp_path, command, forked):
    piped = command("train", "mf", shop, *TRAINED, "--out", tmp_path / "a.run")
    assert len(epochs(piped.stderr)) == 3 and "\r" not in piped.stderr and "\x1b" not in piped.stderr + piped.stdout
    assert re.fullmatch(r"epoch 1  loss \d\.\d{4}  ndcg@10 0\.\d{4}  best", epochs(piped.stderr)[0])
    done = forked(ON_A_TERMINAL, "", "train", "mf", shop, *TRAINED, "--out", tmp_path / "b.run").ended()
    assert done.returncode == 0, done.stdout
    assert epochs("\n".join(shown(done.stdout))) == epochs(piped.stderr)
    drawn = [part for part in re.split(r"[\r\n]+", done.stdout) if part.startswith("epoch 2/3  ")]
    assert drawn and all(len(part.removesuffix("\x1b[K")) < 80 for part in drawn)
    assert any(re.search(r"ndcg@10 0\.\d{4}  best 0\.\d{4}", part) for part in drawn)
    assert "\x1b[?25l" not in done.stdout and "?25" not in done.stdout


def test_quiet_prints_results_alone(shop, tmp_path):
    words = ("train", "mf", shop, *TRAINED, "--out", tmp_path / "a.run", "--quiet")
    code, out, err = kgrec(*words)
    assert (code, err) == (0, "") and "ndcg@10" in out
    code, out, err = kgrec(*words)
    assert (code, out) == (1, "") and err.startswith("error: ") and "epoch" not in err
    _, out, err = kgrec(*words[:-1], "--overwrite")
    assert len(epochs(err)) == 3 and "; next:" in err and "; next:" not in out


def test_ctrl_c_leaves_a_clean_terminal_and_says_how_to_go_on(shop, tmp_path, command, forked):
    out = tmp_path / "it's mine.run"
    arguments = ("train", "mf", shop, "--epochs", "12", "--patience", "12", "--set", "dim=4", "--out", out)
    done = forked(ON_A_TERMINAL, "epoch  2  loss", *arguments).ended()
    lines = shown(done.stdout)
    assert done.returncode == 130 and "stopped by a signal; no half-written files are left" in lines
    (advice,) = (line for line in lines if line.startswith("to go on: kgrec "))
    assert not any(re.match(r"epoch \d+/12", line) for line in lines)
    going_on = command(*shlex.split(advice.removeprefix("to go on: kgrec ")))
    assert going_on.returncode == 0, going_on.stderr
    assert epochs(going_on.stderr)[0].startswith(("epoch  2 ", "epoch  3 ", "epoch  4 "))


def test_commands_that_are_proposed_can_be_pasted(tmp_path):
    """From a build to a comparison, in a folder whose name the shell would split."""
    folder = tmp_path / "it's my shop"
    folder.mkdir()

    def done(*words: object) -> tuple[str, list[list[str]]]:
        """What is printed, and the commands that are proposed."""
        code, out, err = kgrec(*words)
        assert code == 0, err
        after = err.partition("; next:\n")[2].splitlines()
        return out, [shlex.split(line)[1:] for line in after if line.startswith("  kgrec ")]

    _, (info, first) = done("build", SHOP, "--out", folder / "shop.graph")
    assert (info[0], first[:2]) == ("info", ["train", "ease"])
    done(*info)
    graph, run = folder / "shop.graph", folder / "popularity.run"
    _, (evaluate, recommend, train, compare) = done("train", "popularity", graph, "--out", run)
    assert [words[0] for words in (evaluate, recommend, train, compare)] == [
        "evaluate",
        "recommend",
        "train",
        "compare",
    ]
    done(*evaluate)
    assert recommend[-1] in done(*recommend)[0]  # the user's id
    _, (*_, again) = done(*train)
    assert again == ["compare", str(run), str(folder / "ease.run")]  # with the run that is there
    assert compare == ["compare", str(folder / "ease.run"), str(run)]
    done(*compare)


def test_what_comes_after_half_a_line_has_a_line_of_its_own(terminal, monkeypatch):
    stream, arrived = terminal
    monkeypatch.setattr(sys, "stderr", stream)
    line = LiveLine()
    task = Task("counting", 3)
    line.begins(task)
    sys.stderr.write("half of a li")
    line.ends(task)
    print("all of it", file=sys.stderr, flush=True)
    wait_for(arrived, "all of it\r\n")
    assert shown(arrived())[:2] == ["half of a li", "all of it"]

"""Kills, signals and full disks in the middle of a command: nothing partial, and what was there before stays whole."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch

from kgrec.cli.entry import Stopped, stopped_cleanly
from kgrec.drafts import put_back, remove_folder
from kgrec.errors import KgrecError
from kgrec.files import whole
from kgrec.graph import Graph
from kgrec.run import Run, train
from kgrec.settings import configure
from kgrec.sources.building import build_to
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import launch
from kgrec.training.tensor_files import save_tensors

ROOT = Path(__file__).parent.parent
SHOP = ROOT / "graphs/shop/shop.yaml"
OPTIONS = {"split": "last_n:1,valid=1", "config": {"dim": 4}, "training": {"epochs": 4, "device": "cpu"}}


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("interruptions") / "shop.graph"
    build_to(SHOP, None, folder)
    return folder


def train_options() -> dict:
    return OPTIONS | {"training": configure(TrainingConfig, OPTIONS["training"])}


#: A program whose second rename of a folder called as argument 1 prints a line and waits: argument 2 says what to do
BETWEEN_RENAMES = """
import sys, time
from functools import partial
from pathlib import Path
name, graph, out = sys.argv[1:]
rename, seen = Path.rename, []
def slow(self, target):
    done = rename(self, target)
    if self.name == name and f".{name}.old-" in str(target):
        seen.append(target)
        print(target, flush=True)
        time.sleep(60)
    return done
Path.rename = slow
from kgrec.graph import Graph
from kgrec.run import train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
config = configure(TrainingConfig, {"epochs": 4, "device": "cpu"})
if name.endswith(".checkpoint"):
    train("mf", graph, split="last_n:1,valid=1", config={"dim": 4}, training=config, out=out)
else:
    Graph.load(graph).only("purchased").save(out, overwrite=True)
"""


@pytest.fixture
def killed_between_renames(forked) -> Callable[..., None]:
    """Kills the program between its two renames, when something is moved aside."""

    def kill(name: str, *arguments: object) -> None:
        program = forked(BETWEEN_RENAMES, name, *arguments)
        old = program.out.readline().strip()
        program.send_signal(signal.SIGKILL)
        assert program.ended().returncode == -signal.SIGKILL
        assert old and Path(old).exists()

    return kill


def test_a_training_killed_between_the_renames_of_its_checkpoint_is_gone_on_with(
    shop, tmp_path, killed_between_renames
):
    uncut = train("mf", shop, out=tmp_path / "uncut", **train_options())
    killed_between_renames("cut.checkpoint", shop, tmp_path / "cut")
    assert not (tmp_path / "cut.checkpoint").exists()
    resumed = train("mf", shop, out=tmp_path / "cut", resume=True, **train_options())
    assert uncut.metrics["test"] == resumed.metrics["test"]
    found, wanted = Run.load(tmp_path / "cut").model.state_dict(), uncut.model.state_dict()
    assert all(torch.equal(found[name], wanted[name]) for name in wanted)
    assert names(tmp_path) == ["cut", "uncut"]


def test_a_graph_whose_writer_was_killed_between_the_renames_is_read(shop, tmp_path, killed_between_renames):
    graph = Graph.load(shop)
    graph.save(tmp_path / "g")
    killed_between_renames("g", shop, tmp_path / "g")
    assert not (tmp_path / "g").exists()
    assert Graph.load(tmp_path / "g").content_hash() == graph.content_hash()
    with pytest.raises(KgrecError, match="exists already"):
        graph.save(tmp_path / "g")
    assert names(tmp_path) == ["g"]


LOCKING = """
import sys, time
from kgrec.files import whole
with whole(sys.argv[1]) as draft:
    draft.write_text("half")
    print(draft, flush=True)
    sys.stdin.readline()
    draft.write_text("whole")
"""


def test_a_draft_lives_as_long_as_its_writer_wherever_that_runs(tmp_path):
    """The writer is in a process namespace of its own where that is possible, so that its number says nothing here."""
    prefix = ["unshare", "--pid", "--fork"]
    if subprocess.run([*prefix, "true"], capture_output=True, check=False).returncode:
        prefix = []
    command = [*prefix, sys.executable, "-c", LOCKING, str(tmp_path / "list")]
    writers = [subprocess.Popen(command, stdin=-1, stdout=-1, text=True, cwd=ROOT) for _ in range(2)]
    drafts = [Path(writer.stdout.readline().strip()) for writer in writers]
    with whole(tmp_path / "list") as mine:
        mine.write_text("mine")
    assert all(draft.read_text() == "half" for draft in drafts) and drafts[0] != drafts[1]
    (tmp_path / "list").unlink()
    assert writers[0].communicate("go\n") and writers[0].returncode == 0
    assert (tmp_path / "list").read_text() == "whole"
    os.kill(writer_of(drafts[1]), signal.SIGKILL)
    writers[1].communicate()
    assert drafts[1].exists()
    with whole(tmp_path / "list", overwrite=True) as mine:
        mine.write_text("mine")
    assert names(tmp_path) == ["list"]


def writer_of(draft: Path) -> int:
    """The process, as it is called here, that has a draft's lock open."""
    lock = str(draft).replace(".part-", ".lock-")
    for link in Path("/proc").glob("[0-9]*/fd/*"):
        try:
            if str(link.readlink()) == lock:
                return int(link.parts[2])
        except OSError:
            continue
    raise AssertionError(f"nobody has {lock} open")


def test_where_there_are_no_locks_drafts_are_kept(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    for kind in ("part", "lock"):
        (tmp_path / f".out.{kind}-{'ab' * 8}").write_text("half")
    monkeypatch.setattr(fcntl, "flock", refused)
    with whole(tmp_path / "out") as draft:
        draft.write_text("mine")
    assert names(tmp_path) == [f".out.lock-{'ab' * 8}", f".out.part-{'ab' * 8}", "out"]
    monkeypatch.undo()
    with whole(tmp_path / "out", overwrite=True) as draft:
        draft.write_text("mine")
    assert names(tmp_path) == ["out"]


def test_what_cannot_be_put_back_is_said(tmp_path, monkeypatch):
    def refused(*_: object) -> None:
        raise PermissionError(errno.EACCES, "Permission denied")

    (tmp_path / f".out.old-{'ab' * 8}").mkdir()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "rename", refused)
        with pytest.raises(
            KgrecError, match=r"out was being replaced when its writer was killed; the complete former folder is at"
        ):
            put_back(tmp_path / "out")
    put_back(tmp_path / "out")
    assert names(tmp_path) == ["out"]
    remove_folder(tmp_path / "out")
    assert names(tmp_path) == []


def test_a_rename_that_is_refused_while_the_former_is_removed_is_tried_again(tmp_path, monkeypatch):
    usual, calls = Path.rename, []

    def refused(self: Path, target: Path) -> Path:
        calls.append(self)
        if len(calls) == 3:
            raise OSError(errno.ENOSPC, "No space left on device")
        return usual(self, target)

    for text in ("former", "new"):
        monkeypatch.setattr(Path, "rename", usual if text == "former" else refused)
        with whole(tmp_path / "out", overwrite=True) as draft:
            draft.mkdir()
            (draft / "a").write_text(text)
    assert names(tmp_path) == ["out"] and (tmp_path / "out/a").read_text() == "new" and len(calls) == 4


class Interrupted(BaseException):
    """What a signal's handler raises."""


@pytest.mark.parametrize("what", ["unlink", "rename"])
@pytest.mark.parametrize("call", [1, 2, 3])
def test_a_signal_at_any_step_of_a_replacement_leaves_the_former_or_the_new_alone(tmp_path, monkeypatch, what, call):
    """The signal comes instead of one of the renames or removals, and only once."""
    usual, calls = getattr(Path, what), []

    def interrupted(self: Path, *arguments: object, **options: object) -> object:
        calls.append(self)
        if len(calls) == call:
            raise Interrupted
        return usual(self, *arguments, **options)

    def write(text: str) -> None:
        with whole(tmp_path / "out", overwrite=True) as draft:
            draft.mkdir()
            (draft / "a").write_text(text)

    write("former")
    with monkeypatch.context() as patch:
        patch.setattr(Path, what, interrupted)
        try:
            write("new")
            ended_well = True
        except Interrupted:
            ended_well = False
    assert names(tmp_path) == ["out"]
    assert ended_well == (len(calls) < call)
    assert (tmp_path / "out/a").read_text() == ("former" if what == "rename" and call < 3 else "new")


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_files_have_the_modes_that_the_umask_says(tmp_path, umask):
    former = os.umask(umask)
    try:
        with whole(tmp_path / "out") as draft:
            draft.mkdir()
            (draft / "a").write_text("")
            save_tensors(draft / "b", {"x": torch.zeros(1)})
    finally:
        os.umask(former)
    assert {file.stat().st_mode & 0o777 for file in (tmp_path / "out").iterdir()} == {0o666 & ~umask}


#: Bytes a file at which the first checkpoint can be written, or the checkpoint and not the result, or nothing
@pytest.mark.parametrize("limit", [300, 12_000])
def test_a_training_on_a_full_disk_is_an_error_and_leaves_nothing_partial(shop, tmp_path, command, limit):
    arguments = ("train", "mf", shop, "--out", tmp_path / "m", "--set", "dim=4", "--epochs", "2", "--device", "cpu")
    done = command(*arguments, bytes_a_file=limit)
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "error: cannot write" in done.stderr and "File too large" in done.stderr
    left = names(tmp_path)
    assert left in ([], ["m.checkpoint"])
    if left:
        assert command(*arguments, "--resume").returncode == 0 and names(tmp_path) == ["m"]


def test_a_checkpoint_that_finds_no_room_leaves_the_one_before(shop, tmp_path, monkeypatch):
    from kgrec.training import checkpoint

    save, calls = checkpoint.save_tensors, []

    def full(path: Path, tensors: dict) -> None:
        calls.append(path)
        if len(calls) == 5:  # three files a checkpoint, and the second of the second
            path.write_bytes(b"half")
            raise OSError(errno.ENOSPC, "No space left on device")
        save(path, tensors)

    monkeypatch.setattr(checkpoint, "save_tensors", full)
    with pytest.raises(KgrecError, match=r"cannot write .*m.checkpoint: No space left on device"):
        train("mf", shop, out=tmp_path / "m", **train_options())
    assert names(tmp_path) == ["m.checkpoint"]
    assert json.loads((tmp_path / "m.checkpoint/state.json").read_text())["state"]["epoch"] == 1
    train("mf", shop, out=tmp_path / "m", resume=True, **train_options())
    assert names(tmp_path) == ["m"]


def test_building_and_recommending_on_a_full_disk(shop, tmp_path, command):
    done = command("build", SHOP, "--out", tmp_path / "g", bytes_a_file=2_000)
    assert done.returncode == 1 and "error: cannot write" in done.stderr and names(tmp_path) == []
    train("popularity", shop, out=tmp_path / "run", **(train_options() | {"config": {}}))
    whole = command("recommend", tmp_path / "run", "--users", "all", "--out", tmp_path / "whole.csv")
    assert whole.returncode == 0  # and kernels are compiled, which no full disk could keep
    (tmp_path / "whole.csv").unlink()
    for ending in ("csv", "parquet"):
        out = tmp_path / f"lists.{ending}"
        done = command("recommend", tmp_path / "run", "--users", "all", "--out", out, bytes_a_file=2_000)
        assert done.returncode == 1 and "error: cannot write" in done.stderr and names(tmp_path) == ["run"]
        assert "Traceback" not in done.stderr


def test_an_error_of_what_a_signal_interrupted_does_not_hide_the_signal():
    with pytest.raises(Stopped) as found, stopped_cleanly():
        try:
            os.kill(os.getpid(), signal.SIGTERM)
        finally:
            raise KgrecError("closed what was not open")
    assert found.value.code == 143 and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL


def test_a_signal_where_python_ignores_what_is_raised_is_raised_later(capsys):
    class Closing:
        def __del__(self) -> None:
            os.kill(os.getpid(), signal.SIGINT)

    closing, hook = Closing(), sys.unraisablehook
    with pytest.raises(Stopped) as found, stopped_cleanly():
        del closing
        for _ in range(1000):
            time.sleep(0.01)
    assert found.value.code == 130 and capsys.readouterr().err == ""
    assert sys.unraisablehook is hook and signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_ctrl_c_while_the_command_is_imported_is_no_traceback():
    code = "import os, signal, sys\nclass Finder:\n    def find_spec(self, name, *_):\n"
    code += "        if name == 'typer': os.kill(os.getpid(), signal.SIGINT)\n"
    code += "sys.meta_path.insert(0, Finder())\nfrom kgrec.cli import main\n"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 130 and done.stderr == ""


def test_a_command_whose_output_is_closed_does_its_work():
    command = ["sh", "-c", '"$0" -m kgrec models --help >&-', sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (RuntimeError("unable to resize file </torch_1>"), r"sent .*resize file </torch_1>.*/dev/shm.*--devices 1"),
        (
            torch.multiprocessing.ProcessExitedException("process 0 terminated with signal SIGKILL", 0, 1, -9),
            r"was killed \(process 0 terminated with signal SIGKILL\).*use --resume",
        ),
    ],
)
def test_what_ends_several_processes_is_said(error, message):
    class Failing:
        def launch(self, work: object) -> None:
            raise error

    with pytest.raises(KgrecError, match=message):
        launch(Failing(), print)


def test_processes_of_a_training_end_with_it(shop, tmp_path, forked):
    """Ctrl-C reaches the first process alone, as by `kill -INT`; the others are not seen to go on, nor heard."""
    options = ("--set", "dim=4", "--epochs", "1000", "--patience", "1000", "--device", "cpu", "--devices", "2")
    code = "import os; os.setsid(); print('alone', flush=True); from kgrec.cli import main; main()"
    process = forked(code, "train", "mf", shop, "--out", tmp_path / "m", *options)
    assert process.out.readline() == "alone\n"
    while alive_in_session(process.pid) and not (tmp_path / "m.checkpoint").exists():
        time.sleep(0.1)
    process.send_signal(signal.SIGINT)
    done = process.ended()
    assert done.returncode == 130 and "Traceback" not in done.stderr
    assert "no half-written files are left" in done.stderr
    assert names(tmp_path) == ["m.checkpoint"]
    until = time.monotonic() + 60  # multiprocessing's tracker of resources ends a moment after the last of them
    while alive_in_session(process.pid) and time.monotonic() < until:
        time.sleep(0.05)
    assert not alive_in_session(process.pid)


def alive_in_session(leader: int) -> list[str]:
    """The processes of a session that have not ended."""
    with os.scandir("/proc") as entries:
        numbers = [entry.name for entry in entries if entry.name.isdecimal()]
    found = []
    for number in numbers:
        with suppress(OSError):  # it has ended since
            if os.getsid(int(number)) == leader:
                state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
                found += [number] * (state != "Z")
    return found


#: A command that says when it is in the middle of a checkpoint, or of a batch
IN_THE_MIDDLE = """
import sys, time
from kgrec.training import checkpoint, trainer
where = sys.argv.pop(1)
if where == "writing":
    save = checkpoint.save_tensors
    def slow(path, tensors):
        save(path, tensors)
        print("ready", flush=True)
        time.sleep(60)
    checkpoint.save_tensors = slow
else:
    import torch
    step, seen = trainer.Trainer._step, []
    def busy(self, index, batch):
        seen or print("ready", flush=True)
        seen.append(1)
        one = torch.rand(400, 400)
        for _ in range(200):
            one = torch.tanh(one @ one)
        return step(self, index, batch)
    trainer.Trainer._step = busy
from kgrec.cli import main
main()
"""


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("writing", signal.SIGTERM),
        ("computing", signal.SIGTERM),
        ("computing", signal.SIGHUP),
        ("writing", signal.SIGINT),
    ],
)
def test_a_signal_cleans_up(shop, tmp_path, forked, where, number):
    options = ("--set", "dim=4", "--epochs", "3", "--device", "cpu")
    program = forked(IN_THE_MIDDLE, where, "train", "mf", shop, "--out", tmp_path / "m", *options)
    assert program.out.readline() == "ready\n"
    if where == "writing":
        assert any(".part-" in name for name in names(tmp_path))
    program.send_signal(number)
    if number != signal.SIGINT:
        program.send_signal(number)  # `timeout` sends it twice
    done = program.ended()
    assert "Traceback" not in done.stderr and names(tmp_path) == []
    if number != signal.SIGINT:
        assert done.returncode == 128 + number and "no half-written files are left" in done.stderr
    else:
        assert done.returncode in (1, 130)

"""scripts/crash: what it makes of what commands leave and say, and a few of its kills."""

import importlib
import json
import os
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def outcomes(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/crash_outcomes.py, as scripts/crash.py imports it."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("crash_outcomes")


@pytest.fixture
def process(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("crash_process")


def run_folder(path: Path, seconds: float, weights: str = "weights") -> Path:
    path.mkdir(parents=True)
    (path / "model.safetensors").write_text(weights)
    (path / "metrics.json").write_text(json.dumps({"test": {"ndcg@10": 0.5}, "seconds_per_epoch": seconds}))
    (path / "log.csv").write_text(f"epoch,seconds,loss\n1,{seconds},0.25\n")
    files = {"metrics.json": {"sha256": str(seconds)}, "model.safetensors": {"sha256": weights}}
    (path / "config.json").write_text(json.dumps({"model": "mf", "files": files}))
    return path


def test_two_runs_are_equal_but_for_their_times(outcomes, tmp_path):
    one, other = run_folder(tmp_path / "one", 1.5), run_folder(tmp_path / "other", 2.5)
    assert outcomes.contents(one) == outcomes.contents(other)
    changed = outcomes.contents(run_folder(tmp_path / "changed", 1.5, "others"))
    differ = [name for name, found in changed.items() if outcomes.contents(one)[name] != found]
    assert differ == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("before", [True, False])
def test_an_output_is_absent_as_before_whole_or_partial(outcomes, tmp_path, before):
    whole = outcomes.contents(run_folder(tmp_path / "whole", 1.5))
    former = outcomes.contents(run_folder(tmp_path / "former", 1.5, "former")) if before else {}
    work = tmp_path / "work"
    work.mkdir()

    def judged() -> tuple[str, list[str]]:
        found = outcomes.judged(work, "m", former, whole, ["m.checkpoint"])
        return found.outcome, found.complaints

    (work / f".m.part-{'ab' * 8}").mkdir()
    if not before:
        assert judged() == (outcomes.ABSENT, [])
    else:
        names = ", config.json, log.csv, metrics.json, model.safetensors"
        assert judged() == ("partial", [f"m is gone: {names} (1 drafts)"])
        aside = run_folder(work / f".m.old-{'ab' * 8}", 1.5, "former")
        assert judged() == (outcomes.AS_BEFORE, [])
        aside.rename(work / "m")
        assert judged() == (outcomes.AS_BEFORE, [])
        (work / "m/log.csv").unlink()
        assert judged()[0] == "partial"
        (work / "m").rename(tmp_path / "away")
    run_folder(work / "m", 2.5)
    (work / "m.checkpoint").mkdir()
    assert judged() == (outcomes.WHOLE, []) and outcomes.drafts_in(work)
    (work / "m.tmp").touch()
    assert judged() == (outcomes.WHOLE, ["m.tmp was left"])
    (work / "m/model.safetensors").write_text("weig")
    assert judged()[0] == "partial"


@pytest.mark.parametrize(
    ("kind", "code", "said", "wrong"),
    [
        ("TERM", 143, "stopped by a signal; no half-written files are left", []),
        ("TERM", 1, "", ["exit code 1 and not 143: []"]),
        ("INT", 130, "", []),
        ("KILL", 0, "", ["exit code 0 after it was killed"]),
        ("full disk", 1, "epoch 1\nerror: cannot write m: No space left on device; no file is left there", []),
        ("full disk", 1, "", ["exit code 1 without a sentence that says what cannot be written: []"]),
        ("no space", 120, "", ["exit code 120"]),
    ],
)
def test_how_a_command_ends(outcomes, process, kind, code, said, wrong):
    ended = process.Ended(code, said, was_hit=True)
    assert outcomes.misbehaviour(ended, process.Ending(kind, touch=3)) == wrong
    traced = process.Ended(code, f"Traceback (most recent call last):\n{said}", was_hit=True, stayed=True)
    found = outcomes.misbehaviour(traced, process.Ending(kind, touch=3))
    assert found[0].startswith("a traceback: ") and found[1] == "a process stayed" and len(found) == 2 + len(wrong)


#: A command that opens `a`, makes `d`, renames `a` to `b`, and waits
STEPS = """
import json, sys, time
from pathlib import Path
from types import ModuleType
import crash_process
from crash_process import Ending, run
def main():
    with open("a", "w") as file:
        file.write("whole")
    Path("d").mkdir()
    Path("a").rename("b")
    time.sleep(float(sys.argv[1]))
sys.modules["kgrec.cli.entry"] = ModuleType("entry")
sys.modules["kgrec.cli.entry"].main = main
crash_process._use_threads = lambda threads: None
folder, seconds, ending = Path(sys.argv[1]), sys.argv[2], sys.argv[3]
ended = run([seconds], folder, Ending(**json.loads(ending)) if ending else None)
left = {path.name: path.stat().st_size for path in sorted(folder.iterdir())}
print(json.dumps([ended.code, ended.was_hit, left, [what for _, what, _ in ended.touches]]))
"""


@pytest.mark.parametrize(
    ("ending", "code", "left"),
    [
        ({"kind": "KILL", "touch": 1}, 137, {}),
        ({"kind": "KILL", "touch": 2}, 137, {"a": 5}),
        ({"kind": "TERM", "touch": 3}, 143, {"a": 5, "d": None}),
        ({"kind": "INT", "touch": 3}, 130, {"a": 5, "d": None}),
        ({"kind": "HUP", "touch": 3, "delay": 0.2}, 129, {"b": 5, "d": None}),
        ({"kind": "no space", "touch": 2}, 1, {"a": 5}),
        ({"kind": "no space", "touch": 3}, 1, {"a": 5, "d": None}),
        ({"kind": "long file", "limit": 3}, 1, {"a": 3}),
        (None, 0, {"b": 5, "d": None}),
    ],
)
def test_a_command_is_ended_at_the_touch_of_a_file(tmp_path, ending, code, left):
    waits = "60" if ending and ending.get("delay") else "0"
    command = [sys.executable, "-c", STEPS, str(tmp_path), waits, json.dumps(ending) if ending else ""]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "scripts")}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    found_code, was_hit, found, touches = json.loads(done.stdout)
    assert (found_code, was_hit) == (code, code > 128)
    assert {name: None if name == "d" else size for name, size in found.items()} == left
    assert touches == ([] if ending else ["kgrec.crash.start", "open", "os.mkdir", "os.rename"])


#: Kills at files, which are the same in each run, of commands that replace what is there
COMMANDS = ("build-over", "train-over", "recommend-over")


def test_commands_that_are_killed_at_files():
    command = [sys.executable, "scripts/crash.py", "--short", "--kills", "12", "--only", *COMMANDS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    totals = next(line.split() for line in done.stdout.splitlines() if line.split()[:1] == ["all"])
    kills, absent, as_before, whole, _, failed = map(int, totals[1:])
    assert kills == as_before + whole >= 9 and absent == failed == 0
    assert as_before and whole

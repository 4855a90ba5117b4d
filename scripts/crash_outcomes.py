"""Judges the files that a killed command leaves: compares them with the files before it and with a complete result."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from crash_process import SIGNALS, Ended, Ending

ABSENT, AS_BEFORE, WHOLE = "absent", "as before", "whole"
OUTCOMES = (ABSENT, AS_BEFORE, WHOLE)
#: Entries of metrics that differ between any two runs
TIMES = ("fit_seconds", "seconds_per_epoch", "evaluation_seconds", "peak_mb", "seconds")
DRAFT = re.compile(r"\.(?P<name>.+)\.(?P<what>part|old|lock)-[0-9a-f]{1,16}")

Contents = Mapping[str, str]  #: relative path -> the hash of what a file holds, or `folder`


def contents(path: Path) -> dict[str, str]:
    """The contents at a path, without measured times; empty if nothing is there."""
    if path.is_symlink() or not path.exists():
        return {}
    if path.is_file():
        return {"": _hash(path, "")}
    found = {"": "folder"}
    for one in sorted(path.rglob("*")):
        place = one.relative_to(path).as_posix()
        found[place] = "folder" if one.is_dir() else _hash(one, place)
    return found


def _hash(file: Path, place: str) -> str:
    data = file.read_bytes()
    if place == "metrics.json":
        data = json.dumps(without_times(json.loads(data)), sort_keys=True).encode()
    elif place == "log.csv":
        rows = list(csv.DictReader(io.StringIO(data.decode())))
        data = json.dumps([without_times(row) for row in rows], sort_keys=True).encode()
    elif place == "config.json":  # it contains hashes of the other files
        found = json.loads(data)
        for name in ("metrics.json", "log.csv"):
            found["files"].pop(name, None)
        data = json.dumps(found, sort_keys=True).encode()
    return hashlib.sha256(data).hexdigest()


def without_times(value: Mapping[str, Any]) -> dict[str, Any]:
    """A row or an object without measured times and memory."""
    return {name: one for name, one in value.items() if name not in TIMES}


@dataclass
class Verdict:
    """The state of an output after its command was ended, and what is wrong with it."""

    outcome: str
    complaints: list[str] = field(default_factory=list)


def judged(folder: Path, out: str, before: Contents, whole: Contents, kept: Sequence[str] = ()) -> Verdict:
    """Judge the output in the folder that the command ran in.

    before: the contents before the command; whole: the contents after an uninterrupted run; kept: names besides the
    output that may remain, such as a checkpoint. A folder that is renamed for a moment while it is replaced counts as
    unchanged.
    """
    complaints, drafts = [], list[str]()
    aside: Contents = {}
    for one in sorted(folder.iterdir()):
        draft = DRAFT.fullmatch(one.name)
        if draft is not None and draft["name"] in (out, *kept):
            drafts.append(one.name)
            if draft["what"] == "old" and draft["name"] == out:
                aside = contents(one)
        elif one.name not in (out, *kept):
            complaints.append(f"{one.name} was left")
    found = contents(folder / out)
    if found == whole:
        return Verdict(WHOLE, complaints)
    if not before and not found:
        return Verdict(ABSENT, complaints)
    if before and (found or aside) == before:
        return Verdict(AS_BEFORE, complaints)
    names = [name for name in sorted({*found, *whole}) if found.get(name) != whole.get(name)]
    said = f"{out} is neither whole nor as before" if found else f"{out} is gone"
    return Verdict("partial", [*complaints, f"{said}: {', '.join(names[:5])} ({len(drafts)} drafts)"])


def has_state(folder: Path, name: str) -> bool:
    """Whether there is a checkpoint. One that is renamed for a moment while it is replaced counts too, because the next
    run restores it."""
    return (folder / name).exists() or any(folder.glob(f".{name}.old-*"))


def drafts_in(folder: Path) -> list[str]:
    """The names of temporary files (drafts) in a folder."""
    return sorted(one.name for one in folder.iterdir() if DRAFT.fullmatch(one.name))


def misbehaviour(ended: Ended, ending: Ending) -> list[str]:
    """What is wrong with the exit code and the messages of a command."""
    wrong, number = [], SIGNALS.get(ending.kind)
    said = ended.said.strip().splitlines()
    if "Traceback" in ended.said:
        first = next(number for number, line in enumerate(said) if "Traceback" in line)
        wrong.append(
            "a traceback: " + " / ".join(map(str.strip, [*said[max(0, first - 1) : first + 3], "...", *said[-6:]]))
        )
    if ended.stayed:
        wrong.append("a process stayed")
    if number is None:
        if ended.code not in (0, 1):
            wrong.append(f"exit code {ended.code}")
        errors = [line for line in said if line.startswith("error: ")]
        if ended.code == 1 and not (len(errors) == 1 and said[-1] == errors[0] and "cannot write " in errors[0]):
            wrong.append(f"exit code 1 without a sentence that says what cannot be written: {said[-1:]}")
    elif ended.was_hit and ended.code not in (128 + number, 0):
        wrong.append(f"exit code {ended.code} and not {128 + number}: {said[-1:]}")
    elif ended.was_hit and ended.code == 0 and ending.kind == "KILL":
        wrong.append("exit code 0 after it was killed")
    return wrong

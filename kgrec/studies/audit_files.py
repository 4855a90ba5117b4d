"""The folder of an audit: its settings, its trials, so that a killed audit can go on, and its results."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from kgrec.drafts import clear_abandoned, remove_folder
from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole, write_json
from kgrec.output_kinds import FolderKind, missing_keys, read_object

try:
    import fcntl
except ImportError:  # not a POSIX system: two audits of one folder are not kept apart
    fcntl = None  # type: ignore[assignment]

FORMAT = 1  #: version of the folder
SETTINGS, TRIALS, LOCK = "settings.json", "trials", "lock"
RESULTS = ("audit.json", "audit.md", "arms.csv", "worth.csv", "audit.png")
AUDIT_FOLDER = FolderKind(
    "folder of an audit",
    SETTINGS,
    {"audit": int, "model": str, "graph": str, "splits": dict},
    (*RESULTS, LOCK, f"{TRIALS}/*.parquet", f"{TRIALS}/.*", *(f".{name}.*-*" for name in (SETTINGS, *RESULTS))),
)


def open_folder(out: Path, settings: Mapping[str, Any], overwrite: bool, inputs: Sequence[str | Path | None]) -> None:
    """Make the folder of an audit, or go on with it. settings: what must be the same to go on, if there is a trial; the
    number of seeds may be raised.

    Raises KgrecError if something else is there, an audit with other settings, or damaged settings.
    """
    refuse_existing(out, True, AUDIT_FOLDER, inputs)
    if overwrite and out.is_dir():
        with held(out):
            remove_folder(out)
    wanted = json.loads(json.dumps({"audit": FORMAT, **settings}, default=str))
    file = out / SETTINGS
    if file.is_file():
        found = read_object(file)
        if found is None or missing_keys(found, AUDIT_FOLDER.keys):
            raise KgrecError(f"{file} is damaged; use --overwrite to begin again, or name another --out")
        if any((out / TRIALS).glob("*.parquet")):
            _must_be_equal(found, wanted, out)
        if found != wanted:
            with whole(file, True) as draft:
                write_json(draft, wanted)
    else:
        out.mkdir(parents=True, exist_ok=True)
        with whole(file) as draft:
            write_json(draft, wanted)
    (out / TRIALS).mkdir(exist_ok=True)


def _must_be_equal(found: Mapping[str, Any], wanted: Mapping[str, Any], out: Path) -> None:
    """Raise KgrecError if an audit has other settings than those wanted."""
    for name in {**found, **wanted}:
        before, now = found.get(name), wanted.get(name)
        if name == "seeds" and isinstance(before, list) and now is not None and now[: len(before)] == before:
            continue
        if before != now:
            raise KgrecError(
                f"{out} is the folder of an audit with other settings: its {name} is {_short(before)}, not "
                f"{_short(now)}; use the same settings to go on with it, --overwrite to begin again, or name another "
                "--out"
            )


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 200 else f"{text[:200]}..."


@contextmanager
def held(out: Path) -> Iterator[None]:
    """Inside this context, no other process works in the folder. Raises KgrecError if one does."""
    file = os.open(out / LOCK, os.O_CREAT | os.O_RDWR, 0o666)
    try:
        if fcntl is not None:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise KgrecError(
                    f"{out} is in use by another audit; wait until it has ended, or name another --out"
                ) from None
            except OSError:
                pass  # a volume without locks
        yield
    finally:
        os.close(file)


def clear_drafts(out: Path) -> None:
    """Remove what a killed audit had half written."""
    for folder in (out, out / TRIALS):
        for lock in folder.glob(".*.lock-*"):
            clear_abandoned(folder / lock.name[1 : lock.name.rindex(".lock-")])

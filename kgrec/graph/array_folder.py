"""The folder `arrays` in a graph folder: a graph's numbers as files that are mapped into memory (see `mapped_files`).

| file | contents |
|---|---|
| `arrays.json` | format, hash of the `graph.json` that the arrays belong to; type, shape and checksum of each array |
| `*.npy` | one array each |

The folder is a cache. It can be removed at any time, other versions ignore it, and it is made again if graph.json has
changed. If the graph folder cannot be written to, the arrays are kept in `KGREC_CACHE`, by default `~/.cache/kgrec`.

arrays.json has a seal (see `array_seal`), which shows that this user made it. If it has none, as in a folder that
somebody sent, all numbers are read once and compared with their bounds, then it is sealed. If they are not within them,
all arrays are made again.

When an array is opened, its size, its header and a hash of samples of its contents are compared with arrays.json. An
array that does not agree is made again. A change between the samples is not noticed.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from kgrec.errors import KgrecError
from kgrec.graph.array_seal import cache_folder, is_own, own_key, sealed
from kgrec.graph.mapped_files import (
    Appended,
    Shape,
    as_tensors,
    light_checksum,
    new_array,
    open_array,
    scratch_array,
)
from kgrec.json_files import file_state, read_object

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes may both make the same arrays
    fcntl = None  # type: ignore[assignment]

FORMAT = 1
FOLDER, DOCUMENT = "arrays", "arrays.json"
PART = ".part"  #: ending of an array that is being written
Kinds = Mapping[str, tuple[Any, Shape]]  #: by name, the type and shape of arrays


class ArrayFolder:
    """The arrays of one graph, or of a view of it: a group of arrays whose names begin with `prefix`."""

    def __init__(
        self, places: Sequence[Path], belongs_to: Mapping[str, Any], prefix: str = "", *, from_anybody: bool = False
    ) -> None:
        """places: folders that may hold arrays; the last one is written to. belongs_to: what arrays.json must say, so
        that its arrays are those of this graph. from_anybody: whether arrays are read that another user made."""
        self.places, self.belongs_to, self.prefix = tuple(places), dict(belongs_to), prefix
        self.from_anybody = from_anybody

    @staticmethod
    def beside(graph: Path, graph_hash: str) -> ArrayFolder:
        """The arrays of a graph folder. graph_hash: the SHA-256 of its graph.json."""
        own = graph / FOLDER
        belongs_to = {"format": FORMAT, "graph": graph_hash, "bytes": sys.byteorder}
        if _can_write(own if own.is_dir() else graph):
            return ArrayFolder([own], belongs_to)
        return ArrayFolder([own, cache_folder() / "arrays" / graph_hash[:32]], belongs_to)

    def of_anybody(self) -> ArrayFolder:
        """The same, also of arrays that another user made. They must be checked before they are used."""
        return ArrayFolder(self.places, self.belongs_to, self.prefix, from_anybody=True)

    def adopt(self) -> None:
        """Seal arrays that another user made and that were checked. Those of views are left out: they are not
        checked."""
        with self.writing("the seal of arrays", of_anybody=True) as writer:
            writer.keep = lambda name: "/" not in name

    def inner(self, name: str) -> ArrayFolder:
        """The arrays of a view of this graph."""
        return ArrayFolder(self.places, self.belongs_to, f"{self.prefix}{name}/")

    # ------------------------------------------------------------------ reading

    def found(self, names: Sequence[str]) -> list[np.ndarray] | None:
        """Arrays by name, mapped; None if one is missing. One that was altered counts as missing, with a warning."""
        for place in self.places:
            listed = self._listed(place)
            if all(self.prefix + name in listed for name in names):
                try:
                    return [_checked(place, self.prefix + name, listed[self.prefix + name]) for name in names]
                except (KgrecError, OSError, TypeError, KeyError, ValueError) as error:
                    warnings.warn(f"{error}; it is made again", stacklevel=2)
        return None

    def note(self, name: str) -> Any:
        """What was noted under a name; None if nothing was."""
        for place in reversed(self.places):
            notes = self._document(place).get("notes", {})
            if self.prefix + name in notes:
                return notes[self.prefix + name]
        return None

    def _document(self, place: Path) -> dict[str, Any]:
        """arrays.json of a place; empty if it is missing, damaged or belongs to another graph."""
        try:
            if (at := file_state(place / DOCUMENT)) is None:
                return {}
            document, is_ours = _read(place / DOCUMENT, at, own_key())
        except KgrecError:
            return {}
        belongs = all(document.get(name) == value for name, value in self.belongs_to.items())
        sound = all(isinstance(document.get(name, {}), dict) for name in ("files", "notes"))
        return document if belongs and sound and (self.from_anybody or is_ours) else {}

    def _listed(self, place: Path) -> dict[str, Any]:
        files: dict[str, Any] = self._document(place).get("files", {})
        return files

    # ------------------------------------------------------------------ writing

    def tensors(self, kinds: Kinds, fill: Callable[[dict[str, np.ndarray]], None], what: str) -> list[Tensor]:
        """These arrays as tensors, mapped. Those that are missing are made: `fill` writes into new arrays of these
        types and shapes. what: what they are, for messages.

        Raises KgrecError if they cannot be written, for example because the disk is full; then nothing is left.
        """
        arrays = self.found(list(kinds))
        if arrays is None:
            with self.writing(what) as writer:
                arrays = self.found(list(kinds))  # another process may have made them in the meantime
                if arrays is None:
                    fill({name: writer.array(name, *kind) for name, kind in kinds.items()})
            arrays = arrays or self.found(list(kinds))
        if arrays is None:
            raise KgrecError(f"{self.places[-1]}: {what} cannot be read back; check the disk")
        return as_tensors(arrays)

    @contextlib.contextmanager
    def writing(self, what: str, *, of_anybody: bool = False) -> Iterator[ArrayWriter]:
        """Write arrays. They are listed when the block ends without an error; otherwise nothing of them is left. Only
        one process writes at a time. Raises KgrecError if they cannot be written."""
        place = self.places[-1]
        with _explained(place, what):
            made = [one for one in (place, *place.parents) if not one.exists()]
            place.mkdir(parents=True, exist_ok=True)
        with _locked(place):
            writer = None
            try:
                with _explained(place, what):
                    document = (self.of_anybody() if of_anybody else self)._document(place)
                    if not document:
                        _empty(place)
                    for left in place.rglob(f"*{PART}"):
                        left.unlink()
                    writer = ArrayWriter(place, self.prefix)
                    yield writer
                    writer.finish({**self.belongs_to, **document})
            finally:
                if writer is not None:
                    writer.abandon()
                if not (place / DOCUMENT).exists():
                    for one in made:
                        with contextlib.suppress(OSError):
                            shutil.rmtree(one) if one == place else one.rmdir()

    def scratch(self, dtype: Any, shape: Shape, what: str) -> np.ndarray:
        """An array that this process alone uses, in a file that is gone when nothing uses it. Its numbers are zeros.

        Raises KgrecError if the disk is full."""
        place = self.places[-1]
        with _explained(place, what):
            place.mkdir(parents=True, exist_ok=True)
            return scratch_array(place, np.dtype(dtype), shape)


class ArrayWriter:
    """Writes arrays under other names until all of them are complete."""

    def __init__(self, place: Path, prefix: str) -> None:
        self.place, self.prefix = place, prefix
        self.kinds = dict[str, tuple[np.dtype, Shape]]()
        self.notes = dict[str, Any]()
        self.growing = dict[str, Appended]()
        self.keep: Callable[[str], bool] = lambda name: True  #: which arrays, by name, stay listed

    def array(self, name: str, dtype: Any, shape: Shape) -> np.ndarray:
        """A new array of zeros. What is written to it goes to the file."""
        self.kinds[name] = np.dtype(dtype), shape
        return new_array(self._part(name), np.dtype(dtype), shape)

    def appended(self, name: str, dtype: Any, width: Shape = ()) -> Appended:
        """A new array to which rows are appended."""
        self.growing[name] = Appended(self._part(name), np.dtype(dtype), width)
        return self.growing[name]

    def note(self, name: str, value: Any) -> None:
        """Write something else down in arrays.json."""
        self.notes[self.prefix + name] = value

    def _path(self, name: str) -> Path:
        return self.place / f"{self.prefix}{name}.npy"

    def _part(self, name: str) -> Path:
        path = self._path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path.with_name(path.name + PART)

    def finish(self, document: Mapping[str, Any]) -> None:
        """Give the arrays their names and list them. document: arrays.json so far."""
        for name, one in self.growing.items():
            self.kinds[name] = one.dtype, one.close()
        files = {name: one for name, one in document.get("files", {}).items() if self.keep(name)}
        for name, (dtype, shape) in self.kinds.items():
            part = self._part(name)
            files[self.prefix + name] = {"type": dtype.str, "shape": list(shape), "check": light_checksum(part)}
            part.replace(self._path(name))
        notes = {**document.get("notes", {}), **self.notes}
        draft = self.place / f"{DOCUMENT}{PART}"
        text = json.dumps(sealed({**document, "files": files, "notes": notes})) + "\n"
        draft.write_text(text, encoding="utf-8")
        draft.replace(self.place / DOCUMENT)
        self.kinds, self.growing = {}, {}

    def abandon(self) -> None:
        """Remove what is not finished."""
        for one in self.growing.values():
            with contextlib.suppress(OSError):
                one.file.close()
        for name in (*self.kinds, *self.growing):
            for path in (self._part(name), self._path(name)):
                path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                self._path(name).parent.rmdir()  # of a view without other arrays
        (self.place / f"{DOCUMENT}{PART}").unlink(missing_ok=True)


def hash_of(path: Path) -> str:
    """The SHA-256 of a small file, such as graph.json."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


@functools.lru_cache(maxsize=8)
def _read(path: Path, at: tuple[int, ...], key: bytes | None) -> tuple[dict[str, Any], bool]:
    """arrays.json, and whether it has the seal of this key; it is read again only where its `file_state`, `at`, is
    another one. Nothing in it is changed."""
    document = read_object(path, "remove the folder")
    return document, is_own(document, key)


def _checked(place: Path, name: str, listed: Mapping[str, Any]) -> np.ndarray:
    path, dtype, shape = place / f"{name}.npy", np.dtype(listed["type"]), tuple(map(int, listed["shape"]))
    if dtype.hasobject or min(shape, default=0) < 0:
        raise ValueError(f"{path} is listed with the type {dtype} and the shape {shape}")
    array = open_array(path, dtype, shape)
    if light_checksum(path) != listed["check"]:
        raise KgrecError(f"{path} was altered: the checksum of its samples is not the one in {DOCUMENT}")
    return array


def _can_write(folder: Path) -> bool:
    return os.access(folder, os.W_OK | os.X_OK)


def _empty(place: Path) -> None:
    """Remove the arrays of another graph. A process that has mapped one keeps it."""
    for one in place.iterdir():
        if one.is_dir() and not one.is_symlink():
            shutil.rmtree(one)
        else:
            one.unlink()


@contextlib.contextmanager
def _locked(place: Path) -> Iterator[None]:
    """Inside, no other process writes there. The lock is on the folder itself, so that no lock file is left."""
    if fcntl is None:
        yield
        return
    folder = os.open(place, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):  # a volume without locks
            fcntl.flock(folder, fcntl.LOCK_EX)
        yield
    finally:
        os.close(folder)


@contextlib.contextmanager
def _explained(place: Path, what: str) -> Iterator[None]:
    """Inside, an error of the system becomes a KgrecError."""
    try:
        yield
    except OSError as error:
        raise KgrecError(
            f"cannot write {what} to {place}: {error.strerror or error}; nothing of it is left there. Make room, or "
            "set KGREC_CACHE to a folder on another disk if the graph folder cannot be written to"
        ) from error

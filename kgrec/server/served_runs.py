"""The runs that a server answers from, by name, each of which another one may take the place of."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from kgrec.errors import KgrecError, some
from kgrec.server.c_memory import give_back
from kgrec.server.events.event_store import EventStore
from kgrec.server.events.user_event import NewItemsDocument
from kgrec.server.loaded_run import LoadedRun, load, must_be_alike, with_documents
from kgrec.server.problems import Problem
from kgrec.server.server_settings import ServerSettings

Made = TypeVar("Made")
Notify = Callable[[str, Mapping[str, object]], None]  #: called with what happened, and what belongs to it


@dataclass(eq=False)
class ServedRun:
    """A name under which a run serves."""

    name: str
    path: Path  #: as the user named it; it may be a link that is turned to another run
    current: LoadedRun
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)  #: held while another one is made
    refused: str | None = None  #: why the last one was refused; None: it was not
    seen: tuple[object, ...] = ()  #: what its folder looked like when it was last loaded, or refused

    def state(self) -> tuple[object, ...]:
        """By what it is seen that the folder is another one."""
        folder = os.path.realpath(self.path)
        try:
            found = (Path(folder) / "config.json").stat()
        except OSError:
            return (folder, None)
        return folder, found.st_ino, found.st_mtime_ns, found.st_size


class ServedRuns:
    """All runs of a server. The first one is the default. Its methods are for the event loop's thread."""

    def __init__(self, runs: Sequence[ServedRun], settings: ServerSettings, store: EventStore | None) -> None:
        self.runs = {run.name: run for run in runs}
        self.default, self.settings, self.store = runs[0], settings, store
        # one thread loads, always the same: each thread of a C library has memory of its own, which another cannot fill
        self._loading = ThreadPoolExecutor(1, "kgrec-loading")

    @staticmethod
    def load(
        paths: Mapping[str, Path], settings: ServerSettings, store: EventStore | None, notify: Notify
    ) -> ServedRuns:
        """Load all runs, each by its name. Raises KgrecError."""
        runs = []
        for name, path in paths.items():
            run = ServedRun(name, path, _load(path, settings))
            run.seen = run.state()
            run.current = _with_stored(run.current, store, name, notify)
            runs.append(run)
            advice = run.current.service.advice
            if advice is not None:
                notify("advice", {"run": name, "advice": advice})
        return ServedRuns(runs, settings, store)

    def named(self, name: str | None) -> ServedRun:
        """A run by its name; None: the default. Raises Problem 404."""
        if name is None:
            return self.default
        if name not in self.runs:
            raise Problem(404, f"no run {name!r}; there are: {some(self.runs)}")
        return self.runs[name]

    def read_ahead(self) -> bool:
        """Do a little of what requests would do later. Returns whether there is more to do. For the scoring thread."""
        return any(run.current.service.read_ahead() for run in self.runs.values())

    async def reload(self, run: ServedRun, notify: Notify) -> LoadedRun:
        """Load what is in a run's folder now, beside the run that serves, and swap. Raises KgrecError where it cannot
        serve; then the old one stays."""
        async with run.lock:
            run.seen = run.state()
            try:
                new = await self._load(self._checked, run, notify)
            except KgrecError as error:
                run.refused = str(error)
                notify("reload refused", {"run": run.name, "reason": str(error), "version": run.current.version})
                raise
            old, run.current, run.refused = run.current, new, None
            notify("reloaded", {"run": run.name, "version": new.version, "before": old.version})
            del old
            await self._load(give_back)
            return new

    async def _load(self, work: Callable[..., Made], *arguments: object) -> Made:
        return await asyncio.get_running_loop().run_in_executor(self._loading, work, *arguments)

    def close(self) -> None:
        """End the thread that loads."""
        self._loading.shutdown(wait=False, cancel_futures=True)

    def _checked(self, run: ServedRun, notify: Notify) -> LoadedRun:
        new = _load(run.path, self.settings)
        if not self.settings.any_graph:
            must_be_alike(run.current, new)
        return _with_stored(new, self.store, run.name, notify)

    async def add_items(self, run: ServedRun, document: NewItemsDocument) -> tuple[int, bool]:
        """Make a run know new items. Returns how many, and whether they are new (else they take the place of what was
        told of them before). Raises KgrecError, StoreDown, Problem."""
        async with run.lock:
            before = run.current
            more = await self._load(before.with_items, document)
            known, most = sum(len(one.ids) for one in more.added), self.settings.max_new_items
            if known > most:
                raise Problem(409, f"{known:,} new items are more than {most:,}; train the run again with them")
            if self.store is not None:
                await asyncio.to_thread(self.store.put_items, before.graph_key, more.added[-1])
            run.current = more
            await self._load(give_back)
        is_new = known > sum(len(one.ids) for one in before.added)
        return len(more.added[-1].ids), is_new

    async def watch(self, notify: Notify) -> None:
        """Look again and again whether the folders are others, and load those."""
        while True:
            await asyncio.sleep(self.settings.watch_seconds)
            for run in self.runs.values():
                if not run.lock.locked() and run.state() != run.seen:
                    try:
                        await self.reload(run, notify)
                    except KgrecError:
                        continue  # it was told; the old one stays
                    except Exception as error:
                        notify("reload failed", {"run": run.name, "error": repr(error)})


def _load(path: Path, settings: ServerSettings) -> LoadedRun:
    return load(path, trust=settings.trust, device=settings.device, approximate=settings.approximate)


def _with_stored(loaded: LoadedRun, store: EventStore | None, name: str, notify: Notify) -> LoadedRun:
    """The run with the items that were added while others served."""
    if store is None:
        return loaded
    try:
        documents = store.new_items(loaded.graph_key)
    except KgrecError as error:
        notify("new items not read", {"run": name, "reason": str(error)})
        return loaded
    found, notes = with_documents(loaded, documents)
    for text in notes:
        notify("new items left out", {"run": name, "reason": text})
    return found

"""A run that is loaded, checked and warm, and what must be so before it may serve."""

from __future__ import annotations

import hashlib
import json
import math
import os
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import fmean
from typing import Any

from kgrec.errors import KgrecError, some
from kgrec.graph.schema import EdgeType
from kgrec.run import Run
from kgrec.run_files import RunFiles
from kgrec.server.events.user_event import Event, NewItemsDocument
from kgrec.serving.list_options import ListOptions
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted
from kgrec.training.run_folder import read_schema

PROBED = 16  #: users whose lists are tried before a run serves
COMPARED = 1000  #: items that tell whether two runs are of one graph
LEAST_SHARED = 0.5  #: of these, that the new run must know


@dataclass(frozen=True, eq=False)
class LoadedRun:
    """A run as it serves. It is never changed: another one takes its place."""

    service: Service
    folder: Path  #: the folder itself, not a link to it
    version: str  #: the first digits of the hash of its config.json, which has the hashes of all its files
    trained_at: float  #: when its folder was written, in unix seconds
    base: Service  #: without items that were added
    added: tuple[NewItemsDocument, ...] = ()  #: what was told of these
    graph_name: str = ""  #: of its recipe
    behaviours: tuple[str, ...] = ()  #: the relations from users to items, of which events may be
    loaded_at: float = field(default_factory=time.time)

    @property
    def run(self) -> Any:
        """The run with its ids."""
        return self.service.run

    @property
    def target(self) -> EdgeType:
        """(users, relation, items)."""
        target: EdgeType = self.service.run.graph.target
        return target

    @property
    def graph_key(self) -> str:
        """What the events of its graph are stored under."""
        return "/".join([self.graph_name, self.target[0], self.target[2]])

    def knows_item(self, item: str) -> bool:
        """Whether it ranks an item of this id."""
        return item in self.service.run.graph.vocabulary[self.target[2]].index

    def knows_user(self, user: str) -> bool:
        """Whether it was trained with a user of this id."""
        return user in self.service.run.graph.vocabulary[self.target[0]].index

    def with_events(self, wanted: Wanted, events: Sequence[Event]) -> Wanted:
        """The same request for a user, as one with a history: what the run knows of the user, and then the events. One
        that the run knows already, and one of an item or behaviour that it does not read, is left out."""
        reads = self.run.model.behaviours or (self.target[1],)
        steps = [event.step for event in events if event.behaviour in reads and self.knows_item(event.item)]
        if wanted.user is None or wanted.is_new or not steps:
            return wanted
        past: list[dict[str, Any]] = self.service.history_of(wanted.user) if self.knows_user(wanted.user) else []
        target = self.target[1]
        there = {(step["item"], step.get("behaviour", target), step.get("time")) for step in past}
        new = [step for step in steps if (step["item"], step["behaviour"], step["time"]) not in there]
        if not new:
            return wanted
        merged = sorted([*past, *new], key=_time_of)
        return replace(wanted, history=_weighed(merged, self.service.weighs_nothing))

    def predictions(
        self, pairs: Sequence[tuple[str, str]], events: Mapping[str, Sequence[Event]], now: int | None = None
    ) -> list[float | KgrecError]:
        """What the model predicts of pairs of a user and an item, with what users did since training. now: when they
        are wanted, in unix seconds."""
        users: dict[str, str | Wanted] = {user: user for user, _ in pairs}
        for user, since in events.items():
            if since:
                users[user] = self.with_events(Wanted(user), since)
        return self.service.predict([(users[user], item) for user, item in pairs], now)

    def with_items(self, document: NewItemsDocument) -> LoadedRun:
        """The same run that knows new items too, those of the document among them. `document.ids` need not be filled.

        Raises KgrecError for items that cannot be known, BadData for one that the trained run knows.
        """
        found = self._with(self.added, document)
        if found is not None:
            return found
        kept = tuple(one for one in self.added if not {*one.ids} & {*self._ids_in(document)})
        again = replace(self, service=self.base, added=())
        for one in kept:
            again = again._with(again.added, one) or again
        last = again._with(again.added, document)
        if last is None:
            raise KgrecError("the new items cannot be told from those that were added before")
        return last

    def _ids_in(self, document: NewItemsDocument) -> Sequence[str]:
        return _with_document(self.base, document)[1]

    def _with(self, added: tuple[NewItemsDocument, ...], document: NewItemsDocument) -> LoadedRun | None:
        """With one more document; None: some of its items were added before."""
        before = {name for one in added for name in one.ids}
        if before and before & {*self._ids_in(document)}:
            return None
        service, ids = _with_document(self.service, document)
        return replace(self, service=service, added=(*added, replace(document, ids=tuple(ids))))


def _weighed(steps: list[dict[str, Any]], weighs_nothing: bool) -> list[dict[str, Any]]:
    """The steps with a weight each, or none. One that says none has the mean of the user's others.

    >>> _weighed([{"item": "x", "weight": 2.0}, {"item": "y"}, {"item": "z", "weight": 5.0}], False)[1]
    {'item': 'y', 'weight': 3.5}
    >>> _weighed([{"item": "x", "weight": 2.0}], True)
    [{'item': 'x'}]
    """
    weights = [step["weight"] for step in steps if "weight" in step]
    if weighs_nothing:
        return [{name: value for name, value in step.items() if name != "weight"} for step in steps]
    if not weights or len(weights) == len(steps):
        return steps
    return [step if "weight" in step else {**step, "weight": fmean(weights)} for step in steps]


def _time_of(step: Mapping[str, Any]) -> float:
    return float(step.get("time", -math.inf))


def _with_document(service: Service, document: NewItemsDocument) -> tuple[Service, list[str]]:
    """A service that knows the items of a document too, and their ids. Raises KgrecError."""
    if document.form == ".json":
        more = service.with_items(json.loads(document.body))
    else:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"body{document.form}"
            path.write_text(document.body, encoding="utf-8")
            try:
                more = service.with_items(path)
            except KgrecError as error:
                error.become(fault._replace(file=None, message=_without(fault.message, path)) for fault in error.faults)
                raise
    item = service.run.graph.target[2]
    known = len(service.run.graph.vocabulary[item])
    return more, more.run.graph.vocabulary[item].id_array[known:].to_pylist()


def _without(message: str, path: Path) -> str:
    return message.replace(str(path), "the body")


def load(path: Path, *, trust: str | None = None, device: str = "cpu", approximate: bool = False) -> LoadedRun:
    """A run folder, loaded, checked and warm. approximate: by the index beside it. Raises KgrecError where it cannot
    serve."""
    folder = Path(os.path.realpath(path))
    files = RunFiles.open(folder)
    run = Run.load(folder, trust=trust, device=device, mapped=True)
    recipe = files.json("recipe.json") if files.holds("recipe.json") else {}
    config = folder / "config.json"
    index = folder.with_name(f"{folder.name}.index") if approximate else None
    service = Service(run, unknown="popularity", index=index)
    version = hashlib.sha256(config.read_bytes()).hexdigest()[:12]
    source, _, item = run.graph.target
    behaviours = tuple(name for head, name, tail in read_schema(folder).edges if (head, tail) == (source, item))
    loaded = LoadedRun(
        service,
        folder,
        version,
        config.stat().st_mtime,
        service,
        graph_name=str(recipe.get("name", "")),
        behaviours=behaviours,
    )
    probe(loaded)
    service.warm()
    return loaded


def probe(loaded: LoadedRun) -> None:
    """Raise KgrecError where a run does not answer as one should: where lists of some users, or of a new one, are empty
    or have scores that are no numbers."""
    source, _, item = loaded.target
    vocabulary = loaded.run.graph.vocabulary
    number, items = len(vocabulary[source]), vocabulary[item].ids(range(3))
    users = vocabulary[source].ids(sorted({place * number // PROBED for place in range(PROBED)} if number else []))
    options = ListOptions(k=min(10, len(vocabulary[item])), include_seen=True)
    wanted = [*(Wanted(user, options=options) for user in users), Wanted(history=items[:1], options=options)]
    for one, answer in zip(wanted, loaded.service.recommend(wanted)):
        who = "a new user" if one.user is None else "a user"
        if isinstance(answer, KgrecError):
            raise KgrecError(f"{loaded.folder} fails on a probe, the list of {who}: {answer}") from answer
        if not answer.items:
            raise KgrecError(f"{loaded.folder} fails on a probe: the list of {who} is empty")
        if not all(map(math.isfinite, answer.scores)):
            raise KgrecError(f"{loaded.folder} fails on a probe: a score of {who} is no number; train it again")


def must_be_alike(old: LoadedRun, new: LoadedRun) -> None:
    """Raise KgrecError where a run is of another graph than the one whose place it is to take."""
    if old.target != new.target:
        found, wanted = ("-".join(one.target) for one in (new, old))
        raise KgrecError(f"{new.folder} recommends by {found}, and the run whose place it is to take by {wanted}")
    if old.graph_name and new.graph_name and old.graph_name != new.graph_name:
        raise KgrecError(f"{new.folder} is of the graph {new.graph_name!r}; the run in place is of {old.graph_name!r}")
    there = old.base.run.graph.vocabulary[old.target[2]]
    step = max(1, len(there) // COMPARED)
    ids = there.ids(range(0, len(there), step))
    missing = [name for name in ids if not new.knows_item(name)]
    if len(missing) > LEAST_SHARED * len(ids):
        raise KgrecError(
            f"{new.folder} is of another graph: it does not know {len(missing):,} of {len(ids):,} items of the run in "
            f"place, {some(missing, 3)}; say --any-graph if it is meant"
        )


def with_documents(loaded: LoadedRun, documents: Iterable[NewItemsDocument]) -> tuple[LoadedRun, list[str]]:
    """The run with the items that documents tell of, and why others could not be added, a sentence each. Those of a
    document that the run was trained with are not added."""
    notes = list[str]()
    for document in documents:
        if document.ids and all(map(loaded.knows_item, document.ids)):
            continue
        try:
            loaded = loaded.with_items(document)
        except KgrecError as error:
            notes.append(f"new items {some(document.ids, 3)} are left out: {error}")
    return loaded, notes

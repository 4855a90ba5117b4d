"""Lists as the page shows them, asked for as the API asks: in the scoring thread, with a user's events."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from kgrec.errors import KgrecError
from kgrec.evaluation.served_by import REASONS, ServedBy
from kgrec.server.page.control_names import control_names
from kgrec.server.page.item_pictures import pictures
from kgrec.server.page.page_query import PageQuery
from kgrec.server.served_runs import ServedRun
from kgrec.server.serving_state import ServingState
from kgrec.serving.list_options import ListOptions
from kgrec.serving.list_tables import Step
from kgrec.serving.recommendation import Recommendations
from kgrec.serving.similar_items import COSINE, HISTORY, NOTHING, WEIGHTS
from kgrec.serving.wanted import Wanted

STEPS = 8  #: past items that are shown of those behind a list
PAST = 12  #: and of those that a user had
POPULAR = 12  #: items that are offered to begin with

#: What is said in place of the short reason of an answer
SENTENCES = {
    REASONS[ServedBy.BEHAVIOURS]: "By what else this user did, as there is no history of what is recommended.",
    REASONS[ServedBy.PROFILE]: "By the columns of this user, as there is no history.",
    REASONS[ServedBy.OTHER_EDGES]: "By other facts about this user, as there is no history.",
    REASONS[ServedBy.POPULARITY]: "Nothing is known of what this user did, so these are the most popular items.",
    REASONS[ServedBy.UNTRAINED]: "Training saw nothing that this user did, so these are the most popular items.",
    REASONS[ServedBy.UNREAD]: "The model cannot read what a new user did, so these are the most popular items.",
    REASONS[ServedBy.FOLDED_IN]: "By what this user did: a vector was fitted to it.",
    REASONS[ServedBy.ALONG_GRAPH]: "By what this user did: a vector was computed along the graph.",
}

#: What is said of how items are alike, in place of the short reason
ALIKE = {
    COSINE: "By the cosine of the vectors that the model learned.",
    WEIGHTS: "By how much each counts for this item's score, as the model learned it.",
    HISTORY: "By the list of a user who had this item alone.",
    NOTHING: "The model knows nothing of this item alone, so these are the most popular ones.",
}


@dataclass(frozen=True)
class ShownItem:
    """An item with what is shown of it."""

    id: str
    label: str
    picture: str | None = None  #: the address of an image


@dataclass(frozen=True)
class Entry:
    """A place of a list."""

    rank: int
    item: ShownItem
    score: float
    elsewhere: int | None = None  #: its rank in the list beside, if it is there


@dataclass(frozen=True)
class PastStep:
    """Something that a user did."""

    item: ShownItem
    behaviour: str | None
    time: float | None  #: unix seconds


@dataclass(frozen=True)
class Behind:
    """A past item behind a list."""

    item: str
    label: str
    strength: float  #: how much it counts, by `evidence`
    evidence: str


@dataclass(frozen=True)
class ListView:
    """The list of a run, or why there is none."""

    run: str
    model: str
    entries: tuple[Entry, ...] = ()
    reason: str | None = None
    notes: tuple[str, ...] = ()
    behind: tuple[Behind, ...] = ()
    more_behind: int = 0  #: past items that are not shown
    error: str | None = None


async def list_view(state: ServingState, run: ServedRun, asked: PageQuery) -> ListView:
    """The list that a page asks a run for."""
    name, model, loaded = run.name, run.current.run.name, run.current.run
    names = await state.batcher.call(lambda: control_names(loaded))
    try:
        wanted = asked.wanted(state.settings.max_k, names.alike_by or "facts")
        (answer,) = await state.lists(run, [wanted])
    except KgrecError as error:
        answer = error
    if isinstance(answer, KgrecError):
        return ListView(name, model, error=str(answer))
    items = await shown_items(state, run, answer.items)
    entries = tuple(Entry(*one) for one in zip(range(1, len(items) + 1), items, answer.scores))
    steps = answer.why or ()
    behind = tuple(
        Behind(
            step.item, step.label, (step.attention if step.strength is None else step.strength) or 0.0, step.evidence
        )
        for step in steps[:STEPS]
    )
    return ListView(
        name, model, entries, reason_sentence(answer), answer.notes, behind, max(0, len(steps) - STEPS), None
    )


def _strength(step: Step) -> float:
    return (step.attention if step.strength is None else step.strength) or 0.0


def reason_sentence(answer: Recommendations) -> str | None:
    """Why a list is as it is, as a sentence."""
    return None if answer.reason is None else SENTENCES.get(answer.reason, answer.reason)


def side_by_side(views: Sequence[ListView]) -> list[ListView]:
    """Two lists, each of which says of its items where they are in the other."""
    if len(views) != 2:
        return list(views)
    ranks = [{entry.item.id: entry.rank for entry in view.entries} for view in views]
    return [
        replace(view, entries=tuple(replace(one, elsewhere=other.get(one.item.id)) for one in view.entries))
        for view, other in zip(views, reversed(ranks))
    ]


async def shown_items(state: ServingState, run: ServedRun, ids: Sequence[str]) -> list[ShownItem]:
    """Items by their ids; one that the run does not know is shown by its id."""
    loaded, column = run.current, state.settings.image

    def look() -> list[ShownItem]:
        vocabulary = loaded.run.graph.vocabulary[loaded.target[2]]
        numbers = vocabulary.find(list(ids))
        known = iter(vocabulary.labels(numbers[numbers >= 0]))
        labels = [next(known) if number >= 0 else name for name, number in zip(ids, numbers.tolist())]
        return [ShownItem(*one) for one in zip(ids, labels, pictures(loaded.run, column, ids))]

    found: list[ShownItem] = await state.batcher.call(look) if ids else []
    return found


async def past_of(state: ServingState, run: ServedRun, user: str) -> tuple[list[PastStep], int]:
    """The last things that a user did, the last one first, and the number of all: what the run knows, and the events
    since."""
    loaded, wanted = run.current, Wanted(user)
    events = await state.events_of(run, wanted)

    def look() -> Sequence[Any]:
        merged = loaded.with_events(wanted, events).history
        if merged is not None:
            return merged
        return loaded.service.history_of(user) if loaded.knows_user(user) else ()

    steps: Sequence[dict[str, Any]] = await state.batcher.call(look)
    last = steps[: -PAST - 1 : -1]
    items = await shown_items(state, run, [step["item"] for step in last])
    shown = [PastStep(item, step.get("behaviour"), step.get("time")) for item, step in zip(items, last)]
    return shown, len(steps)


async def popular_items(state: ServingState, run: ServedRun) -> list[ShownItem]:
    """Items to begin with: the most popular ones. They are looked up once, and are no list that somebody got."""
    loaded = run.current
    most = min(POPULAR, state.settings.max_k, len(loaded.run.graph.range(loaded.target[2])))

    def look() -> list[str]:
        nobody = Wanted("", options=ListOptions(k=most))  # no user has an empty id
        (answer,) = loaded.service.recommend([nobody])
        return [] if isinstance(answer, KgrecError) else answer.items

    ids = await state.batcher.call(lambda: loaded.run.made_once("popular items", most, look))
    return await shown_items(state, run, ids)

"""Interactions that are facts: `:ann :bought :lamp`, or a resource for each with a user, an item and a rating."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

import pyarrow as pa

from kgrec.sources.guessing.behaviour_values import RELATION_OF
from kgrec.sources.guessing.column_words import ROLES, singular, words_of
from kgrec.sources.guessing.folder_files import FoundFile
from kgrec.sources.guessing.interaction_choice import Interactions
from kgrec.sources.guessing.key_search import ProfiledTable
from kgrec.sources.guessing.rdf_profile import Predicate, RdfProfile
from kgrec.sources.guessing.table_sample import SampledTable
from kgrec.sources.guessing.time_forms import time_form

LEAST_FACTS = 10  #: of a predicate, for it to be what users did
LEAST = 4.0  #: score from which on a predicate is taken for it
RATED = re.compile(r"rating|score|stars|value", re.IGNORECASE)


@dataclass(frozen=True)
class RdfEvents:
    """Interactions in RDF. predicates: those that are interactions, and so no facts."""

    events: Interactions
    predicates: tuple[str, ...]
    relation: str


def events_in(profile: RdfProfile) -> RdfEvents | None:
    """The interactions in RDF; None where no predicate leads from users to what they did something with."""
    return _reified(profile) or _direct(profile)


def _direct(profile: RdfProfile) -> RdfEvents | None:
    best: tuple[float, Predicate] | None = None
    for one in profile.predicates.values():
        if one.num_edges < LEAST_FACTS or len(one.subjects) < 2 or len(one.objects) < 2:
            continue
        name = {*words_of(_local(one.iri))}
        score = 3.0 * bool(name & RELATION_OF.keys() or name & {*RELATION_OF.values()})
        score += 3 * _are(one.subjects, "user", profile) + _are(one.objects, "item", profile)
        score += (one.num_edges > 1.2 * len(one.subjects)) + (one.num_edges > 1.2 * len(one.objects))
        score -= 6 * _are(one.objects, "user", profile)
        if score >= LEAST and (best is None or score > best[0]):
            best = score, one
    if best is None:
        return None
    predicate = best[1]
    pairs = sorted(predicate.pairs)
    query = f"SELECT ?user ?item WHERE {{ ?user <{predicate.iri}> ?item }}"
    columns = {"user": [head for head, _ in pairs], "item": [tail for _, tail in pairs]}
    word = next((RELATION_OF[w] for w in words_of(_local(predicate.iri)) if w in RELATION_OF), _local(predicate.iri))
    why = f"{predicate.num_edges:,} facts of <{predicate.iri}>"
    return RdfEvents(_events(profile, query, columns, why), (predicate.iri,), word)


def _reified(profile: RdfProfile) -> RdfEvents | None:
    """Resources of their own for interactions: each leads to one user and one item."""
    for members in sorted(profile.classes.values(), key=len, reverse=True):
        if len(members) < LEAST_FACTS:
            continue
        ends = [one for one in profile.predicates.values() if _is_single(one, members)]
        users = [one for one in ends if _are(one.objects, "user", profile) or _says(one.iri, "user")]
        items = [one for one in ends if one not in users and len(one.objects) < 0.9 * one.num_edges]
        items.sort(key=lambda one: -(_are(one.objects, "item", profile) + _says(one.iri, "item")))
        if users and items:
            return _of_resources(profile, users[0], items[0], members)
    return None


def _of_resources(profile: RdfProfile, user: Predicate, item: Predicate, members: Collection[str]) -> RdfEvents:
    """The interactions of resources with a user, an item, and perhaps a rating and a time."""
    user_of, item_of = dict(user.pairs), dict(item.pairs)
    kept = [one for one in members if one in user_of and one in item_of]
    columns: dict[str, list[str | None]] = {"user": [user_of[o] for o in kept], "item": [item_of[o] for o in kept]}
    query = f"?event <{user.iri}> ?user . ?event <{item.iri}> ?item ."
    for one in profile.predicates.values():
        having = sum(member in one.by_subject for member in kept)
        if having < 0.9 * len(kept):
            continue
        name = "time" if time_form(one.values) is not None else "rating" if RATED.search(_local(one.iri)) else ""
        if name and name not in columns:
            columns[name] = [one.by_subject.get(member) for member in kept]
            query += f" ?event <{one.iri}> ?{name} ."
    names = " ".join(f"?{name}" for name in columns)
    why = f"{len(kept):,} resources with <{user.iri}> and <{item.iri}>"
    relation = "rated" if "rating" in columns else "interacted"
    events = _events(profile, f"SELECT {names} WHERE {{ {query} }}", columns, why)
    return RdfEvents(events, (user.iri, item.iri), relation)


def _events(
    profile: RdfProfile, query: str, columns: dict[str, list[str | None]] | dict[str, list[str]], why: str
) -> Interactions:
    files: list[FoundFile] = profile.files
    arrays = {name: pa.chunked_array([pa.array(values, pa.string())]) for name, values in columns.items()}
    rows = len(arrays["user"])
    table = ProfiledTable(SampledTable(files, {"query": query}, arrays, profile.is_whole, rows))
    found = Interactions(table, table.columns["user"], table.columns["item"], 5.0)
    found.because = {"user": why, "item": "the other end of these facts"}
    found.time, found.weight = table.columns.get("time"), table.columns.get("rating")
    if found.weight is not None and not found.weight.is_number:
        found.weight = None
    if found.time is not None and found.time.time is not None:
        found.because["time"] = found.time.time.because
    return found


def _is_single(one: Predicate, members: Collection[str]) -> bool:
    """Whether nearly each of some resources has one fact of a predicate."""
    having = [subject for subject in one.subjects if subject in members]
    return len(having) > 0.9 * len(members) and sum(one.subjects[s] for s in having) < 1.1 * len(having)


def _are(resources: Collection[str], role: str, profile: RdfProfile) -> bool:
    """Whether resources are users or items: by their classes, or by their names, such as `user12`."""
    classes = profile.classes_of(resources)
    if any(_says(iri, role) and count > 0.5 * len({*resources}) for iri, count in classes.items()):
        return True
    few = list(resources)[:200]
    return sum(_says(re.split(r"[/#]", iri)[-1], role) or _says(_folder(iri), role) for iri in few) > 0.8 * len(few)


def _says(iri: str, role: str) -> bool:
    words = {singular(word) for word in words_of(_local(iri))}
    return bool(words & {singular(word) for word in ROLES[role]})


def _local(iri: str) -> str:
    return re.split(r"[/#:]", iri.rstrip("/#:"))[-1]


def _folder(iri: str) -> str:
    """The part of an IRI before its last one."""
    parts = re.split(r"[/#]", iri)
    return parts[-2] if len(parts) > 3 else ""

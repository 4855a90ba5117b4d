"""Facts in RDF and in tables of triples, and how the items' ids lead to their entities."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from kgrec.sources.guessing.column_profile import Column
from kgrec.sources.guessing.column_words import has_role
from kgrec.sources.guessing.commented_recipe import KEPT, CommentedRecipe
from kgrec.sources.guessing.interaction_words import form_of, rename_columns
from kgrec.sources.guessing.key_search import ProfiledTable, are_small_numbers, names_agree, overlap, percent
from kgrec.sources.guessing.node_choice import NodeChooser
from kgrec.sources.guessing.predicate_choice import SAME_AS, PredicateChoice, choose_predicates, inverses
from kgrec.sources.guessing.rdf_profile import NO_BASE, Predicate, RdfProfile

LEAST_LINKED = 0.05  #: share of the items that a link must reach
LEAST_OF_NUMBERS = 0.3  #: the same where ids are small numbers, which are in many IRIs by accident
ID_IN_IRI = re.compile(r"^(.*[/#:=])([^/#:=]+)$")
CODE = re.compile(r"^(?=\S*\d)[\w.:-]+$")
WITH_LETTERS = re.compile(r"^(.*?[A-Za-z_-])(\d+)$")


@dataclass(frozen=True)
class LinkGuess:
    """How ids lead to entities: the keys of a recipe, the share of items that they reach, and why."""

    part: dict[str, Any]
    share: float
    because: str
    entities: frozenset[str]


class KnowledgeChooser:
    """Writes `links`, `rdf` and `triples`."""

    def __init__(self, recipe: CommentedRecipe, chooser: NodeChooser, tables: Sequence[ProfiledTable]) -> None:
        self.recipe, self.chooser, self.tables = recipe, chooser, tables
        self.item = self._item_key()
        #: RDF in which no key found an item, though items have labels, and the remark that says so
        self.unlinked: tuple[RdfProfile, str] | None = None

    def _item_key(self) -> Column:
        """The column with the ids of all items."""
        chosen = self.chooser.chosen.get("item")
        return chosen[0].key if chosen else self.chooser.events.item

    def put_rdf(self, profile: RdfProfile, except_for: Collection[str] = ()) -> None:
        """Write the facts of RDF files and the link to them. except_for: predicates that are interactions."""
        link = self._rdf_link(profile)
        known = {*(link.entities if link else ()), *(self._users() if except_for else ())}
        choice = choose_predicates(profile, known, {*self.chooser.types})
        if link is None:
            self._say_no_link(profile, choice)
            return
        self.recipe.put("links", "item", value=link.part, because=link.because)
        self._use_link_table(link)
        self._put_facts(profile, choice, except_for)

    def put_linked_rdf(self, file: str, because: str, entities: Collection[str]) -> None:
        """Write the facts of the RDF in which no key found an item, and a file of links. entities: those in it."""
        assert self.unlinked is not None
        profile, text = self.unlinked
        self.recipe.remarks.remove(text)
        for one in profile.files:
            self.recipe.left_out.pop(one.name, None)
        self.recipe.put("links", "item", value={"file": file, "id": "id", "entity": "entity"}, because=because)
        self._put_facts(profile, choose_predicates(profile, {*entities}, {*self.chooser.types}), ())
        self.unlinked = None

    def keep_unlinked(self) -> None:
        """Write the facts of RDF in which no key found an item all the same."""
        if self.unlinked is not None:
            self._put_facts(self.unlinked[0], choose_predicates(self.unlinked[0], (), {*self.chooser.types}), ())

    def _put_facts(self, profile: RdfProfile, choice: PredicateChoice, except_for: Collection[str]) -> None:
        files = [file.name for file in profile.files]
        why = profile.seen().partition(";")[0]
        self.recipe.put("rdf", "files", value=files[0] if len(files) == 1 else files, because=why)
        if profile.is_lenient:
            self.recipe.put("rdf", "lenient", value=True, because="some IRIs are not valid")
        if profile.needs_base:
            self.recipe.put("rdf", "base", value=NO_BASE, because="some IRIs are relative; write the right base here")
        self._put_choice(choice, except_for)

    def _users(self) -> Iterable[str]:
        """The users, who are resources where the interactions are facts."""
        return self.chooser.events.user.distinct.to_pylist()

    def _put_choice(self, choice: PredicateChoice, except_for: Collection[str]) -> None:
        exclude = [*choice.exclude, *except_for]
        if exclude:
            self.recipe.put("rdf", "exclude", value=exclude, because="the reasons are at the end")
            self.recipe.left_out |= choice.exclude
            self.recipe.left_out |= dict.fromkeys(except_for, "is what users did, so it is in `interactions`")
        for key in ("types", "labels", "literals", "inverse_of"):
            value = getattr(choice, key)
            if value:
                self.recipe.put("rdf", key, value=value, because=choice.because.get((key,), ""))
        if choice.languages:
            self.recipe.put("rdf", "language", value=choice.languages, because=choice.because["language",])
        for place, why in choice.because.items():
            if place[0] in ("types", "literals") and len(place) > 1:
                self.recipe.because["rdf", *place] = why
        kept = [
            f"  {iri}: {why}" for (key, *rest), why in choice.because.items() if key == "predicates" for iri in rest
        ]
        if kept:
            self.recipe.remarks.append("\n".join([KEPT, *kept[:40]]))
        self.recipe.left_out |= choice.left_out

    def _say_no_link(self, profile: RdfProfile, choice: PredicateChoice) -> None:
        """Say that no item was found in the RDF, and what there is."""
        files = ", ".join(file.name for file in profile.files)
        name = self.item.table.files[0].path.name
        text = (
            f"No item of {name} was found in {files}: neither its ids are in IRIs or values, nor does a table join the "
        )
        text += f"two. Seen: {profile.seen()}."
        if any("label" in one for one in self._node_parts()):
            self.unlinked = profile, text
        self.recipe.remarks.append(text)
        for file in profile.files:
            self.recipe.left_out[file.name] = "no item was found in it (see above)"

    def _node_parts(self) -> Iterable[dict[str, Any]]:
        nodes = self.recipe.values.get("nodes", {}).get("item", {})
        return nodes.get("tables", [nodes])

    def _rdf_link(self, profile: RdfProfile) -> LinkGuess | None:
        """The link that reaches most items; None where there is none."""
        resources = profile.resources
        guesses = [
            *self._tables_with(resources, "resources"),
            *self._tables_with_codes(profile, resources),
            _by_template(self.item, resources),
            *(_by_predicate(self.item, one) for one in profile.predicates.values()),
        ]
        found = [one for one in guesses if one is not None and one.share >= LEAST_LINKED]
        return max(found, key=lambda one: one.share, default=None)

    def _tables_with(self, resources: Collection[str], what: str) -> Iterable[LinkGuess]:
        """Tables with the ids of items in one column and entities in another."""
        names = pa.array([*resources], pa.string())
        for table, key, share, column in self._columns_beside_items():
            if what != "resources" and len(column.distinct) < 5:
                continue
            found = pc.is_in(column.distinct, value_set=names)
            hits = pc.sum(found).as_py() or 0
            if hits < _least_hits(column, table) * len(column.distinct):
                continue
            entities = frozenset(column.distinct.filter(found).to_pylist())
            yield self._link(table, key, column, share, hits / len(column.distinct), entities, f"{what} of the facts")

    def _tables_with_codes(self, profile: RdfProfile, resources: Collection[str]) -> Iterable[LinkGuess]:
        """Tables with the ids of items in one column, and in another codes in which IRIs end, or which are values of a
        predicate."""
        columns = [found for found in self._columns_beside_items() if _are_codes(found[3])]
        if not columns:
            return
        parts = [match.groups() for match in map(ID_IN_IRI.match, resources) if match]
        places, ends = (pa.array([pair[end] for pair in parts], pa.string()) for end in (0, 1))
        for table, key, share, column in columns:
            of_end = pc.is_in(ends, value_set=column.distinct)
            counted = pc.value_counts(places.filter(of_end)).to_pylist()
            if counted:
                best = max(counted, key=lambda one: one["counts"])
                place, hits = best["values"], best["counts"]
                if hits >= _least_hits(column, table) * len(column.distinct):
                    codes = ends.filter(pc.and_(of_end, pc.equal(places, place))).to_pylist()
                    entities = frozenset(place + code for code in codes)
                    guess = self._link(
                        table, key, column, share, hits / len(column.distinct), entities, "ends of IRIs of the facts"
                    )
                    guess.part["iri"] = place + "{entity}"
                    yield guess
            codes = {*column.distinct.to_pylist()}
            for one in profile.predicates.values():
                hits = len(one.distinct & codes)
                least = 0.9 if are_small_numbers(column) else 0.2
                if hits < max(5, least * len(codes)) or (column.is_integer and hits < 0.3 * len(one.distinct)):
                    continue
                entities = frozenset(subject for subject, value in one.by_subject.items() if value in codes)
                what = f"values of {one.iri} in the facts"
                guess = self._link(table, key, column, share, hits / len(codes), entities, what)
                guess.part["value_of"] = one.iri
                yield guess

    def _columns_beside_items(self) -> Iterable[tuple[ProfiledTable, Column, float, Column]]:
        """Columns that stand beside the ids of items: the table, its column of ids, the share of the items that it has,
        and the other column."""
        for table in self.tables:
            if table.sample.is_lists or len(table.columns) > 60:
                continue
            columns = [c for c in table.columns.values() if not c.is_list and c.few]
            keys = [(self._share_of_items(c, table), c) for c in columns]
            keys = [pair for pair in keys if pair[0] > 0]
            if not keys:
                continue
            share, key = max(keys, key=lambda pair: (pair[0], has_role(pair[1].name, "item")))
            for column in columns:
                is_number_of_many = are_small_numbers(column) and not column.is_nearly_unique
                if column is not key and not column.is_flag and not is_number_of_many:
                    yield table, key, share, column

    def _share_of_items(self, column: Column, table: ProfiledTable) -> float:
        """The share of the items whose ids a column has; 0 where it has few, or by accident."""
        if column is self.item:
            return 1.0 if column.is_nearly_unique else 0.0
        if not column.is_key or not column.is_nearly_unique:
            return 0.0
        share, cover = overlap(self.item, column)
        if share < LEAST_LINKED:
            return 0.0
        named = names_agree(column.name, self.item.name, self.item.table.name) or has_role(column.name, "item")
        is_odd = cover < 0.5 and not named
        if has_role(column.name, "user") and not has_role(column.name, "item"):
            return 0.0
        return 0.0 if is_odd else share

    def _link(
        self,
        table: ProfiledTable,
        key: Column,
        column: Column,
        share: float,
        hits: float,
        entities: frozenset[str],
        what: str,
    ) -> LinkGuess:
        if table not in self.chooser.used:
            rename_columns(table, {key: "item", column: "entity"})
        part: dict[str, Any] = {"file": table.sample.file, **form_of(table.sample)}
        missing = sorted({*key.missing, *column.missing})
        part |= {"missing": ["", *missing]} if missing else {}
        because = f"{percent(hits)} of {table.shown}:{column.name} are {what}; "
        because += f"it has {percent(share)} of the items"
        return LinkGuess(part | {"id": key.name, "entity": column.name}, share * hits, because, entities)

    def put_triples(self) -> None:
        """Write tables of triples, with the link to their entities."""
        for table in self.tables:
            columns = [*table.columns.values()]
            if table in self.chooser.used or not _are_triples(table):
                continue
            head, relation, tail = columns[:3]
            entities = {*head.distinct.to_pylist(), *tail.distinct.to_pylist()}
            links = [one for one in self._tables_with(entities, "entities") if one.share >= LEAST_LINKED]
            link = max(links, key=lambda one: one.share, default=None)
            own = self._own_entities(entities, table)
            if link is None and own is None:
                self.recipe.left_out[table.name] = "a table of triples in which no item was found"
                continue
            rename_columns(table, {head: "head", relation: "relation", tail: "tail"})
            chosen = link or own
            assert chosen is not None
            if "item" in self.recipe.values.get("links", {}):
                self.recipe.left_out[table.name] = "a table of triples; the items are linked to other facts already"
                continue
            self.recipe.put("links", "item", value=chosen.part, because=chosen.because)
            part: dict[str, Any] = {"file": table.sample.file, **form_of(table.sample)}
            part |= {"head": head.name, "relation": relation.name, "tail": tail.name}
            why = f"{table.sample.estimated:,} triples of {len(relation.distinct):,} relations"
            self.recipe.put("triples", value=part, because=why)
            turned = _inverse_relations(table)
            if turned:
                self.recipe.put("triples", "inverse_of", value=turned, because="the same facts in the other direction")
            self.chooser.used.append(table)
            self._use_link_table(chosen)

    def _use_link_table(self, link: LinkGuess) -> None:
        self.recipe.left_out.pop(f"{link.part.get('file')}:{link.part.get('entity')}", None)
        self.chooser.used += [one for one in self.tables if one.sample.file == link.part.get("file")]

    def _own_entities(self, entities: set[str], table: ProfiledTable) -> LinkGuess | None:
        """The link where items have their own ids in the facts."""
        ids = self.item.distinct.to_pylist()
        found = [one for one in ids if one in entities]
        share = len(found) / max(1, len(ids))
        least = 0.9 if are_small_numbers(self.item) else LEAST_LINKED
        if share < least or (are_small_numbers(self.item) and not table.has_role("knowledge")):
            return None
        because = f"{percent(share)} of the items are entities of {table.shown} by their own ids"
        return LinkGuess({"template": "{id}"}, share, because, frozenset(found))


def _least_hits(column: Column, table: ProfiledTable) -> float:
    """The share of a column's values that must be found, for it to be more than chance."""
    return 0.2 if not are_small_numbers(column) else 0.5 if table.has_role("link") else 0.9


def _are_codes(column: Column) -> bool:
    """Whether a column has a value of its own in nearly each row, and the values are codes: words with digits."""
    few = column.few[:1000]
    if not column.is_nearly_unique or column.is_iri or column.time is not None:
        return False
    return sum(bool(CODE.match(value)) for value in few) > 0.9 * len(few)


def _are_triples(table: ProfiledTable) -> bool:
    """Whether a table has heads, relations and tails: three columns, with few different texts in the middle."""
    columns = [*table.columns.values()]
    if len(columns) != 3 or any(c.is_list for c in columns) or table.sample.is_lists:
        return False
    head, relation, tail = columns
    named = (
        table.has_role("knowledge")
        or has_role(head.name, "knowledge")
        or head.name.split("_")[0] in ("head", "h", "subject")
    )
    few = len(relation.distinct) <= max(10, 0.05 * table.sample.rows)
    texts = not relation.is_number or named
    return (
        head.is_key and (tail.is_key or not tail.is_text) and few and texts and (named or not table.sample.has_header)
    )


def _inverse_relations(table: ProfiledTable) -> dict[str, str]:
    head, relation, tail = (c.values.to_pylist() for c in table.columns.values())
    pairs: dict[str, set[tuple[str, str]]] = {}
    for one, name, other in zip(head, relation, tail):
        if one is not None and name is not None and other is not None:
            pairs.setdefault(name, set()).add((one, other))
    return inverses(pairs) if len(pairs) <= 400 else {}


def _by_template(item: Column, resources: Collection[str]) -> LinkGuess | None:
    """A template of IRIs with the id at the end: the one that most ids fit."""
    ids = {*item.distinct.to_pylist()}
    hits: Counter[str] = Counter()
    all_of: Counter[str] = Counter()
    for iri in resources:
        match = ID_IN_IRI.match(iri)
        for place, local in [match.groups()] if match else []:
            tries = [(place, local)]
            letters = WITH_LETTERS.match(local)
            if letters:
                tries.append((place + letters[1], letters[2]))
            for start, end in tries:
                all_of[start] += 1
                hits[start] += end in ids
    own = len(ids & {*resources})
    if own:
        hits[""], all_of[""] = own, len(resources)
    if not hits:
        return None
    start, count = hits.most_common(1)[0]
    share = count / max(1, len(ids))
    if count < 3 and share < 0.5:
        return None
    if are_small_numbers(item) and (share < LEAST_OF_NUMBERS or count < 0.3 * all_of[start]):
        return None
    because = f"{percent(min(1.0, share))} of the items are resources named {start}{{id}}"
    entities = frozenset(f"{start}{one}" for one in ids) & frozenset(resources)
    return LinkGuess({"template": f"{start}{{id}}"}, share, because, entities)


def _by_predicate(item: Column, predicate: Predicate) -> LinkGuess | None:
    """A predicate whose values are ids, such as schema:sku; or `owl:sameAs`, whose objects are."""
    ids = {*item.distinct.to_pylist()}
    values = predicate.distinct & ids
    share = len(values) / max(1, len(ids))
    if are_small_numbers(item) and share < 0.5:
        share = 0.0
    if share >= LEAST_LINKED and len(values) > 0.3 * len(predicate.distinct) and len(predicate.distinct) > 1:
        subjects = frozenset(s for s, value in predicate.by_subject.items() if value in ids)
        because = f"{percent(share)} of the items' ids are values of it"
        return LinkGuess({"predicate": predicate.iri}, share, because, subjects)
    if predicate.iri == SAME_AS or predicate.iri.rpartition("#")[2] in ("exactMatch", "sameAs"):
        ends = {tail for _, tail in predicate.pairs} & ids
        if len(ends) >= LEAST_LINKED * len(ids):
            subjects = frozenset(head for head, tail in predicate.pairs if tail in ids)
            share = len(ends) / len(ids)
            return LinkGuess(
                {"predicate": predicate.iri}, share, f"{percent(share)} of the items are its objects", subjects
            )
    return None

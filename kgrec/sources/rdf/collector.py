"""Sorts triples: each is an edge, a class of its subject, a value to keep, or is counted as left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.large_arrays import GrowingArray, chosen, counts, empty, require_memory, spans
from kgrec.sources.rdf.facts import RDF_TYPE, FactOptions, Facts, Literals
from kgrec.sources.rdf.left_out import BLANK, EXCLUDED, NO_CLASS, OTHER_LANGUAGE, REPEATED, UNWANTED
from kgrec.sources.rdf.numbering import Numbering, as_spans, first_rows, memory_of_ids
from kgrec.sources.rdf.schema_org import schemes, vocabulary_term

BATCH = 1 << 14  #: triples that are kept as Python strings before they are numbered together


class Use(IntFlag):
    """What the triples of a predicate are used for."""

    NOTHING = 0
    EDGE = 1
    CLASS = 2
    VALUE = 4


@dataclass
class _Values:
    """The values of one predicate: new ones as lists, and those whose subjects are numbered in chunks."""

    subject: list[str] = field(default_factory=list)
    value: list[str] = field(default_factory=list)
    language: list[str | None] = field(default_factory=list)
    datatype: list[str] = field(default_factory=list)
    chunks: list[Literals] = field(default_factory=list)
    size: int = 0  #: bytes of the chunks

    def number(self, resources: Numbering) -> None:
        """Number the subjects of the new values."""
        subject = resources.numbers(self.subject).astype(np.int64)
        columns = (self.value, self.language, self.datatype)
        literals = Literals(subject, *(pa.array(column, pa.string()) for column in columns))
        self.chunks.append(literals)
        parts = (literals.subject, literals.value, literals.language, literals.datatype)
        self.size += sum(part.nbytes for part in parts)
        for waiting in (self.subject, *columns):
            waiting.clear()

    def literals(self) -> Literals:
        """All values, after `number`."""
        return Literals(
            np.concatenate([chunk.subject for chunk in self.chunks]),
            pa.concat_arrays([chunk.value for chunk in self.chunks]),
            pa.concat_arrays([chunk.language for chunk in self.chunks]),
            pa.concat_arrays([chunk.datatype for chunk in self.chunks]),
        )


class FactCollector:
    """Takes triples one by one (`fact`, `literal`) or many at a time (`facts_in`), and numbers their resources.

    Names that begin with `_` are blank nodes. ids: more predicates whose values are kept, in any language.
    """

    def __init__(self, options: FactOptions, ids: Collection[str] = ()) -> None:
        self.options = options
        self.share = 1.0  #: how much of the source has been read, as an estimate
        self._num_triples = 0  # without those in _waiting
        self.skipped: Counter[str] = Counter()
        self._skipped_of: Counter[tuple[str, str]] = Counter()  # (why, predicate)
        self._skipped_rows: dict[str, np.ndarray] = {}  # why -> how many by number of predicate
        self._spellings = _Spellings()
        self._ids = {vocabulary_term(name) for name in ids}
        self._value_predicates = {options.term(name) for name in (*options.labels, *options.literals)} | self._ids
        self._resources = Numbering()
        self._predicates = Numbering()
        self._classes = Numbering()
        self._uses = np.empty(0, np.uint8)  # by number of predicate
        self._waiting: list[str] = []  # subject, predicate, object, subject ...
        self._edges = GrowingArray(np.int32, 3)  # [n, 3]: predicate, subject, object
        self._types = GrowingArray(np.int32, 2)  # [n, 2]: class, subject
        self._values: dict[str, _Values] = {}
        self._num_waiting_values = 0

    @property
    def num_triples(self) -> int:
        """All triples so far."""
        return self._num_triples + len(self._waiting) // 3

    def skip(self, why: str, count: int = 1) -> None:
        """Count triples that are not used."""
        self._num_triples += count
        self.skipped[why] += count

    def skip_values(self, predicate: np.ndarray) -> None:
        """Count values that are not used, of predicates with these numbers."""
        self._num_triples += len(predicate)
        self._skip_rows(UNWANTED, predicate)

    def _skip_rows(self, why: str, predicate: np.ndarray) -> None:
        if len(predicate):
            counts = np.bincount(predicate, minlength=len(self._predicates))
            before = self._skipped_rows.get(why, counts[:0])
            counts[: len(before)] += before
            self._skipped_rows[why] = counts
            self.skipped[why] += len(predicate)

    def _skip_value(self, why: str, predicate: str) -> None:
        self.skip(why)
        self._skipped_of[why, predicate] += 1

    def fact(self, subject: str, predicate: str, object: str) -> None:
        """Add one triple between resources."""
        self._waiting += (subject, predicate, object)
        if len(self._waiting) >= 3 * BATCH:
            self._number_waiting()

    def literal(self, subject: str, predicate: str, value: str, language: str | None, datatype: str) -> None:
        """Add one triple whose object is a value."""
        predicate = self._spellings.term(predicate)
        if predicate not in self._value_predicates:
            self._skip_value(UNWANTED, predicate)
        elif self.options.blank_nodes == "skip" and subject.startswith("_"):
            self._skip_value(BLANK, predicate)
        elif self._rank(language) is None and predicate not in self._ids:
            self._skip_value(OTHER_LANGUAGE, predicate)
        else:
            self._num_triples += 1
            values = self._values.setdefault(predicate, _Values())
            values.subject.append(subject)
            values.value.append(value)
            values.language.append(language)
            values.datatype.append(datatype)
            self._num_waiting_values += 1
            if self._num_waiting_values >= BATCH:
                self._number_waiting()

    def facts_in(self, text: np.ndarray, span: np.ndarray) -> None:
        """Add many triples between resources, whose names are in `text` (uint8, UTF-8).

        span: int32 [n, 3, 2], where subject, predicate and object start and stop.
        """
        predicate, use = self.predicates_in(text, span[:, 1])
        ends = np.stack([use & (Use.EDGE | Use.CLASS), use & Use.EDGE], axis=1) != 0
        self._num_triples += len(span)
        self._skip_rows(EXCLUDED, predicate[~ends[:, 0]])
        is_blank = text[np.minimum(span[:, ::2, 0], len(text) - 1)] == ord("_")
        if self.options.blank_nodes == "skip":
            self._skip_rows(BLANK, predicate[is_blank.any(axis=1) & ends[:, 0]])
            ends &= ~is_blank.any(axis=1, keepdims=True)
        number = np.full(ends.shape, -1, np.int32)
        number[ends] = self._resources.numbers_of(text, span[:, ::2][ends])
        edge = ends[:, 1]
        self._edges.add(np.stack([predicate[edge], number[edge, 0], number[edge, 1]], axis=1))
        has_class = ends[:, 0] & (use & Use.CLASS != 0)
        self.skipped[NO_CLASS] += int((has_class & is_blank[:, 1]).sum())
        has_class &= ~is_blank[:, 1]
        self._types.add(np.stack([self._classes.numbers_of(text, span[has_class, 2]), number[has_class, 0]], axis=1))
        self._require_memory()

    def _require_memory(self) -> None:
        """Raise KgrecError where names and values do not fit into the memory of `kgrec.large_arrays`."""
        count = len(self._resources)
        size = memory_of_ids(count, self._resources.text_bytes)
        require_memory(size, f"the names of {count:,} resources", self.share, held="the names of resources")
        values = 2 * sum(values.size for values in self._values.values())
        require_memory(values, "the literal values", self.share, held="the literal values")

    def predicates_in(self, text: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number and use (both [n]) of the predicates in `text` at `span` (int32 [n, 2])."""
        predicate = self._predicates.numbers_of(text, span)
        names = [self._predicates.name(number) for number in range(len(self._uses), len(self._predicates))]
        new = [self._use(self._spellings.term(name)) for name in names]
        self._uses = np.concatenate([self._uses, np.array(new, np.uint8)])
        return predicate, self._uses[predicate]

    def _use(self, predicate: str) -> Use:
        """What the triples of a predicate are used for. rdf:type gives classes; it is also a relation if it is in
        `include`."""
        options = self.options
        use = Use.VALUE if predicate in self._value_predicates else Use.NOTHING
        if predicate != RDF_TYPE:
            return use | Use.EDGE if options.wants(predicate) else use
        if options.include is not None and options.wants(predicate):
            use |= Use.EDGE
        return use if options.matches(predicate, options.exclude) else use | Use.CLASS

    def _rank(self, language: str | None) -> int | None:
        """The rank of a language in the recipe's list, from 0; None: it is not wanted. `en` includes en-GB. "" is no
        language; it comes last if it is not in the list."""
        wanted, tag = self.options.language, (language or "").lower()
        for rank, name in enumerate(map(str.lower, wanted)):
            if tag == name or (name and tag.startswith(f"{name}-")):
                return rank
        return len(wanted) if not wanted or not tag else None

    def _number_waiting(self) -> None:
        text, span = as_spans(self._waiting)
        self._waiting.clear()
        self.facts_in(text, span.reshape(-1, 3, 2))
        for values in self._values.values():
            if values.subject:
                values.number(self._resources)
        self._num_waiting_values = 0

    def facts(self) -> Facts:
        """All facts that were collected."""
        self._number_waiting()
        edges, types = self._edges.array(), self._types.array()
        self._spellings.unify(edges, self._predicates)
        self._spellings.unify(types, self._classes)
        is_new = first_rows(edges)
        self.skipped[REPEATED] += int((~is_new).sum())
        is_first = first_rows(types)
        self.skipped[REPEATED] += int((~is_first).sum())
        edges = edges if is_new.all() else chosen(edges, is_new)
        types = types if is_first.all() else chosen(types, is_first)
        literals = {name: self._of_one_predicate(name, values.literals()) for name, values in self._values.items()}
        return Facts(
            edges={term: (rows[:, 0], rows[:, 1]) for term, rows in _split(edges, self._predicates)},
            types={term: rows[:, 0] for term, rows in _split(types, self._classes)},
            literals=literals,
            resources=self._resources.array(),
            num_triples=self.num_triples,
            skipped={why: count for why, count in self.skipped.items() if count},
            skipped_of=self._all_skipped(),
            spelled=self._spellings.first,
            schemes=frozenset(self._spellings.schemes),
        )

    def _all_skipped(self) -> Counter[tuple[str, str]]:
        """The counts of what was left out, by reason and predicate."""
        counts = Counter(self._skipped_of)
        for why, of_predicate in self._skipped_rows.items():
            for number in np.flatnonzero(of_predicate):
                counts[why, vocabulary_term(self._predicates.name(int(number)))] += int(of_predicate[number])
        return counts

    def _of_one_predicate(self, predicate: str, literals: Literals) -> Literals:
        """The values of a predicate, each once, in the preferred language."""
        distinct = literals.distinct()
        self.skipped[REPEATED] += len(literals.subject) - len(distinct.subject)
        return distinct if predicate in self._ids else self._best_language(predicate, distinct)

    def _best_language(self, predicate: str, literals: Literals) -> Literals:
        """For each subject, only the values in the most preferred language that it has."""
        if not self.options.language:
            return literals
        codes = literals.language.fill_null("").dictionary_encode()
        ranks = np.array([self._rank(name) for name in codes.dictionary.to_pylist()], np.int64)
        rank = ranks[codes.indices.to_numpy()]
        best = np.full(int(literals.subject.max()) + 1, len(self.options.language))
        np.minimum.at(best, literals.subject, rank)
        kept = rank == best[literals.subject]
        if not kept.all():
            self.skipped[OTHER_LANGUAGE] += int((~kept).sum())
            self._skipped_of[OTHER_LANGUAGE, predicate] += int((~kept).sum())
        return literals.where(kept)


class _Spellings:
    """How predicates and classes of schema.org are spelled."""

    def __init__(self) -> None:
        self.first: dict[str, str] = {}  #: term -> the spelling that came first
        self.schemes: set[str] = set()  #: `http`, `https`
        self._terms: dict[str, str] = {}

    def term(self, iri: str) -> str:
        """The spelling that is used to compare a predicate or class."""
        if iri not in self._terms:
            self._terms[iri] = vocabulary_term(iri)
            found = schemes([iri])
            if found:
                self.schemes |= found
                self.first.setdefault(self._terms[iri], iri)
        return self._terms[iri]

    def unify(self, rows: np.ndarray, names: Numbering) -> None:
        """Replace numbers in the first column of rows, so that two spellings of a name have the same number."""
        iris = names.array()
        if pc.any(pc.match_substring(iris, "//schema.org/")).as_py():
            first: dict[str, int] = {}
            number = [first.setdefault(self.term(iri), place) for place, iri in enumerate(iris.to_pylist())]
            for span in spans(len(rows)):
                rows[span, 0] = np.array(number, np.int32)[rows[span, 0]]


def _split(rows: np.ndarray, names: Numbering) -> list[tuple[str, np.ndarray]]:
    """The rows of each name, in order, without the first column, which is the name's number."""
    ends = np.cumsum(counts(rows[:, 0], len(names)))
    ordered = empty((len(rows), rows.shape[1] - 1), rows.dtype)
    filled = np.concatenate([[0], ends[:-1]]) if len(names) else ends  # int64 [names]: where the next row of each goes
    for span in spans(len(rows)):
        order = np.argsort(rows[span, 0], kind="stable")
        number = rows[span, 0][order]
        of_name = np.bincount(number, minlength=len(names))
        within = np.arange(len(order)) - np.repeat(np.cumsum(of_name) - of_name, of_name)
        ordered[filled[number] + within] = rows[span, 1:][order]
        filled += of_name
    parts = np.split(ordered, ends[:-1]) if len(names) else []
    return [(vocabulary_term(names.name(number)), part) for number, part in enumerate(parts) if len(part)]

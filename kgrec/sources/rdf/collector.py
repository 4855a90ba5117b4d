"""What becomes of each triple: an edge, a class of its subject, a value to keep, or a count of what was left out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import IntFlag

import numpy as np
import pyarrow as pa

from kgrec.sources.rdf.facts import FactOptions, Facts, Literals
from kgrec.sources.rdf.numbering import Numbering, as_spans

RDF_TYPE = "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"
BATCH = 1 << 14  #: triples that wait as Python strings to be numbered together

EXCLUDED = "facts of predicates that are not included"
UNWANTED = "values of predicates that are no label or feature"
BLANK = "facts about blank nodes"
OTHER_LANGUAGE = "values in other languages"
NO_CLASS = "classes that are no IRI"
QUOTED = "triples about triples"


class Use(IntFlag):
    """What the triples of a predicate are good for."""

    NOTHING = 0
    EDGE = 1
    CLASS = 2
    VALUE = 4


@dataclass
class _Values:
    """The values of one predicate: those that wait, as lists, and those whose subjects are numbered, in chunks."""

    subject: list[str] = field(default_factory=list)
    value: list[str] = field(default_factory=list)
    language: list[str | None] = field(default_factory=list)
    datatype: list[str] = field(default_factory=list)
    chunks: list[Literals] = field(default_factory=list)

    def number(self, resources: Numbering) -> None:
        """Give the waiting subjects their numbers."""
        subject = resources.numbers(self.subject).astype(np.int64)
        columns = (self.value, self.language, self.datatype)
        self.chunks.append(Literals(subject, *(pa.array(column, pa.string()) for column in columns)))
        for waiting in (self.subject, *columns):
            waiting.clear()

    def literals(self) -> Literals:
        """All of them, where none waits."""
        return Literals(
            np.concatenate([chunk.subject for chunk in self.chunks]),
            pa.concat_arrays([chunk.value for chunk in self.chunks]),
            pa.concat_arrays([chunk.language for chunk in self.chunks]),
            pa.concat_arrays([chunk.datatype for chunk in self.chunks]),
        )


class FactCollector:
    """Takes triples one by one (`fact`, `literal`) or many at a time (`facts_in`), and numbers what they name.

    Names that begin with `_` are blank nodes; the caller takes them from `new_blank`.
    """

    def __init__(self, options: FactOptions) -> None:
        self.options = options
        self._num_triples = 0  # less those that wait
        self.skipped: Counter[str] = Counter()
        self._num_blank = 0
        self._value_predicates = {options.expanded(name) for name in (*options.labels, *options.literals)}
        self._resources = Numbering()
        self._predicates = Numbering()
        self._classes = Numbering()
        self._uses = np.empty(0, np.uint8)  # by number of predicate
        self._waiting: list[str] = []  # subject, predicate, object, subject ...
        self._edges: list[np.ndarray] = []  # int32 [n, 3]: predicate, subject, object
        self._types: list[np.ndarray] = []  # int32 [n, 2]: class, subject
        self._values: dict[str, _Values] = {}
        self._num_waiting_values = 0

    @property
    def num_triples(self) -> int:
        """All triples so far."""
        return self._num_triples + len(self._waiting) // 3

    def new_blank(self) -> str:
        """A name for a blank node."""
        self._num_blank += 1
        return f"_:b{self._num_blank - 1}"

    def skip(self, why: str, count: int = 1) -> None:
        """Triples that are good for nothing."""
        self._num_triples += count
        self.skipped[why] += count

    def fact(self, subject: str, predicate: str, object: str) -> None:
        """One triple between resources."""
        self._waiting += (subject, predicate, object)
        if len(self._waiting) >= 3 * BATCH:
            self._number_waiting()

    def literal(self, subject: str, predicate: str, value: str, language: str | None, datatype: str) -> None:
        """One triple whose object is a value."""
        if predicate not in self._value_predicates:
            self.skip(UNWANTED)
        elif self.options.blank_nodes == "skip" and subject.startswith("_"):
            self.skip(BLANK)
        elif self._rank(language) is None:
            self.skip(OTHER_LANGUAGE)
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
        """Many triples between resources, whose names stand in `text` (uint8, UTF-8).

        span: int32 [n, 3, 2], where subject, predicate and object start and stop.
        """
        predicate, use = self.predicates_in(text, span[:, 1])
        ends = np.stack([use & (Use.EDGE | Use.CLASS), use & Use.EDGE], axis=1) != 0
        self._num_triples += len(span)
        self.skipped[EXCLUDED] += int((~ends[:, 0]).sum())
        is_blank = text[np.minimum(span[:, ::2, 0], len(text) - 1)] == ord("_")
        if self.options.blank_nodes == "skip":
            self.skipped[BLANK] += int((is_blank.any(axis=1) & ends[:, 0]).sum())
            ends &= ~is_blank.any(axis=1, keepdims=True)
        number = np.full(ends.shape, -1, np.int32)
        number[ends] = self._resources.numbers_of(text, span[:, ::2][ends])
        edge = ends[:, 1]
        self._edges.append(np.stack([predicate[edge], number[edge, 0], number[edge, 1]], axis=1))
        has_class = ends[:, 0] & (use & Use.CLASS != 0)
        self.skipped[NO_CLASS] += int((has_class & is_blank[:, 1]).sum())
        has_class &= ~is_blank[:, 1]
        self._types.append(np.stack([self._classes.numbers_of(text, span[has_class, 2]), number[has_class, 0]], axis=1))

    def predicates_in(self, text: np.ndarray, span: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Number and use (both [n]) of predicates that stand in `text` at `span` (int32 [n, 2])."""
        predicate = self._predicates.numbers_of(text, span)
        new = [self._use(self._predicates.name(n)) for n in range(len(self._uses), len(self._predicates))]
        self._uses = np.concatenate([self._uses, np.array(new, np.uint8)])
        return predicate, self._uses[predicate]

    def _use(self, predicate: str) -> Use:
        """What the triples of a predicate are good for. rdf:type gives classes; it is a relation too where `include`
        names it."""
        options = self.options
        use = Use.VALUE if predicate in self._value_predicates else Use.NOTHING
        if predicate != RDF_TYPE:
            return use | Use.EDGE if options.wants(predicate) else use
        if options.include is not None and options.wants(predicate):
            use |= Use.EDGE
        return use if options.matches(predicate, options.exclude) else use | Use.CLASS

    def _rank(self, language: str | None) -> int | None:
        """How much a language is wanted, 0 the most; None: not at all. `en` is also en-GB; "" is no language, which
        comes last where it is not named."""
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
        """All that was collected."""
        self._number_waiting()
        return Facts(
            edges={name: (rows[:, 0], rows[:, 1]) for name, rows in _split(self._edges, self._predicates)},
            types={name: rows[:, 0] for name, rows in _split(self._types, self._classes)},
            literals={name: self._best_language(values.literals()) for name, values in self._values.items()},
            resources=self._resources.array(),
            num_triples=self.num_triples,
            skipped={why: count for why, count in self.skipped.items() if count},
        )

    def _best_language(self, literals: Literals) -> Literals:
        """Of each subject only the values in the language that is wanted most among those it has."""
        if not self.options.language:
            return literals
        codes = literals.language.fill_null("").dictionary_encode()
        ranks = np.array([self._rank(name) for name in codes.dictionary.to_pylist()], np.int64)
        rank = ranks[codes.indices.to_numpy()]
        best = np.full(int(literals.subject.max()) + 1, len(self.options.language))
        np.minimum.at(best, literals.subject, rank)
        kept = rank == best[literals.subject]
        self.skipped[OTHER_LANGUAGE] += int((~kept).sum())
        columns = (literals.value, literals.language, literals.datatype)
        return Literals(literals.subject[kept], *(column.filter(pa.array(kept)) for column in columns))


def _split(chunks: Sequence[np.ndarray], names: Numbering) -> list[tuple[str, np.ndarray]]:
    """The rows of each name, in order, less the first column, which is the name's number."""
    rows = np.concatenate(chunks)
    order = np.argsort(rows[:, 0], kind="stable")
    ends = np.cumsum(np.bincount(rows[:, 0], minlength=len(names)))
    parts = np.split(rows[order, 1:], ends[:-1]) if len(names) else []
    return [(names.name(number), part) for number, part in enumerate(parts) if len(part)]

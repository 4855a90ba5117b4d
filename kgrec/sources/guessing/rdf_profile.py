"""What is in files of RDF: predicates with how many facts and how they are spread, classes, labels, and resources."""

from __future__ import annotations

import itertools
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from kgrec.errors import KgrecError
from kgrec.sources.guessing.folder_files import FoundFile
from kgrec.sources.rdf.facts import RDF_TYPE
from kgrec.sources.rdf.rdf_file import RdfFile, format_of

MOST = 400_000  #: triples of a file that are read
MOST_VALUES = 300  #: values of a predicate that are kept to look at
MOST_JSON_LD = 1 << 28  #: bytes of JSON-LD, which is read as a whole
NO_BASE = "http://kgrec.invalid/"  #: the base of files with relative IRIs


@dataclass(eq=False)
class Predicate:
    """One predicate. subjects, objects: how many facts each has."""

    iri: str
    subjects: Counter[str] = field(default_factory=Counter)
    objects: Counter[str] = field(default_factory=Counter)
    pairs: set[tuple[str, str]] = field(default_factory=set)
    num_literals: int = 0
    with_literal: Counter[str] = field(default_factory=Counter)  #: subject -> values
    values: list[str] = field(default_factory=list)
    distinct: set[str] = field(default_factory=set)  #: values, at most some thousands
    by_subject: dict[str, str] = field(default_factory=dict)  #: subject -> its first value
    languages: Counter[str] = field(default_factory=Counter)
    datatypes: Counter[str] = field(default_factory=Counter)

    @property
    def num_edges(self) -> int:
        return self.objects.total()


@dataclass(eq=False)
class RdfProfile:
    """The facts of some files."""

    files: list[FoundFile]
    predicates: dict[str, Predicate] = field(default_factory=dict)
    classes: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    num_triples: int = 0
    is_whole: bool = True
    is_lenient: bool = False
    needs_base: bool = False

    @property
    def resources(self) -> set[str]:
        """All resources that have facts, or that facts lead to."""
        found: set[str] = set()
        for one in self.predicates.values():
            found.update(one.subjects, one.objects, one.with_literal)
        for members in self.classes.values():
            found |= members
        return found

    @property
    def subjects(self) -> set[str]:
        """All resources that have facts or values."""
        return {s for one in self.predicates.values() for s in (*one.subjects, *one.with_literal)}

    def classes_of(self, resources: Iterable[str]) -> Counter[str]:
        """How many of some resources are of each class."""
        some = {*resources}
        return Counter({iri: count for iri, members in self.classes.items() if (count := len(members & some))})

    def seen(self) -> str:
        """What is there, in words."""
        few = sorted(self.predicates.values(), key=lambda one: -(one.num_edges + one.num_literals))[:5]
        classes = sorted(self.classes.items(), key=lambda pair: -len(pair[1]))[:5]
        text = f"{self.num_triples:,} triples{'' if self.is_whole else ' in a sample'}"
        if few:
            text += f"; predicates {', '.join(one.iri for one in few)}"
        return text + (f"; classes {', '.join(f'{iri} ({len(m):,})' for iri, m in classes)}" if classes else "")


def read_profile(files: Sequence[FoundFile], left_out: dict[str, str]) -> RdfProfile | None:
    """The profile of all files together; None where none can be read. left_out: gets those, with the reason."""
    profile = RdfProfile([])
    for file in files:
        if file.form == "rdf" and file.suffix in (".jsonld", ".json") and file.size > MOST_JSON_LD:
            left_out[file.name] = f"is JSON-LD of more than {MOST_JSON_LD:,} bytes; convert it to N-Triples"
            continue
        before = profile.num_triples
        try:
            _read(file, profile)
        except KgrecError as error:
            if profile.num_triples == before or "IRI" not in str(error):
                left_out[file.name] = f"cannot be read as RDF: {str(error).splitlines()[0]}"
                continue
            profile.is_lenient = True
        if profile.num_triples > before:
            profile.files.append(file)
        else:
            left_out.setdefault(file.name, "has no triples")
    return profile if profile.files else None


def _read(file: FoundFile, profile: RdfProfile) -> None:
    format = format_of(file.path) or "rdf/xml"
    source = RdfFile(file.path, file.name, format, NO_BASE if profile.needs_base else None, profile.is_lenient)
    try:
        quads = source.quads()
        for quad in itertools.islice(quads, MOST):
            _take(quad, profile)
        profile.is_whole = profile.is_whole and next(quads, None) is None
    except KgrecError as error:
        text = str(error)
        if "relative" in text and not profile.needs_base and format not in ("n-triples", "n-quads"):
            profile.needs_base = True
        elif "IRI" in text and not profile.is_lenient:
            profile.is_lenient = True
        else:
            raise
        _read(file, profile)


def _take(quad: Any, profile: RdfProfile) -> None:
    """Count one triple."""
    subject, iri, value = quad.subject, quad.predicate.value, quad.object
    profile.num_triples += 1
    name = getattr(subject, "value", None)
    if name is None:
        return
    kind = type(value).__name__
    if iri == RDF_TYPE and kind == "NamedNode":
        profile.classes[value.value].add(name)
        return
    predicate = profile.predicates.setdefault(iri, Predicate(iri))
    if kind == "Literal":
        predicate.num_literals += 1
        predicate.with_literal[name] += 1
        predicate.by_subject.setdefault(name, value.value)
        predicate.languages[value.language or ""] += 1
        predicate.datatypes[value.datatype.value] += 1
        if len(predicate.values) < MOST_VALUES:
            predicate.values.append(value.value)
        if len(predicate.distinct) < 200_000:
            predicate.distinct.add(value.value)
    elif hasattr(value, "value"):
        predicate.subjects[name] += 1
        predicate.objects[value.value] += 1
        predicate.pairs.add((name, value.value))

"""What a knowledge graph says of its entities that tells which of them an item is: names, years, and what they are."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow.compute as pc

from kgrec.sources.linking.names import Name, last_part, name_of, years_in
from kgrec.sources.rdf.facts import KNOWN_PREFIXES, Facts

RDFS, SKOS, FOAF = KNOWN_PREFIXES["rdfs"], KNOWN_PREFIXES["skos"], KNOWN_PREFIXES["foaf"]
TERMS, SCHEMA, OWL = KNOWN_PREFIXES["dcterms"], KNOWN_PREFIXES["schema"], KNOWN_PREFIXES["owl"]
DBO, DBP = "http://dbpedia.org/ontology/", "http://dbpedia.org/property/"
DC, DIRECT = "http://purl.org/dc/elements/1.1/", "http://www.wikidata.org/prop/direct/"
#: predicates whose values are names, of Wikidata, DBpedia, schema.org and others
LABELS = (
    *(RDFS + "label", SKOS + "prefLabel", SKOS + "altLabel", FOAF + "name", SCHEMA + "name", SCHEMA + "alternateName"),
    *(TERMS + "title", TERMS + "alternative", DC + "title", DBO + "title", DBP + "title", DBP + "name"),
    *(DBO + "alias", DIRECT + "P1476", DIRECT + "P1448"),
)
#: predicates whose values have the year in which a work came out, or a thing was made
DATES = (
    *(DBO + name for name in ("releaseDate", "publicationDate", "firstPublicationDate", "year", "releaseYear")),
    *(DBP + name for name in ("released", "year", "releaseDate", "published")),
    *(DIRECT + name for name in ("P577", "P571", "P580", "P585")),
    *(SCHEMA + name for name in ("datePublished", "dateCreated", "releaseDate", "copyrightYear")),
    *(TERMS + name for name in ("date", "issued", "created")),
    *(DC + "date", FOAF + "date"),
)
#: predicates that say that two resources are one
SAME = (
    *(OWL + "sameAs", SKOS + "exactMatch", SCHEMA + "sameAs", DBO + "wikiPageRedirects"),
    *(SCHEMA + "about", DIRECT + "P2888", FOAF + "isPrimaryTopicOf"),
)
#: predicates whose values describe a resource
TEXTS = (
    *(DBO + "abstract", RDFS + "comment", SCHEMA + "description", SCHEMA + "abstract", TERMS + "description"),
    *(TERMS + "abstract", DC + "description", SKOS + "definition", SKOS + "scopeNote"),
)
#: names of relations of labels in tables of triples
PLAIN_LABELS = frozenset({"label", "name", "title", "preflabel", "altlabel", "alias", "has_name", "has_label"})


@dataclass(frozen=True, eq=False)
class Entities:
    """The entities of a knowledge graph that have a name or a description. E entities."""

    ids: Sequence[str]  #: [E], IRIs
    labels: Sequence[str]  #: [E], one to show
    names: Sequence[Sequence[Name]]  #: [E], all
    years: Sequence[frozenset[int]]  #: [E], of dates, and of the names of what it has facts with
    #: what each is: int64 [n] each, the entity and the number of a class, or of a predicate that it is a subject of
    #: (even) or an object of (odd); sorted, each pair once
    is_of: tuple[np.ndarray, np.ndarray]
    kinds: Sequence[str]  #: the names of these numbers
    unnamed: int  #: resources without a name or a description
    texts: Sequence[str]  #: [E], what describes it, "" for none

    def __len__(self) -> int:
        return len(self.ids)


def entities_of(
    facts: Facts,
    labels: Iterable[str],
    dates: Iterable[str],
    language: Sequence[str] = (),
    texts: Iterable[str] = (),
) -> Entities:
    """The entities in some facts. labels, dates, texts: predicates, of which the facts have the values. language:
    languages of the label to show and of texts, the preferred one first."""
    resources = facts.resources.to_pylist()
    said = _labels(facts, resources, [*labels], language)
    own: list[list[Name]] = [[name_of(text) for text in dict.fromkeys(found)] for found in said]
    names = _with_those_of_same(facts, own)
    described = _texts(facts, len(resources), [*texts], language)
    kept = [place for place, found in enumerate(names) if described[place].strip() or any(name.keys for name in found)]
    years = _years(facts, len(resources), [*dates])
    number = np.full(len(resources), -1)
    number[kept] = np.arange(len(kept))
    entity, kind, kinds = _kinds(facts)
    entity = number[entity]
    there = entity >= 0
    return Entities(
        [resources[place] for place in kept],
        [said[place][0] if said[place] else resources[place] for place in kept],
        [names[place] for place in kept],
        [frozenset(years[place]) for place in kept],
        (entity[there], kind[there]),
        kinds,
        len(resources) - len(kept),
        [described[place] for place in kept],
    )


def together(parts: Sequence[Entities]) -> Entities:
    """The entities of several sources, each once, with what all of them say."""
    if len(parts) == 1:
        return parts[0]
    place: dict[str, int] = {}
    for part in parts:
        for name in part.ids:
            place.setdefault(name, len(place))
    labels, texts, names = [""] * len(place), [""] * len(place), [list[Name]() for _ in place]
    years = [set[int]() for _ in place]
    kinds = {name: number for number, name in enumerate(dict.fromkeys(name for part in parts for name in part.kinds))}
    is_of = []
    for part in parts:
        number = np.array([place[name] for name in part.ids], np.int64)
        for row, to in enumerate(number.tolist()):
            labels[to] = labels[to] or part.labels[row]
            texts[to] = f"{texts[to]} {part.texts[row]}".strip()
            names[to] = [*dict.fromkeys([*names[to], *part.names[row]])]
            years[to] |= part.years[row]
        of_kind = np.array([kinds[name] for name in part.kinds], np.int64)
        is_of.append(np.stack([number[part.is_of[0]], of_kind[part.is_of[1]]]))
    both = np.unique(np.concatenate(is_of, axis=1), axis=1)
    unnamed = sum(part.unnamed for part in parts)
    return Entities([*place], labels, names, [*map(frozenset, years)], (both[0], both[1]), [*kinds], unnamed, texts)


def _labels(
    facts: Facts, resources: Sequence[str], predicates: Sequence[str], language: Sequence[str]
) -> list[list[str]]:
    """The labels of each resource, the one to show first; of one without any, the name that its IRI ends in."""
    found: list[list[tuple[int, int, str]]] = [[] for _ in resources]
    for rank, predicate in enumerate(predicates):
        values = facts.literals.get(predicate)
        if values is None:
            continue
        for place, text, spoken in zip(values.subject.tolist(), values.value.to_pylist(), values.language.to_pylist()):
            found[place].append((_rank(spoken, language), rank, text))
    texts = [[text for _, _, text in sorted(one, key=lambda label: label[:2])] for one in found]
    for place, iri in enumerate(resources):
        if not texts[place] and not iri.startswith("_:"):
            name = last_part(iri)
            texts[place] = [] if name is None else [name]
    return texts


def _texts(facts: Facts, number: int, predicates: Sequence[str], language: Sequence[str]) -> list[str]:
    """What describes each resource, in the most preferred of its languages; without preferred ones, in all."""
    found: list[list[tuple[int, str]]] = [[] for _ in range(number)]
    for predicate in predicates:
        values = facts.literals.get(predicate)
        if values is not None:
            columns = values.subject.tolist(), values.value.to_pylist(), values.language.to_pylist()
            for place, text, spoken in zip(*columns):
                found[place].append((_rank(spoken, language), text))
    best = [min((rank for rank, _ in one), default=0) for one in found]
    return [" ".join(dict.fromkeys(text for rank, text in one if rank == least)) for one, least in zip(found, best)]


def _rank(spoken: str | None, language: Sequence[str]) -> int:
    if spoken is None or not language:
        return 0
    return next(
        (rank for rank, wanted in enumerate(language) if spoken.lower().startswith(wanted.lower())), len(language)
    )


def _with_those_of_same(facts: Facts, names: Sequence[list[Name]]) -> list[list[Name]]:
    """The names of each resource, and of those that are said to be the same."""
    found = [list(own) for own in names]
    for predicate in SAME:
        if predicate not in facts.edges:
            continue
        for one, other in zip(*(ends.tolist() for ends in facts.edges[predicate])):
            found[one] += names[other]
            found[other] += names[one]
    return [list(dict.fromkeys(one)) for one in found]


def _years(facts: Facts, number: int, dates: Sequence[str]) -> list[set[int]]:
    """The years of dates, and those in the names of objects of facts, such as a category of films of 1995."""
    years: list[set[int]] = [set() for _ in range(number)]
    for predicate in dates:
        values = facts.literals.get(predicate)
        if values is not None:
            for place, text in zip(values.subject.tolist(), values.value.to_pylist()):
                years[place].update(years_in(text)[:1])
    holds = pc.match_substring_regex(facts.resources, r"[12]\d{3}").to_numpy(zero_copy_only=False)
    of_object = {place: years_in(last_part(facts.resources[place].as_py()) or "") for place in np.flatnonzero(holds)}
    for subject, object in facts.edges.values():
        for row in np.flatnonzero(holds[object]):
            years[subject[row]].update(of_object[object[row]])
    return years


def _kinds(facts: Facts) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """What each resource is: pairs of a resource and a kind, int64 [n] each, and the kinds' names."""
    entity, kind, kinds = [np.empty(0, np.int64)], [np.empty(0, np.int64)], list[str]()
    for predicate, ends in facts.edges.items():
        for end, sign in zip(ends, ("{} of", "is {} of")):
            one = np.unique(end)
            entity.append(one.astype(np.int64))
            kind.append(np.full(len(one), len(kinds)))
            kinds.append(sign.format(predicate))
    for iri, instances in facts.types.items():
        one = np.unique(instances)
        entity.append(one.astype(np.int64))
        kind.append(np.full(len(one), len(kinds)))
        kinds.append(iri)
    return np.concatenate(entity), np.concatenate(kind), kinds

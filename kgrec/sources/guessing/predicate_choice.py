"""Which predicates and classes are worth keeping: by how many nodes have them and how their facts are spread."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from kgrec.graph.schema import clean_name, free_name
from kgrec.sources.guessing.column_profile import NUMBER
from kgrec.sources.guessing.rdf_profile import Predicate, RdfProfile

LEAST_FACTS = 30  #: below it the spread of a predicate's facts says little
CONSTANT = 0.98  #: share of facts that lead to one object, from which on they say nothing
UNIQUE = 0.98  #: share of objects that only one fact leads to
LEAST_INSTANCES = 3  #: of a class, for it to be a node type
MOST_TYPES = 15
LEAST_TURNED = 10  #: facts of a predicate, for it to be another one's inverse
LEAST_COVER = 0.02  #: share of the items that must have a value, for it to be a feature
GENERAL = (
    "Thing",
    "NamedIndividual",
    "Resource",
    "Class",
    "Property",
    "Ontology",
    "ObjectProperty",
    "DatatypeProperty",
)
LABELS = (
    "http://www.w3.org/2000/01/rdf-schema#label", "http://www.w3.org/2004/02/skos/core#prefLabel",
    "http://schema.org/name", "https://schema.org/name", "http://xmlns.com/foaf/0.1/name",
    "http://purl.org/dc/terms/title", "http://purl.org/dc/elements/1.1/title", "http://dbpedia.org/property/name",
    "http://rdf.freebase.com/ns/type.object.name",
)  # fmt: skip
SAME_AS = "http://www.w3.org/2002/07/owl#sameAs"
OUTWARD = (
    SAME_AS, "http://www.w3.org/2000/01/rdf-schema#seeAlso", "http://xmlns.com/foaf/0.1/isPrimaryTopicOf",
    "http://xmlns.com/foaf/0.1/depiction", "http://xmlns.com/foaf/0.1/homepage", "http://www.w3.org/ns/prov#wasDerivedFrom",
    "http://dbpedia.org/ontology/wikiPageExternalLink", "http://dbpedia.org/ontology/thumbnail",
    "http://dbpedia.org/ontology/wikiPageRedirects", "http://schema.org/image", "https://schema.org/image",
    "http://schema.org/url", "https://schema.org/url",
)  # fmt: skip


@dataclass(eq=False)
class PredicateChoice:
    """The keys of a recipe about predicates and classes, and why others are left out."""

    exclude: dict[str, str] = field(default_factory=dict)  #: predicate -> why
    types: dict[str, str] = field(default_factory=dict)  #: class -> node type
    labels: list[str] = field(default_factory=list)
    literals: dict[str, dict[str, Any]] = field(default_factory=dict)
    inverse_of: dict[str, str] = field(default_factory=dict)
    languages: list[str] = field(default_factory=list)
    because: dict[tuple[str, ...], str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)  #: values that are not read -> why


def choose_predicates(profile: RdfProfile, items: Collection[str], taken: set[str]) -> PredicateChoice:
    """What to keep of some facts. items: the resources that are items; taken: node types that exist already."""
    found = PredicateChoice()
    for iri, predicate in profile.predicates.items():
        if predicate.num_edges:
            why = _no_use(predicate, profile)
            if why is not None:
                found.exclude[iri] = why
            else:
                found.because["predicates", iri] = _spread(predicate)
    _add_labels(found, profile)
    _add_literals(found, profile, {*items})
    _add_types(found, profile, {*items}, taken)
    found.inverse_of = inverses(
        {i: p.pairs for i, p in profile.predicates.items() if p.pairs and i not in found.exclude}
    )
    return found


def _spread(predicate: Predicate) -> str:
    """How the facts of a predicate are spread, in words."""
    facts, heads, ends = predicate.num_edges, len(predicate.subjects), len(predicate.objects)
    return f"{facts:,} facts of {heads:,} resources, {ends:,} different objects"


def _no_use(predicate: Predicate, profile: RdfProfile) -> str | None:
    """Why facts of a predicate are left out; None where they are kept."""
    if predicate.iri in OUTWARD:
        return f"{_spread(predicate)}, which are pages, images or other data sets"
    facts = predicate.num_edges
    if facts < LEAST_FACTS:
        return None
    top, count = predicate.objects.most_common(1)[0]
    if count >= CONSTANT * facts:
        return f"nearly constant: {count:,} of {facts:,} facts lead to {top}"
    alone = sum(count == 1 for count in predicate.objects.values())
    if alone >= UNIQUE * facts:
        others = [one for one in profile.predicates.values() if one is not predicate]
        joined = sum(any(o in one.subjects or o in one.objects for one in others) for o in [*predicate.objects][:500])
        if joined < 0.02 * min(500, len(predicate.objects)):
            return f"unique: nearly each of its {facts:,} facts leads to an object of its own"
    return None


def _add_labels(found: PredicateChoice, profile: RdfProfile) -> None:
    present = [iri for iri in LABELS if iri in profile.predicates and profile.predicates[iri].num_literals]
    other = [
        iri for iri, one in profile.predicates.items()
        if iri not in LABELS and one.num_literals and clean_name(iri).lower() in ("label", "name", "title", "preflabel")
    ]  # fmt: skip
    found.labels = present or other[:2]
    counts: Counter[str] = Counter()
    for iri in found.labels:
        counts += profile.predicates[iri].languages
    tags = {tag: count for tag, count in counts.items() if tag}
    if len(tags) > 1:
        best = "en" if "en" in tags else max(tags, key=lambda tag: tags[tag])
        found.languages = [best]
        found.because["language",] = f"labels are in {len(tags)} languages: {', '.join([*tags][:8])}"
    if found.labels:
        found.because["labels",] = (
            f"values of {sum(profile.predicates[i].num_literals for i in found.labels):,} resources"
        )


def _add_literals(found: PredicateChoice, profile: RdfProfile, items: set[str]) -> None:
    """Values that many items have become features."""
    names: dict[str, str] = {}
    for iri, one in profile.predicates.items():
        if not one.num_literals or iri in found.labels:
            continue
        having = len(items & one.with_literal.keys()) if items else 0
        if not having or having < LEAST_COVER * len(items):
            found.left_out[iri] = f"values of {having:,} of {len(items):,} items"
            continue
        kind, why = _kind(one)
        if kind is None:
            found.left_out[iri] = why
            continue
        name = free_name(clean_name(iri), names)
        names[name] = iri
        found.literals[iri] = {"feature": name, "kind": kind}
        found.because["literals", iri] = f"{having:,} of {len(items):,} items have it; {why}"


def _kind(one: Predicate) -> tuple[str | None, str]:
    """The kind of feature that values are; None where they are of no use, with the reason."""
    values = one.values
    if sum(bool(NUMBER.match(value)) for value in values) > 0.98 * len(values):
        if "identifier" in one.iri.lower() or one.iri.lower().endswith(("id", "gtin13", "sku", "isbn")):
            return None, "numbers that are identifiers"
        if len(one.distinct) < 2:
            return None, "the same value everywhere"
        return "numeric", f"numbers, such as {values[0]}"
    if len(one.distinct) < 2:
        return None, "the same value everywhere"
    words = sum(value.count(" ") + 1 for value in values) / len(values)
    if words >= 4:
        return "text", f"{words:.0f} words in a value, on average"
    if len(one.distinct) < 0.5 * one.num_literals:
        kind = "multi" if one.num_literals > 1.2 * len(one.with_literal) else "categorical"
        return kind, f"{len(one.distinct):,} different values, such as {values[0][:30]!r}"
    return None, f"nearly each value is another one, such as {values[0][:40]!r}"


def _add_types(found: PredicateChoice, profile: RdfProfile, items: set[str], taken: set[str]) -> None:
    """Classes become node types, the most special first; that of the items is theirs already."""
    fit = []
    for iri, members in profile.classes.items():
        own = len(members & items)
        if len(members) < LEAST_INSTANCES or iri.rpartition("#")[2].rpartition("/")[2] in GENERAL:
            continue
        if own and own > 0.5 * len(members):
            continue
        fit.append((len(members), iri))
    names = {*taken, "user", "item", "entity"}
    for count, iri in sorted(fit)[-MOST_TYPES:]:
        name = free_name(clean_name(iri).lower(), names)
        names.add(name)
        found.types[iri] = name
        found.because["types", iri] = f"{count:,} resources"


def inverses(pairs: Mapping[str, Collection[tuple[str, str]]]) -> dict[str, str]:
    """Predicates each of whose facts another one has in the other direction.

    >>> written = [("ann", f"book {number}") for number in range(20)]
    >>> inverses({"wrote": written, "by": [(book, name) for name, book in written[:15]]})
    {'by': 'wrote'}
    """
    found: dict[str, str] = {}
    pairs = {name: {*of_name} for name, of_name in pairs.items()}
    names = sorted(pairs, key=lambda name: len(pairs[name]))
    for place, one in enumerate(names):
        for other in names[place + 1 :]:
            if len(pairs[one]) < LEAST_TURNED or one in found or other in found:
                continue
            turned = sum((tail, head) in pairs[other] for head, tail in pairs[one])
            if turned >= 0.98 * len(pairs[one]) and 10 * turned >= len(pairs[other]):
                found[one] = other
    return found

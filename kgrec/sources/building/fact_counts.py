"""What a report says about the facts of one source: how many there are, what was left out, and notes."""

from __future__ import annotations

from collections.abc import Iterator

from kgrec.sources.building.fact_edges import is_class_of_rdf
from kgrec.sources.building.report import BuildReport
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.left_out import RDF_CLASS, UNUSED_CLASS

BOTH_SPELLINGS = (
    "predicates and classes of http://schema.org/ and https://schema.org/ are treated as the same; entities are not"
)


def count_facts(facts: Facts, options: FactOptions, report: BuildReport) -> None:
    """Add the counts of one source to those of the others."""
    report.num_triples += facts.num_triples
    for why, count in facts.skipped.items():
        report.drop(why, count)
    for (why, name), count in facts.skipped_of.items():
        report.detail(why, name, count, options)
    for why, iri, count in _unused_classes(facts, options):
        report.leave_out(why, iri, count, options)
    report.unknown_predicates += unknown_predicates(options, facts)
    report.notes += [note for note in _notes(options, facts) if note not in report.notes]


def unknown_predicates(options: FactOptions, facts: Facts) -> list[str]:
    """The predicates that are in the recipe but in no fact."""
    found = [*facts.edges, *facts.literals]
    named = [*(options.include or ()), *options.names, *options.labels, *options.literals, *options.inverse_of]
    named += options.inverse_of.values()
    return [name for name in dict.fromkeys(named) if not any(options.matches(predicate, [name]) for predicate in found)]


def _unused_classes(facts: Facts, options: FactOptions) -> Iterator[tuple[str, str, int]]:
    """The classes that are not used for node types or edges: why, which, and how many resources have them."""
    node_types = {options.term(iri) for iri in options.types}
    for iri, members in facts.types.items():
        if iri not in node_types and is_class_of_rdf(iri):
            yield RDF_CLASS, iri, len(members)
        elif iri not in node_types and options.classes is None:
            yield UNUSED_CLASS, iri, len(members)


def _notes(options: FactOptions, facts: Facts) -> Iterator[str]:
    """Notes on what is allowed but may be a mistake."""
    if len({*options.schemes(), *facts.schemes}) > 1:
        yield BOTH_SPELLINGS
    for name in dict.fromkeys([*options.labels, *options.literals]):
        if options.term(name) in facts.edges and options.term(name) not in facts.literals:
            yield (
                f"predicate {name!r} has entities and no literal values; so it makes edges, and no labels, features or "
                "nodes from values"
            )
    if options.classes is not None and not facts.types:
        yield "`classes` makes no nodes, because no resource has a class"

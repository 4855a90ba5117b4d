"""What reading facts leaves out: why, of which predicate or class, and how a recipe keeps it."""

from __future__ import annotations

from dataclasses import dataclass

from kgrec.sources.rdf.facts import FactOptions

EXCLUDED = "facts of predicates that are not included"
UNWANTED = "values of predicates that are no label or feature"
BLANK = "facts about blank nodes"
OTHER_LANGUAGE = "values in other languages"
NO_CLASS = "classes that are no IRI"
QUOTED = "triples about triples"
REPEATED = "repeated triples, since RDF is a set"
UNUSED_CLASS = "facts of classes that are no node type"
RDF_CLASS = "facts of classes of RDF itself"
NO_NODE = "values about resources that are no node"
NO_NUMBER = "values of {} that are no number"
TOO_GREAT = "values of {} beyond what float32 can hold"
FURTHER = "further values of {}, of which a node takes the first"
FURTHER_LABEL = "further labels of nodes that have one"
EMPTY = "empty values, which make no node"
SAME_EDGE = "facts that come to an edge that is there already"


@dataclass(frozen=True)
class LeftOut:
    """A count of what was left out, as a reader of a report wants it."""

    why: str  #: one of the reasons in this file, with the predicate where there is a place for it
    name: str  #: the predicate or class, as a recipe would write it
    count: int
    what: str  #: the sentence: `2 values of schema:name`
    keep: str  #: what a recipe says to keep them; empty: nothing does

    def __str__(self) -> str:
        return f"{self.what} ({self.keep})" if self.keep else self.what


def left_out(why: str, iri: str, count: int, options: FactOptions) -> LeftOut:
    """The count of one predicate or class, by its IRI, in words."""
    name = options.shown(iri)
    values, facts = _counted(count, "value"), _counted(count, "fact")
    first = ", of which a node takes the first"
    literals = f'literals: {{"{name}": ...}} keeps them'
    what, keep = {
        UNWANTED: (f"{values} of {name}", literals),
        EXCLUDED: (f"{facts} of {name}", _how_to_include(name, options)),
        BLANK: (f"{facts} of {name} about blank nodes", "blank_nodes: keep keeps them"),
        OTHER_LANGUAGE: (f"{values} of {name} in other languages", "language: names more of them, or none for all"),
        UNUSED_CLASS: (f"{facts} of class {name}", f'types: {{"{name}": ...}} or classes: {{to: ...}} keeps them'),
        RDF_CLASS: (f"{facts} of class {name}", f'types: {{"{name}": ...}} keeps them'),
        NO_NODE: (f"{values} of {name} about resources that are no node", "types: makes nodes of a class"),
        NO_NUMBER: (f"{values} of {name} that {_is(count)} no number", ""),
        TOO_GREAT: (f"{values} of {name} beyond what float32 can hold", ""),
        FURTHER: (f"{_counted(count, 'further value')} of {name}{first}", "kind: multi keeps all"),
        FURTHER_LABEL: (f"{_counted(count, 'further label')} of {name}{first}", literals),
        EMPTY: (f"{_counted(count, 'empty value')} of {name}", ""),
    }[why]
    return LeftOut(why.format(iri), name, count, what, keep)


def _how_to_include(name: str, options: FactOptions) -> str:
    if options.matches(options.expanded(name), options.exclude):
        return "taken away from `exclude`, they are kept"
    return f'include: ["{name}"] keeps them'


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"


def _is(count: int) -> str:
    return "is" if count == 1 else "are"

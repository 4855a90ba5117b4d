"""What is left out when facts are read: why, of which predicate or class, and how to keep it."""

from __future__ import annotations

from dataclasses import dataclass

from kgrec.sources.rdf.facts import FactOptions

EXCLUDED = "facts whose predicate is not included"
UNWANTED = "values whose predicate is not a label or feature"
BLANK = "facts about blank nodes"
OTHER_LANGUAGE = "values in other languages"
NO_CLASS = "classes that are not an IRI"
QUOTED = "triples about triples"
REPEATED = "repeated triples (each triple counts once)"
UNUSED_CLASS = "class memberships whose class is not in `types`"
RDF_CLASS = "class memberships in classes of RDF itself"
NO_NODE = "values of resources that are not nodes"
NO_NUMBER = "values of {} that are not numbers"
TOO_GREAT = "values of {} that are too large for float32"
FURTHER = "further values of {} (each node keeps its first)"
FURTHER_LABEL = "further labels (each node keeps its first)"
EMPTY = "empty values, which make no node"
SAME_EDGE = "facts that would repeat an edge of the graph"


@dataclass(frozen=True)
class LeftOut:
    """A count of what was left out, for a report."""

    why: str  #: one of the reasons in this file, with the predicate filled in
    name: str  #: the predicate or class, as a recipe would write it
    count: int
    what: str  #: in words: `2 values of schema:name`
    keep: str  #: how a recipe can keep them; empty: it cannot

    def __str__(self) -> str:
        return f"{self.what} ({self.keep})" if self.keep else self.what


def left_out(why: str, iri: str, count: int, options: FactOptions) -> LeftOut:
    """The count for one predicate or class (an IRI), in words."""
    name = options.shown(iri)
    values, facts = _counted(count, "value"), _counted(count, "fact")
    first = "; each node keeps its first"
    literals = f'to keep them, use `literals: {{"{name}": ...}}`'
    members = f"the class {name} of {_counted(count, 'resource')}"
    what, keep = {
        UNWANTED: (f"{values} of {name}", literals),
        EXCLUDED: (f"{facts} of {name}", _how_to_include(name, options)),
        BLANK: (f"{facts} of {name} about blank nodes", "to keep them, use `blank_nodes: keep`"),
        OTHER_LANGUAGE: (f"{values} of {name} in other languages", "to keep all languages, remove `language`"),
        UNUSED_CLASS: (members, f'to use it, set `types: {{"{name}": ...}}` or `classes: {{to: ...}}`'),
        RDF_CLASS: (members, f'to use it, set `types: {{"{name}": ...}}`'),
        NO_NODE: (
            f"{values} of {name} of resources that are not nodes",
            "to make them nodes, add their class to `types`",
        ),
        NO_NUMBER: (f"{values} of {name} that {'is not a number' if count == 1 else 'are not numbers'}", ""),
        TOO_GREAT: (f"{values} of {name}, too large for float32", ""),
        FURTHER: (f"{_counted(count, 'further value')} of {name}{first}", "to keep all, use `kind: multi`"),
        FURTHER_LABEL: (f"{_counted(count, 'further label')} of {name}{first}", literals),
        EMPTY: (f"{_counted(count, 'empty value')} of {name}", ""),
    }[why]
    return LeftOut(why.format(iri), name, count, what, keep)


def _how_to_include(name: str, options: FactOptions) -> str:
    if options.matches(options.expanded(name), options.exclude):
        return "to keep them, remove it from `exclude`"
    return f'to keep them, add "{name}" to `include`'


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"

"""Items that a SPARQL query finds in what a run knows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from kgrec.errors import BadData, Fault, KgrecError, some
from kgrec.graph import Graph
from kgrec.serving.filters.graph_triples import GraphTriples
from kgrec.sources.limits import LARGEST_RECIPE
from kgrec.sources.rdf.local_query import QueryWords, ask

ITEM = "item"  #: the variable that names the items; where there is none, the first does


@dataclass(frozen=True)
class SparqlFilter:
    """A query, and what to call it."""

    name: str  #: "where_sparql", with its file where it has one
    query: str

    @staticmethod
    def of(given: str | Path) -> SparqlFilter:
        """A query, as a text with braces, or the path of a file that holds one. Raises KgrecError for a file that
        cannot be read."""
        if isinstance(given, str) and "{" in given:
            return SparqlFilter("where_sparql", given)
        try:
            if Path(given).stat().st_size > LARGEST_RECIPE:
                raise KgrecError(f"where_sparql {given} is longer than {LARGEST_RECIPE:,} bytes; a SELECT is wanted")
            return SparqlFilter(f"where_sparql {given}", Path(given).read_text(encoding="utf-8-sig"))
        except (OSError, UnicodeDecodeError, ValueError) as error:
            raise KgrecError(f"where_sparql {given}: {error}; a text file with a SELECT is wanted") from error

    def meets(self, graph: Graph, node_type: str) -> tuple[np.ndarray, tuple[str, ...]]:
        """Which nodes of a type the query finds, bool [N], and what is to be said of its other answers.

        Raises KgrecError where the graph has no IRIs, BadData where the query is wrong, is no SELECT, takes too long
        (with the limits of a recipe's queries), and where nothing that it finds is such a node.
        """
        triples = GraphTriples(graph)
        if triples.is_empty:
            raise KgrecError(
                f"{self.name} asks for facts by their IRIs, and this run's graph has none, as nothing of it was read "
                "from RDF; say where=... or --where"
            )
        words = QueryWords(self.name, "fix the query", "", "", "")
        found = ask(self.query, triples.prefixes, lambda: [iter(triples)], words)
        if found["form"] != "SELECT":
            raise self._wrong(f"the query is of the form {found['form']}; a SELECT whose ?item is an item is wanted")
        names = found["vars"]
        if not names:
            raise self._wrong("the query has no variable; a SELECT whose ?item is an item is wanted")
        column = names.index(ITEM) if ITEM in names else 0
        terms = [getattr(term, "value", "") for term in triples.terms(node_type)]
        number_of = {term: number for number, term in enumerate(terms)}
        values = {row[column] for row in found["rows"] if row[column] is not None}
        numbers = [number_of[value] for value in values if value in number_of]
        if values and not numbers:
            such = some(sorted(map(str, values)), 2)
            raise self._wrong(
                f"?{names[column]} is no {node_type} in any of {len(values):,} answers, such as {such}; IRIs of "
                f"{node_type} are such as {some(terms[:2])}"
            )
        met = np.zeros(len(terms), bool)
        met[numbers] = True
        others = len(values) - len(numbers)
        return met, (f"{self.name}: {others:,} of {len(values):,} answers are no {node_type}",) if others else ()

    def _wrong(self, what: str) -> BadData:
        return BadData(Fault(what, self.name, kind="bad query"))

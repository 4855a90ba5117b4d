"""Tables that are the answers of a SPARQL SELECT over an RDF file or an endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.rdf.sparql import select


@dataclass(frozen=True)
class SparqlTable:
    """The answers of one query: the columns are its variables, the rows its solutions."""

    name: str  #: a file relative to the folder, or an endpoint's URL
    folder: Path
    query: str
    prefixes: Mapping[str, str]
    timeout: float  #: seconds that the query may run
    network: bool  #: whether the query may reach other hosts

    unit: ClassVar[str] = "answer"

    @cached_property
    def answers(self) -> pa.Table:
        """All of them, as strings. Raises BadData and KgrecError as `select` does."""
        where: dict[str, Any] = {"endpoint": self.name} if is_endpoint(self.name) else {"files": [self.name]}
        where |= {"timeout": self.timeout, "network": self.network}
        frame = select(RdfSource(query=self.query, prefixes=dict(self.prefixes), **where), self.folder)
        return pa.table({name: pa.array(frame[name], pa.string()) for name in frame.columns})

    def names(self) -> list[str]:
        """The variables."""
        return list(self.answers.column_names)

    def table(self, types: Mapping[str, pa.DataType]) -> pa.Table:
        """The wanted columns in bulk."""
        return self.answers.select(list(types))

    def rows(self) -> Iterator[tuple[int, dict[str, Any] | str]]:
        """Each answer's number, from 1, and its values by variable."""
        yield from enumerate(self.answers.to_pylist(), 1)


def is_endpoint(name: str) -> bool:
    """Whether a `file` is the URL of an endpoint."""
    return name.startswith(("http://", "https://"))

"""Tables made by a SPARQL SELECT query on an RDF file or an endpoint."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import pyarrow as pa

from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.rdf.sparql import select
from kgrec.sources.tables.raw_table import RawTable, Wanted, numbered


@dataclass(frozen=True)
class SparqlTable:
    """The answers of one query. The columns are its variables, the rows its solutions."""

    name: str  #: a file relative to the folder, or an endpoint's URL
    folder: Path
    query: str
    prefixes: Mapping[str, str]
    timeout: float  #: seconds that the query may run
    network: bool  #: whether the query may contact other hosts

    unit: ClassVar[str] = "answer"

    @cached_property
    def answers(self) -> pa.Table:
        """All answers, as strings. Raises BadData and KgrecError as `select` does."""
        where: dict[str, Any] = {"endpoint": self.name} if is_endpoint(self.name) else {"files": [self.name]}
        where |= {"timeout": self.timeout, "network": self.network}
        frame = select(RdfSource(query=self.query, prefixes=dict(self.prefixes), **where), self.folder)
        return pa.table({name: pa.array(frame[name], pa.string()) for name in frame.columns})

    def names(self) -> list[str]:
        """The variables."""
        return list(self.answers.column_names)

    def fast(self, wanted: Mapping[str, Wanted]) -> RawTable:
        """The wanted columns, as strings."""
        return RawTable({name: self.answers[name] for name in wanted}, numbered(len(self.answers)))

    def careful(self, wanted: Mapping[str, Wanted], *, stops: bool = False) -> RawTable:
        """The same."""
        return self.fast(wanted)

    def parts(
        self, wanted: Mapping[str, Wanted], size: int, *, is_careful: bool, stops: bool = False
    ) -> Iterator[RawTable]:
        """All rows at once."""
        yield self.fast(wanted)


def is_endpoint(name: str) -> bool:
    """Whether a `file` is the URL of an endpoint."""
    return name.startswith(("http://", "https://"))

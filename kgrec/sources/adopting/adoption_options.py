"""The options of `kgrec adopt`: what cannot be seen from the tables of a folder."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from kgrec.errors import unknown_name
from kgrec.graph.schema import FEATURE_KINDS
from kgrec.sources.adopting.engine_columns import IGNORE

EDGES_BY = ("numbers", "ids")


@dataclass(frozen=True)
class AdoptionOptions:
    """Raises UnknownName for an unknown kind or an unknown value of `edges_by`."""

    target: str | None = None  #: the relation to recommend, by its name or as SOURCE-RELATION-TARGET
    kinds: Mapping[str, str] = field(default_factory=dict)  #: by TYPE.COLUMN or RELATION.COLUMN: a kind, or `ignore`
    edges_by: str | None = (
        None  #: source and target are row `numbers` or `ids`; None: integers are numbers, text is ids
    )
    new_order: bool = False  #: the order of the rows may have changed; row numbers mean the present order

    def __post_init__(self) -> None:
        for kind in self.kinds.values():
            if kind not in (*FEATURE_KINDS, IGNORE):
                raise unknown_name("feature kind", kind, (*FEATURE_KINDS, IGNORE))
        if self.edges_by not in (None, *EDGES_BY):
            raise unknown_name("value of --edges-by", str(self.edges_by), EDGES_BY)

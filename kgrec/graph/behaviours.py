"""Behaviours: the relations between users and items, and which of them exclude items from recommendation lists."""

from __future__ import annotations

from collections.abc import Sequence

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph.parts import Candidates
from kgrec.graph.schema import EdgeType, Schema


def behaviours_of(schema: Schema) -> dict[str, list[EdgeType]]:
    """The relations between users and items, in either direction: their edge types by name."""
    found = dict[str, list[EdgeType]]()
    for edge_type in filter(schema.is_behaviour, schema.edges):
        found.setdefault(edge_type[1], []).append(edge_type)
    return found


def check_excluded(schema: Schema, exclude: Sequence[str], *, keep_seen: bool = False) -> list[EdgeType]:
    """The edge types of the behaviours named in `exclude`, whose items are left out of lists. keep_seen: lists include
    items that the user already has by the target relation.

    Raises UnknownName for an unknown behaviour, KgrecError if the target is both kept and excluded."""
    known = behaviours_of(schema)
    for name in exclude:
        if name not in known:
            raise unknown_name("behaviour", name, known, "to exclude in this graph")
        if keep_seen and schema.target is not None and name == schema.target[1]:
            raise KgrecError(
                f"items of {name!r} are both kept in the lists and excluded from them; leave out one of the two options"
            )
    return [edge_type for name in dict.fromkeys(exclude) for edge_type in known[name]]


def check_candidates(candidates: Candidates | None, exclude: Sequence[str]) -> None:
    """Raise KgrecError if items are to be excluded from published lists of candidates."""
    if candidates is not None and exclude:
        raise KgrecError(
            f"published lists of candidates are ranked as they are, so nothing can be excluded from them; leave out "
            f"exclude ({some(exclude)}), or set candidates to 'all'"
        )

"""What users do with items: the relations between them by name, and which of these are left out of users' lists."""

from __future__ import annotations

from collections.abc import Sequence

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph.parts import Candidates
from kgrec.graph.schema import EdgeType, Schema


def behaviours_of(schema: Schema) -> dict[str, list[EdgeType]]:
    """The relations between users and items by name, in either direction, each with its edge types."""
    found = dict[str, list[EdgeType]]()
    for edge_type in filter(schema.is_behaviour, schema.edges):
        found.setdefault(edge_type[1], []).append(edge_type)
    return found


def check_excluded(schema: Schema, exclude: Sequence[str], *, keep_seen: bool = False) -> list[EdgeType]:
    """The edge types of behaviours by name, whose items lists are to lack. keep_seen: lists show items of the target.

    Raises UnknownName for a behaviour that is not there, KgrecError where the target is both shown and left out."""
    known = behaviours_of(schema)
    for name in exclude:
        if name not in known:
            raise unknown_name("behaviour", name, known, "to exclude in this graph")
        if keep_seen and schema.target is not None and name == schema.target[1]:
            raise KgrecError(f"items of {name!r} are asked for, and excluded too; leave one of them out")
    return [edge_type for name in dict.fromkeys(exclude) for edge_type in known[name]]


def check_candidates(candidates: Candidates | None, exclude: Sequence[str]) -> None:
    """Raise KgrecError where something is to be left out of lists as they were published."""
    if candidates is not None and exclude:
        raise KgrecError(
            f"lists of candidates are ranked as published, so nothing can be excluded from them; leave out exclude "
            f"({some(exclude)}), or ask for candidates 'all'"
        )

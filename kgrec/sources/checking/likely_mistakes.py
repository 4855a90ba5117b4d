"""Mistakes that a build takes without a word: links that lead nowhere, ids that differ by a space, times in a wrong
unit."""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import Fault
from kgrec.graph.schema import EdgeType
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.tables.time_column import EARLIEST, PER_SECOND


def links_to_nowhere(state: BuildState) -> Iterator[Fault]:
    """Links of a node type of which none leads to an entity of the facts, with a template that would, if there is
    one."""
    if not state.facts:
        return
    resources = pa.chunked_array([facts.resources.cast(pa.string()) for _, facts in state.facts.values()])
    for node_type, (number, entity, by_template) in state.entities.linked.items():
        ids = state.builder.nodes_of(node_type).ids
        predicate = state.recipe.links[node_type].value_predicate
        if predicate in state.report.unknown_predicates:  # which is said already
            continue
        if not len(ids) or pc.any(pc.is_in(entity.cast(pa.string()), value_set=resources)).as_py():
            continue
        key = f"links.{node_type}"
        if not len(entity):
            what = f"{key}: no link is from one of the {len(ids):,} {node_type} ids, such as {ids[0].as_py()!r}"
            advice = (
                f"no value of {predicate!r} leads to one; name another predicate, or mend its values"
                if predicate
                else "fix `id`, so that it names a column with these ids"
            )
        else:
            word = "template makes" if by_template else "table says"
            such = f"{entity[0].as_py()!r} of {ids[int(number[0])].as_py()!r}"
            what = f"{key}: no {node_type} is linked, because no fact names what the {word}, such as {such}"
            advice = _advice(resources, ids)
        yield Fault(f"{what}; {advice}", value=ids[0].as_py(), kind="no link")


def _advice(resources: pa.ChunkedArray, ids: pa.Array) -> str:
    """What to write in place of links that lead nowhere: a template by which the last part of an IRI is an id."""
    if not len(resources):
        return "no fact names any resource; values count only where `literals` or `labels` names their predicate"
    last = pc.replace_substring_regex(resources, r"^.*[/#:=]", "")
    found = resources.filter(pc.is_in(last, value_set=ids))
    if not len(found):
        return f"the facts name such as {resources[0].as_py()!r}; fix the link"
    iri = found[0].as_py()
    start = max(iri.rfind(end) for end in "/#:=") + 1
    return f"the facts have {iri!r}, so `template: {iri[:start]}{{id}}` would link it"


def nearly_equal_ids(state: BuildState) -> Iterator[Fault]:
    """Ids of users and items that are equal but for spaces at the ends, capitals, or zeros at the beginning."""
    for node_type in dict.fromkeys(end for table in state.recipe.interactions for end in table.between):
        ids = state.builder.nodes_of(node_type).ids
        alike = pc.utf8_lower(pc.utf8_trim_whitespace(ids))
        alike = pc.replace_substring_regex(alike, r"^0+(.)", r"\1")
        if len(pc.unique(alike)) == len(ids):
            continue
        texts = pd.Series(alike.to_numpy(zero_copy_only=False))
        again = np.flatnonzero(texts.duplicated().to_numpy())
        first = int(np.flatnonzero((texts == texts[again[0]]).to_numpy())[0])
        one, other = ids[first].as_py(), ids[int(again[0])].as_py()
        more = f", and {len(again) - 1:,} more" if len(again) > 1 else ""
        what = (
            f"{node_type} ids that differ only by spaces, capitals or zeros at the beginning are different nodes: "
            f"{other!r} and {one!r}{more}; if they mean the same, mend the files"
        )
        yield Fault(what, value=other, kind="nearly equal ids", severity="note")


def times_in_a_wrong_unit(state: BuildState) -> Iterator[Fault]:
    """Times that are all before 1980, and would be later in a larger unit."""
    tables: dict[EdgeType, list[Interactions]] = {}
    for table in state.recipe.interactions:
        for edge in table.edge_types:
            tables.setdefault(edge, []).append(table)
    for edge, of_edge in tables.items():
        units = {table.time.unit if table.time and not table.time.format else None for table in of_edge}
        unit, times = units.pop(), state.builder.edges[edge].time if edge in state.builder.edges else None
        if units or unit not in PER_SECOND or times is None or not len(times) or times.max() >= EARLIEST:
            continue
        for other, scale in PER_SECOND.items():
            larger = PER_SECOND[unit] // scale
            if larger > 1 and times.min() >= EARLIEST / larger and times.max() <= time.time() / larger:
                days = [str(pd.Timestamp(int(one), unit="s").date()) for one in (times.min(), times.max())]
                read = [str(pd.Timestamp(int(one) * larger, unit="s").date()) for one in (times.min(), times.max())]
                what = (
                    f"read in {unit}, the times of {edge[1]!r} are from {days[0]} to {days[1]}; in {other} they are "
                    f"from {read[0]} to {read[1]}; if that is right, set `time: {{unit: {other}}}`"
                )
                files = ", ".join(name for table in of_edge for name in table.all_files)
                yield Fault(what, files, kind="unit of time", severity="note")
                break

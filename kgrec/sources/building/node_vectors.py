"""Dense vectors of nodes from files of their own: a .npy matrix and its ids, or a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, some
from kgrec.sources.building.graph_builder import Drafts, FeatureDraft
from kgrec.sources.building.nodes import NodeRows
from kgrec.sources.building.report import BuildReport
from kgrec.sources.recipe.node_part import ImageFolder, VectorFile
from kgrec.sources.tables.images import image_vectors
from kgrec.sources.tables.values import matrix_lists, vectors_in


def place_vectors(
    node_type: str, name: str, source: VectorFile, folder: Path, rows: Sequence[NodeRows], drafts: Drafts
) -> None:
    """A feature of a .npy matrix. Raises BadData where the matrix is none, where it has not as many rows as there are
    ids, and for ids that are no nodes or stand there twice."""
    what = f"{node_type} vectors {name!r}"
    if source.ids is not None:
        ids, whose = _read_ids(folder / source.ids, what), f"the lines of {source.ids}, "
    else:
        of_type = [row for row in rows if row.node_type == node_type]
        if not of_type:
            raise BadData([f"{what}: there is no table of {node_type} nodes; say `ids:`, a file of one id a line"])
        ids, whose = of_type[0].ids, f"the rows of {of_type[0].table.file[0]}, "
    values = vectors_in(folder / source.file, len(ids), what, whose)
    draft = drafts.of(node_type)
    number = draft.find(ids)
    known = number >= 0
    if source.ids is not None and not known.all():
        unknown = ids.filter(pa.array(~known)).to_pylist()
        raise BadData([f"{source.ids}: {len(unknown):,} ids are no {node_type}: {some(unknown)}; take them away"])
    draft.add_feature(name, FeatureDraft("vector", number[known], values.filter(pa.array(known))), source.file)


def place_images(
    node_type: str, name: str, source: ImageFolder, folder: Path, drafts: Drafts, report: BuildReport
) -> None:
    """A feature of a folder of images; a node without one has no vector. Raises as `image_vectors`."""
    ids, vectors = image_vectors(folder / source.folder, source.encoder)
    draft = drafts.of(node_type)
    number = draft.find(ids)
    known = number >= 0
    report.drop(f"images of {source.folder} whose name is no {node_type} id", (~known).sum())
    draft.add_feature(name, FeatureDraft("vector", number[known], matrix_lists(vectors[known])), source.folder)


def _read_ids(file: Path, what: str) -> pa.Array:
    """Strings, one a line."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise BadData([f"{what}: {file} is no file of one id a line: {error}"]) from error
    ids = pa.array([line.strip() for line in lines], pa.string())
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        raise BadData([f"{file.name}: ids stand more than once: {some(twice)}; a node has one vector"])
    empty = np.flatnonzero(np.array(lines, object) == "")
    if len(empty):
        raise BadData([f"{file.name} line {empty[0] + 1}: the line is empty; one id a line is wanted"])
    return ids

"""Vectors of nodes from separate files: a .npy matrix and its ids, or a folder of images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import BadData, Fault, some
from kgrec.sources.building.graph_builder import GraphBuilder, PartialFeature
from kgrec.sources.building.nodes import NodeRows
from kgrec.sources.building.report import BuildReport
from kgrec.sources.recipe.node_part import ImageFolder, VectorFile
from kgrec.sources.tables.images import image_vectors
from kgrec.sources.tables.values import matrix_lists, vectors_in


def place_vectors(
    node_type: str, name: str, source: VectorFile, folder: Path, rows: Sequence[NodeRows], builder: GraphBuilder
) -> None:
    """Add a feature from a .npy matrix. Raises BadData where the file is not a matrix, or does not have one row for
    each id, and for ids that are not nodes or are repeated."""
    what = f"{node_type} vectors {name!r}"
    if source.ids is not None:
        ids, whose = _read_ids(folder / source.ids, what), f"the lines of {source.ids}, "
    else:
        of_type = [row for row in rows if row.node_type == node_type]
        if not of_type:
            message = f"{what}: there is no table of {node_type} nodes; set `ids` to a file with one id in each line"
            raise BadData(Fault(message, source.file, kind="bad recipe", file_is="named"))
        ids, whose = of_type[0].ids, f"the rows of {of_type[0].table.file[0]}, "
    values = vectors_in(folder / source.file, len(ids), Fault(what, source.file, file_is="named"), whose)
    nodes = builder.nodes_of(node_type)
    number = nodes.find(ids)
    known = number >= 0
    if source.ids is not None and not known.all():
        unknown = ids.filter(pa.array(~known)).to_pylist()
        message = f"{len(unknown):,} ids are not {node_type} nodes: {some(unknown)}; remove them"
        raise BadData(message, file=source.ids, value=unknown[0], kind="dangling id")
    nodes.add_feature(name, PartialFeature("vector", number[known], values.filter(pa.array(known))), source.file)


def place_images(
    node_type: str, name: str, source: ImageFolder, folder: Path, builder: GraphBuilder, report: BuildReport
) -> None:
    """Add a feature from a folder of images. A node without an image has no vector. Raises as `image_vectors` does."""
    ids, vectors = image_vectors(folder / source.folder, source.encoder)
    nodes = builder.nodes_of(node_type)
    number = nodes.find(ids)
    known = number >= 0
    report.drop(f"images of {source.folder} whose name is not in the {node_type} ids", (~known).sum())
    nodes.add_feature(name, PartialFeature("vector", number[known], matrix_lists(vectors[known])), source.folder)


def _read_ids(file: Path, what: str) -> pa.Array:
    """The ids in a file, one in each line."""
    try:
        lines = file.read_text(encoding="utf-8-sig").removesuffix("\n").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        message = f"{what}: {file} cannot be read as a text file with one id in each line: {error}"
        kind = "missing file" if isinstance(error, FileNotFoundError) else "altered file"
        raise BadData(Fault(message, file.name, kind=kind, file_is="named")) from error
    ids = pa.array([line.strip() for line in lines], pa.string())
    counts = pc.value_counts(ids)
    twice = counts.filter(pc.greater(counts.field("counts"), 1)).field("values").to_pylist()
    if twice:
        message = f"some ids appear more than once: {some(twice)}; a node can have only one vector"
        raise BadData(message, file=file.name, value=twice[0], kind="duplicate")
    empty = np.flatnonzero(np.array(lines, object) == "")
    if len(empty):
        message = "the line is empty; each line must have one id"
        raise BadData(message, file=file.name, row=int(empty[0]) + 1, kind="missing value")
    return ids

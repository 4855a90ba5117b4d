"""The rest of the graph in a run folder: facts and features, which are read only when needed, and the recipe."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from kgrec.errors import KgrecError
from kgrec.files import write_json
from kgrec.graph import Graph
from kgrec.graph.assembly import EdgePart, NodePart, assemble
from kgrec.graph.schema import EdgeType, Schema
from kgrec.graph.storage import (
    RECIPE,
    edge_columns,
    edge_feature_columns,
    edge_file,
    edge_part,
    feature_columns,
    read_features,
    write_columns,
)
from kgrec.run_files import RunFiles
from kgrec.stored_tables import read_parquet


def save_rest(graph: Graph, folder: Path, kept: list[EdgeType]) -> None:
    """Write the parts of a graph that are in no other file of the run folder. graph: on the CPU. kept: the edge types
    whose edges are in history.parquet."""
    (folder / "facts").mkdir()
    (folder / "features").mkdir()
    for node_type in graph.node_types:
        if columns := feature_columns(graph, node_type):
            write_columns(folder / "features" / f"{node_type}.parquet", columns)
    for number, edge in enumerate(graph.edge_types):
        if edge not in kept:
            write_columns(folder / "facts" / edge_file(edge), edge_columns(graph, number))
        elif columns := edge_feature_columns(graph, edge):
            write_columns(folder / "features" / edge_file(edge), columns)
    for name in ("facts", "features"):
        if not any((folder / name).iterdir()):
            (folder / name).rmdir()


def save_recipe(graph: Graph, folder: Path) -> None:
    """Write the recipe that a graph was built from, if it was built from one."""
    if graph.recipe is not None:
        write_json(folder / RECIPE, graph.recipe)


def read_whole(files: RunFiles, schema: Schema, known: Graph) -> Graph:
    """The whole graph of a run. schema: the complete schema; known: the part read before, with ids and histories.

    Raises KgrecError if the run has no facts and features, or if a file is missing, truncated or altered.
    """
    if files.format == 1:
        raise KgrecError(f"{files.folder} is of format 1, which has no facts and features of the graph; train again")
    if files.config.get("lean"):
        raise KgrecError(
            f"{files.folder} was trained with --lean, so it has no facts and features of the graph; train again "
            "without --lean"
        )
    known = known.to("cpu")
    nodes, edges = {}, dict[EdgeType, EdgePart]()
    for name, node in schema.nodes.items():
        file = f"features/{name}.parquet"
        features = read_features(_table(files, file), node.features, file) if node.features else {}
        nodes[name] = NodePart(known.vocabulary[name], features, node.label)
    for edge in schema.edges:
        if edge in known.edge_types:
            edges[edge] = _known_edges(files, schema, known, edge)
        else:
            file = f"facts/{edge_file(edge)}"
            edges[edge] = edge_part(_table(files, file), edge, schema, nodes, file)
    return Graph.of(assemble(nodes, edges, target=schema.target, standard=schema.standard, recipe=known.recipe))


def _known_edges(files: RunFiles, schema: Schema, known: Graph, edge: EdgeType) -> EdgePart:
    """The edges of the histories, with their features."""
    part, described = known.only(edge), schema.edges[edge]
    file = f"features/{edge_file(edge)}"
    return EdgePart(
        source=part.edge_index[0].numpy(),
        target=part.edge_index[1].numpy(),
        time=part.time.numpy(),
        weight=part.weight.numpy(),
        features=read_features(_table(files, file), described.features, file) if described.features else {},
        label=described.label,
        inverse_of=described.inverse_of,
    )


def _table(files: RunFiles, name: str) -> pa.Table:
    path = files.path(name)
    try:
        return read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise KgrecError(f"{path} is truncated or altered: {error}; train again") from error

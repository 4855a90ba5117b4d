"""The run folder: what a trained model is kept as. JSON, Parquet and safetensors; no pickle is written or read."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from kgrec.errors import KgrecError, some
from kgrec.files import whole
from kgrec.graph import NO_TIME, Graph
from kgrec.graph.assembly import EdgePart, NodePart, assemble
from kgrec.graph.schema import Schema
from kgrec.graph.vocabulary import Vocabulary

FORMAT = 1
PICKLES = {".pkl", ".pickle", ".pt", ".pth", ".ckpt", ".bin", ".joblib", ".npy", ".npz"}


@dataclass(frozen=True)
class Artifact:
    """All that a run folder holds."""

    model: str  #: a built-in model's name, or a dotted path
    config: Mapping[str, Any]  #: the model's settings
    graph: Graph  #: the types, ids and labels, and the target edges of train and valid; no features, no facts. Other
    #: behaviours only where the model reads them
    weights: Mapping[str, Tensor]  #: the model's state
    metrics: Mapping[str, Any] = field(default_factory=dict)  #: protocol, valid and test results, times
    training: Mapping[str, Any] = field(default_factory=dict)  #: settings of the training
    provenance: Mapping[str, Any] = field(default_factory=dict)  #: the graph's content hash, versions, the split
    behaviours: tuple[str, ...] = ()  #: relations of the histories that the model reads, to be kept; (): the target


def save_artifact(
    artifact: Artifact,
    path: Path,
    *,
    per_user: pa.Table | None = None,
    predictions: pa.Table | None = None,
    ranks: pa.Table | None = None,
    log: str = "",
    overwrite: bool = False,
) -> None:
    """Write a run folder whole or not at all, with the test's values by user, by edge and by fact where given.

    Raises KgrecError where `path` exists or the disk refuses.
    """
    graph = artifact.graph.to("cpu")
    with whole(path, overwrite, marker="config.json") as folder:
        (folder / "vocabulary").mkdir(parents=True)
        config = {
            "format": FORMAT,
            "model": artifact.model,
            "config": dict(artifact.config),
            "training": dict(artifact.training),
            "behaviours": list(artifact.behaviours),
            **artifact.provenance,
        }
        _write_json(folder / "config.json", config)
        _write_json(folder / "schema.json", graph.schema.to_json())
        _write_json(folder / "metrics.json", dict(artifact.metrics))
        save_tensors(folder / "model.safetensors", artifact.weights)
        for name, vocabulary in graph.vocabulary.items():
            columns = {"id": vocabulary.id_array}
            if vocabulary.label_array is not None:
                columns["label"] = vocabulary.label_array
            pq.write_table(pa.table(columns), folder / "vocabulary" / f"{name}.parquet", compression="zstd")
        pq.write_table(_history(graph, artifact.behaviours), folder / "history.parquet", compression="zstd")
        for name, table in (("per_user", per_user), ("predictions", predictions), ("ranks", ranks)):
            if table is not None:
                pq.write_table(table, folder / f"{name}.parquet", compression="zstd")
        if log:
            (folder / "log.csv").write_text(log, encoding="utf-8")


def _history(graph: Graph, behaviours: tuple[str, ...]) -> pa.Table:
    """What users did: a row an edge, and which relation it is of where there are several."""
    known = graph.along(behaviours)
    source, target = known.edge_index.int().numpy()
    time = known.time.numpy()
    columns = {
        "source": source,
        "target": target,
        "time": pa.array(time, mask=time == NO_TIME),
        "weight": known.weight.numpy(),
    }
    if len(known.edge_types) > 1:
        names = pa.array([edge[1] for edge in known.edge_types])
        columns["relation"] = pa.DictionaryArray.from_arrays(known.relation.int().numpy(), names)
    return pa.table(columns)


def must_be_run(path: Path) -> None:
    """Raise KgrecError where a folder is none of a run."""
    if not (path / "config.json").is_file():
        what = "is no run folder: it has no config.json" if path.is_dir() else "is not there"
        raise KgrecError(f"{path} {what}; make one with `kgrec train MODEL GRAPH --out {path}`")


def load_artifact(path: str | Path) -> Artifact:
    """Read a run folder. Raises KgrecError for a file that is missing, truncated, altered, newer, or a pickle."""
    path = Path(path)
    must_be_run(path)
    smuggled = sorted(str(f.relative_to(path)) for f in path.rglob("*") if f.suffix.lower() in PICKLES)
    if smuggled:
        raise KgrecError(f"{path} holds {some(smuggled)}, which kgrec never writes and which may run code; remove it")
    config = read_json(path / "config.json")
    if not isinstance(config.get("format"), int) or config["format"] > FORMAT:
        raise KgrecError(f"{path} has format {config.get('format')}; this kgrec reads up to {FORMAT}: update kgrec")
    for name in ("model", "config"):
        if name not in config:
            raise KgrecError(f"{path / 'config.json'} lacks {name!r}; it is truncated or altered: train again")
    behaviours = tuple(config.get("behaviours", ()))
    provenance = {k: v for k, v in config.items() if k not in ("format", "model", "config", "training", "behaviours")}
    return Artifact(
        model=config["model"],
        config=config["config"],
        graph=_read_graph(path, Schema.from_json(read_json(path / "schema.json")), behaviours),
        weights=load_tensors(path / "model.safetensors"),
        metrics=read_json(path / "metrics.json"),
        training=config.get("training", {}),
        provenance=provenance,
        behaviours=behaviours,
    )


def _read_graph(path: Path, schema: Schema, behaviours: tuple[str, ...]) -> Graph:
    nodes = {}
    for name, node in schema.nodes.items():
        table = read_table(path / "vocabulary" / f"{name}.parquet", ("id",))
        if len(table) != node.count:
            raise KgrecError(f"{path}/vocabulary/{name}.parquet has {len(table)} ids, schema.json says {node.count}")
        nodes[name] = NodePart(Vocabulary(table["id"], table["label"] if "label" in table.column_names else None))
    if schema.target is None:
        raise KgrecError(f"{path / 'schema.json'} names no target relation; it is altered: train again")
    table = read_table(path / "history.parquet", ("source", "target", "time", "weight"))
    read = schema.behaviours(behaviours)
    if len(read) > 1 and "relation" not in table.column_names:
        raise KgrecError(f"{path / 'history.parquet'} has no column 'relation'; train again")
    edges = {
        edge: _edges(table if len(read) == 1 else table.filter(pc.equal(table["relation"], edge[1]))) for edge in read
    }
    return Graph.of(assemble(nodes, edges, target=schema.target))


def _edges(table: pa.Table) -> EdgePart:
    return EdgePart(
        source=table["source"].to_numpy(),
        target=table["target"].to_numpy(),
        time=table["time"].fill_null(NO_TIME).to_numpy(),
        weight=table["weight"].to_numpy(),
    )


def read_schema(path: Path) -> Schema:
    """The whole schema that a run's model was built from."""
    return Schema.from_json(read_json(path / "schema.json"))


# ---------------------------------------------------------------------- files


def save_tensors(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write tensors as safetensors; those that share memory are written each for itself."""
    save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}, path)


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read safetensors. Raises KgrecError where the file is missing or anything else."""
    if not path.is_file():
        raise KgrecError(f"{path.parent} lacks its file {path.name}; train again")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise KgrecError(f"{path} is no safetensors file, or truncated: {error}; train again") from error


def _write_json(path: Path, value: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(value, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of a run folder. Raises KgrecError where it is missing or anything else."""
    if not path.is_file():
        raise KgrecError(f"{path.parent} lacks its file {path.name}; train again")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise KgrecError(f"{path} is truncated or altered: {error}; train again") from error
    if not isinstance(value, dict):
        raise KgrecError(f"{path} is altered: an object is wanted; train again")
    return value


def read_table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """Read a Parquet file of a run folder. Raises KgrecError where it is missing or lacks one of the columns."""
    if not path.is_file():
        raise KgrecError(f"{path.parent} lacks its file {path.name}; train again")
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise KgrecError(f"{path} is truncated or altered: {error}; train again") from error
    for name in columns:
        if name not in table.column_names:
            raise KgrecError(f"{path} has no column {name!r}; train again")
    return table


def versions() -> dict[str, str]:
    """What a run was made with."""
    import numpy

    return {"kgrec": metadata.version("kgrec"), "torch": torch.__version__, "numpy": numpy.__version__}

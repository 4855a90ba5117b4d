"""The run folder, in which a trained model is kept. JSON, Parquet and safetensors; no pickle is written or read.

Files that every run has:

| file | what it holds |
|---|---|
| `config.json` | the format, the model's name and settings, those of training, split, versions, the graph's hash, |
| | whether it is `lean`, and the size and SHA-256 of every other file |
| `schema.json` | the whole schema that the model was built from: types, counts, features, relations |
| `metrics.json` | protocol, results on valid and test, times, what was taken from an `--init` run |
| `model.safetensors` | the model's parameters and buffers, by name |
| `vocabulary/TYPE.parquet` | `id` and optional `label` of each node, in the order of local numbers |
| `history.parquet` | `source target time weight` of the known target edges (train and valid), and of other |
| | behaviours that the model reads, then with `relation` |

Optional ones:

| file | what it holds | where |
|---|---|---|
| `recipe.json` | what the columns and predicates of the source files mean | a recipe made the graph |
| `facts/S__RELATION__T.parquet` | all other edges that the run knows, as in the graph folder | not lean |
| `features/TYPE.parquet` | feature columns, one row for each node | not lean |
| `features/S__RELATION__T.parquet` | feature columns of the edges in history.parquet | not lean |
| `scorer.json` | how scores are computed, and from which tensors, for readers that have only NumPy | linear models |
| `scorer.safetensors` | the tensors among them that are not part of model.safetensors | linear models |
| `trained.parquet` | what training saw of each user, then of each item, in the order of local numbers: | a ranking, |
| | `num_out` and `num_in`, target edges from and to it; `num_users`, distinct users of an item; | ratings, clicks |
| | `reads`, which edges of it the model reads: 0 none, 1 only facts, 2 an interaction; with | |
| | scorer.json also `served`, what a user's list is based on (`kgrec.evaluation.served_by`) | |
| `per_user.parquet` | test results of each user | a ranking |
| `predictions.parquet` | truth and prediction of each held-out edge | ratings and clicks |
| `ranks.parquet` | test ranks of each held-out fact | `task: link` |
| `log.csv` | losses and metrics of each epoch | there are epochs |

This is format 2. Format 1 has no sizes and hashes, recipe, facts, features or scorer; it can still be read. Facts and
features are read only when `TrainedModel.whole_graph` is called; then their hashes are checked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from kgrec._deprecation import renamed
from kgrec.errors import KgrecError
from kgrec.files import whole, write_json
from kgrec.graph import NO_TIME, Graph
from kgrec.graph.assembly import EdgePart, NodePart, assemble
from kgrec.graph.mapped_files import blocks
from kgrec.graph.schema import Schema
from kgrec.graph.storage import RECIPE, WRITTEN_ROWS, write_columns
from kgrec.graph.vocabulary import Vocabulary
from kgrec.model import ScorerParts
from kgrec.run_files import (
    FORMAT,
    REMEDY,
    RUN_FOLDER,
    RunFiles,
    config_hash,
    list_files,
    read_json,
    read_metrics,
    refuse_pickles,
)
from kgrec.stored_tables import read_parquet
from kgrec.training.graph_files import read_whole, save_recipe, save_rest
from kgrec.training.scorer_files import save_scorer
from kgrec.training.tensor_files import save_tensors

WEIGHTS = "model.safetensors"
BESIDE = 1 << 22  #: bytes (4 MiB) of weights from which they are checked while other files are read
#: Encoding of columns in history.parquet; it is read in two thirds of the time of dictionaries for all columns
HISTORY = {
    "use_dictionary": ["target", "weight", "relation"],
    "column_encoding": {"source": "DELTA_BINARY_PACKED", "time": "DELTA_BINARY_PACKED"},
}
#: Columns of trained.parquet
STORED = {"num_out": torch.int32, "num_in": torch.int32, "num_users": torch.int32, "reads": torch.int8}
OWN_KEYS = (
    "format",
    "model",
    "config",
    "training",
    "behaviours",
    "lean",
    "files",
)  #: keys of config.json with a meaning of their own; all others are provenance


@dataclass(frozen=True)
class Artifact:
    """The content of a run folder."""

    model: str  #: a built-in model's name, or a dotted path
    config: Mapping[str, Any]  #: the model's settings
    #: when saving: the whole graph that the run knows. When loaded: types, ids and labels, the recipe, the target edges
    #: of train and valid, and other behaviours if the model reads them; see `load_whole_graph` for the rest
    graph: Graph
    weights: Mapping[str, Any]  #: the model's state, tensors or RowBlocks by name
    metrics: Mapping[str, Any] = field(default_factory=dict)  #: protocol, valid and test results, times
    training: Mapping[str, Any] = field(default_factory=dict)  #: settings of the training
    provenance: Mapping[str, Any] = field(default_factory=dict)  #: the graph's content hash, versions, the split
    behaviours: tuple[str, ...] = ()  #: relations of the histories that the model reads; (): only the target
    #: what training saw of each node: each of `kgrec.evaluation.trained_nodes.COLUMNS`, [N + 1]; None: all of `graph`
    trained: Mapping[str, Tensor] | None = None
    lean: bool = False  #: whether facts and features of the graph are left out
    scorer: ScorerParts | None = None  #: the model's scorer for NumPy; None if it has none, and when loaded
    serves_everybody: bool = False  #: whether the scorer also serves users about whom nothing is known
    #: with a scorer, how each user is served, a `kgrec.evaluation.served_by.ServedBy`: CharTensor [N + 1]
    served: Tensor | None = None
    schema: Schema | None = None  #: when loaded: the whole schema that the model was built from


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
    """Write a complete run folder, or nothing. per_user, predictions, ranks: test results by user, by edge and by fact;
    None if there are none.

    Raises KgrecError if `path` exists and `overwrite` is false, if it exists and is no run folder, or if it cannot be
    written.
    """
    graph = artifact.graph.to("cpu")
    with whole(path, overwrite, RUN_FOLDER) as folder:
        (folder / "vocabulary").mkdir(parents=True)
        write_json(folder / "schema.json", graph.schema.to_json())
        write_json(folder / "metrics.json", artifact.metrics)
        save_tensors(folder / WEIGHTS, artifact.weights)
        for name, vocabulary in graph.vocabulary.items():
            columns = {"id": vocabulary.id_array}
            if vocabulary.label_array is not None:
                columns["label"] = vocabulary.label_array
            _write_table(pa.table(columns), folder / "vocabulary" / f"{name}.parquet")
        history = _history(graph, artifact.behaviours)
        write_columns(folder / "history.parquet", history, compression="zstd", **HISTORY)
        save_recipe(graph, folder)
        if not artifact.lean:
            save_rest(graph, folder, graph.schema.behaviours(artifact.behaviours))
        tables = {"per_user": per_user, "predictions": predictions, "ranks": ranks}
        for name, table in {"trained": _trained(graph, artifact), **tables}.items():
            if table is not None:
                _write_table(table, folder / f"{name}.parquet")
        if log:
            (folder / "log.csv").write_text(log, encoding="utf-8")
        config = {
            "format": FORMAT,
            "model": artifact.model,
            "config": dict(artifact.config),
            "training": dict(artifact.training),
            "behaviours": list(artifact.behaviours),
            "lean": artifact.lean,
            **artifact.provenance,
        }
        if artifact.scorer is not None:
            more = {"serves_everybody": artifact.serves_everybody, "config_hash": config_hash(config)}
            save_scorer(artifact.scorer, artifact.weights, folder, more)
        config["files"] = list_files(folder)
        write_json(folder / "config.json", config)


def _write_table(table: pa.Table, path: Path, **encoding: Any) -> None:
    pq.write_table(table, path, compression="zstd", **encoding)


def _history(graph: Graph, behaviours: tuple[str, ...]) -> Iterator[dict[str, pa.Array]]:
    """The edges of users' histories, one row each and WRITTEN_ROWS at a time; with a column `relation` if there are
    several relations."""
    known = graph.along(behaviours)
    names, ptr = pa.array([edge[1] for edge in known.edge_types]), np.array(known.relation_ptr)
    for rows in list(blocks(known.num_edges, WRITTEN_ROWS)) or [slice(0, 0)]:
        source, target = known.edge_index[:, rows].int().numpy()
        time = known.time[rows].numpy()
        columns = {
            "source": source,
            "target": target,
            "time": pa.array(time, mask=time == NO_TIME),
            "weight": known.weight[rows].numpy(),
        }
        if len(known.edge_types) > 1:
            relation = np.searchsorted(ptr, np.arange(rows.start, rows.stop), side="right") - 1
            columns["relation"] = pa.DictionaryArray.from_arrays(relation.astype(np.int32), names)
        yield columns


def _trained(graph: Graph, artifact: Artifact) -> pa.Table | None:
    """What training saw, with one row for each user and then for each item."""
    if artifact.trained is None:
        return None
    nodes = torch.cat([graph.nodes(node_type) for node_type in _ends(graph)])
    columns = {name: column.cpu()[nodes].to(STORED[name]).numpy() for name, column in artifact.trained.items()}
    if artifact.served is not None:
        columns["served"] = artifact.served.cpu()[nodes].numpy()
    return pa.table(columns)


def _ends(graph: Graph) -> tuple[str, ...]:
    """The node types of users and items; only one if they are the same."""
    return tuple(dict.fromkeys((graph.target[0], graph.target[2])))


def _read_trained(files: RunFiles, graph: Graph) -> dict[str, Tensor] | None:
    """The columns of the table that `_trained` makes, [N + 1] each; None if there is no such file."""
    if not files.holds("trained.parquet") or files.format == 1:
        return None
    table = read_table(file := files.path("trained.parquet"), tuple(STORED))
    ranges = [graph.range(node_type) for node_type in _ends(graph)]
    if len(table) != (count := sum(map(len, ranges))):
        raise KgrecError(f"{file} has {len(table):,} rows, but there are {count:,} users and items; train again")
    found = {}
    for name in STORED:
        column = table[name]
        is_counts = pa.types.is_integer(column.type) and not column.null_count
        values = column.to_numpy() if is_counts else np.empty(0)
        if not is_counts or values.min(initial=0) < 0:
            raise KgrecError(f"{file}: column {name!r} must have only counts, whole numbers from 0; train again")
        kind = {"reads": torch.int8, "num_users": torch.float32}.get(name, torch.long)
        found[name] = torch.zeros(graph.pad + 1, dtype=kind)
        for nodes, rows in zip(ranges, np.split(values, [len(ranges[0])])):  # one range where all are of one type
            found[name].numpy()[nodes.start : nodes.stop] = rows
    return found


def load_artifact(path: str | Path) -> Artifact:
    """Read a run folder of this format or an older one, without facts and features.

    Raises KgrecError for a file that is missing, truncated, altered, newer, or a pickle.
    """
    path = Path(path)
    files = RunFiles.open(path)
    refuse_pickles(path)
    config = files.config
    for name in ("format", "model", "config"):
        if name not in config:
            raise KgrecError(f"{path / 'config.json'} has no {name!r}, so it is truncated or altered; train again")
    behaviours = tuple(config.get("behaviours", ()))
    weights = load_tensors(path / WEIGHTS)  # memory-mapped; an error names a file that is no safetensors file
    schema = _schema(files.path("schema.json"))
    if (path / WEIGHTS).stat().st_size < BESIDE:
        files.path(WEIGHTS)
        graph, metrics = _read_graph(files, schema, behaviours), read_metrics(files)
    else:
        with ThreadPoolExecutor(1) as thread:
            checked = thread.submit(files.path, WEIGHTS)  # hashing releases the lock, so it runs at the same time
            graph, metrics = _read_graph(files, schema, behaviours), read_metrics(files)
            checked.result()
    return Artifact(
        model=config["model"],
        config=config["config"],
        graph=graph,
        weights=weights,
        metrics=metrics,
        training=config.get("training", {}),
        provenance={name: value for name, value in config.items() if name not in OWN_KEYS},
        behaviours=behaviours,
        trained=_read_trained(files, graph),
        lean=bool(config.get("lean")),
        schema=schema,
    )


def load_whole_graph(path: Path, known: Graph) -> Graph:
    """The whole graph of a run: `known`, the part that `load_artifact` has read, with facts and features.

    Raises KgrecError if the run was trained with --lean or is of format 1, and if a file is missing or altered.
    """
    files = RunFiles.open(path)
    return read_whole(files, _schema(files.path("schema.json")), known)


def _read_graph(files: RunFiles, schema: Schema, behaviours: tuple[str, ...]) -> Graph:
    """The types, ids and labels, and the histories."""
    path, nodes = files.folder, {}
    for name, node in schema.nodes.items():
        table = read_table(files.path(f"vocabulary/{name}.parquet"), ("id",))
        if len(table) != node.count:
            raise KgrecError(
                f"{path}/vocabulary/{name}.parquet has {len(table):,} ids, but schema.json says {node.count:,}; train "
                "again"
            )
        nodes[name] = NodePart(Vocabulary(table["id"], table["label"] if "label" in table.column_names else None))
    if schema.target is None:
        raise KgrecError(f"{path / 'schema.json'} names no target relation, so it was altered; train again")
    table = read_table(files.path("history.parquet"), ("source", "target", "time", "weight"))
    read = schema.behaviours(behaviours)
    if len(read) > 1 and "relation" not in table.column_names:
        raise KgrecError(f"{path / 'history.parquet'} has no column 'relation'; train again")
    try:
        edges = {
            edge: _edges(table if len(read) == 1 else table.filter(pc.equal(table["relation"], edge[1])), path)
            for edge in read
        }
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise KgrecError(f"{path / 'history.parquet'} was altered ({error}); train again") from error
    recipe = files.json(RECIPE) if files.holds(RECIPE) and files.format > 1 else None
    return Graph.of(assemble(nodes, edges, target=schema.target, recipe=recipe))


def _edges(table: pa.Table, path: Path) -> EdgePart:
    for name in ("source", "target"):
        if not pa.types.is_integer(table[name].type) or table[name].null_count:
            raise KgrecError(f"{path / 'history.parquet'}: column {name!r} must have only row numbers; train again")
    return EdgePart(
        source=table["source"].to_numpy(),
        target=table["target"].to_numpy(),
        time=table["time"].cast(pa.int64()).fill_null(NO_TIME).to_numpy(),
        weight=table["weight"].cast(pa.float32(), safe=False).to_numpy(),
    )


def read_schema(path: Path) -> Schema:
    """The complete schema that a run's model was built from."""
    return _schema(path / "schema.json")


def _schema(file: Path) -> Schema:
    return Schema.from_json(read_json(file), file, REMEDY)


# ---------------------------------------------------------------------- files


def load_tensors(path: Path) -> dict[str, Tensor]:
    """Read a safetensors file. Raises KgrecError if it is missing, truncated or no safetensors file."""
    if not path.is_file():
        raise KgrecError(f"{path.parent} lacks its file {path.name}; train again")
    try:
        return load_file(path)
    except (SafetensorError, UnicodeEncodeError) as error:
        raise KgrecError(f"{path} is no safetensors file, or truncated: {error}; train again") from error


def read_table(path: Path, columns: tuple[str, ...]) -> pa.Table:
    """Read a Parquet file of a run folder. Raises KgrecError if it is missing, or has not all of the columns."""
    if not path.is_file():
        raise KgrecError(f"{path.parent} lacks its file {path.name}; train again")
    try:
        table = read_parquet(path)
    except (pa.ArrowException, OSError) as error:
        raise KgrecError(f"{path} is truncated or altered: {error}; train again") from error
    for name in columns:
        if name not in table.column_names:
            raise KgrecError(f"{path} has no column {name!r}; train again")
    return table


def versions() -> dict[str, str]:
    """The versions of the packages that a run was made with."""
    import numpy

    return {"kgrec": metadata.version("kgrec"), "torch": torch.__version__, "numpy": numpy.__version__}


__getattr__ = renamed(__name__, {"must_be_run": "kgrec.run_files:must_be_run"})

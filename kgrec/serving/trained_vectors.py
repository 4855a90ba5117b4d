"""The vectors that a model has of nodes, with their ids."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa

from kgrec.errors import KgrecError, UnknownName, unknown_name
from kgrec.evaluation.ranking import scoring
from kgrec.training.trained_model import TrainedModel

if TYPE_CHECKING:
    import pandas as pd


WITH_VECTORS = "models that have some are such as mf, lightgcn, kgat, sasrec and transe"


@dataclass(frozen=True, eq=False)
class TrainedVectors:
    """A vector for each node of one type.

    >>> vectors = TrainedVectors("item", ["x", "y"], np.array([[1, 0], [0, 2]], np.float32))
    >>> vectors["y"].tolist()
    [0.0, 2.0]
    >>> vectors.to_pandas().loc["y"].tolist(), vectors.to_arrow()["vector"].to_pylist()
    ([0.0, 2.0], [[1.0, 0.0], [0.0, 2.0]])
    """

    node_type: str
    ids: list[str]  #: [N], external ids
    matrix: np.ndarray  #: float32 [N, D], in the order of the ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, name: str) -> np.ndarray:
        """The vector of a node, float32 [D], by its id. Raises UnknownName."""
        if str(name) not in self._row:
            what = f"no {self.node_type} {name!r} among the {len(self):,} known"
            raise UnknownName(what, value=str(name), kind="unknown id")
        return self.matrix[self._row[str(name)]]

    @cached_property
    def _row(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.ids)}

    def to_pandas(self) -> pd.DataFrame:
        """A row a node, with the id as index, and a column a number of the vector."""
        import pandas as pd

        return pd.DataFrame(self.matrix, index=pd.Index(self.ids, name="id"))

    def to_arrow(self) -> pa.Table:
        """The columns `id` and `vector`, a list of D float32 each."""
        numbers = pa.array(np.ascontiguousarray(self.matrix).reshape(-1))
        return pa.table({"id": self.ids, "vector": pa.FixedSizeListArray.from_arrays(numbers, self.matrix.shape[1])})

    def __repr__(self) -> str:
        return f"TrainedVectors({self.node_type}: {len(self):,} of {self.matrix.shape[1]} numbers)"


def trained_vectors(run: TrainedModel, node_type: str) -> TrainedVectors:
    """What `Run.vectors` gives; see there."""
    if node_type not in run.graph.node_types:
        raise unknown_name("node type", node_type, run.graph.node_types, "in this run")
    with scoring(run.model):
        found = run.model.node_vectors(node_type)
        if found is None:
            others = [name for name in run.graph.node_types if run.model.node_vectors(name) is not None]
            have = f"it has those of {', '.join(others)}" if others else WITH_VECTORS
            raise KgrecError(f"{run.name} has no vectors of {node_type}; {have}")
    ids = run.graph.vocabulary[node_type].id_array.to_pylist()
    return TrainedVectors(node_type, ids, found.detach().float().cpu().numpy().copy())

"""New users of graph networks: attached to the items they know, in a graph whose other vectors stay as they are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from torch import Tensor

from kgrec.graph import Graph
from kgrec.nn.added_rows import Holder
from kgrec.nn.edge_folding import EdgeFolding
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.fold_in import FoldingSteps, NewUsersEdges

if TYPE_CHECKING:
    from kgrec.nn.graph_edge_model import GraphEdgeModel


class GraphFolding(EdgeFolding):
    """Users whose vectors are made along their edges: what goes on from a user to the items, and to other users, is
    left out, so that everybody else's vectors stay, and a user's do not depend on who else is new.

    A user's own vector, with which the layers begin, is solved for as in EdgeFolding, by the loss of the final one.
    """

    def __init__(self, model: GraphEdgeModel, known: Graph, how: FoldingSteps, layers: Any, seed: int = 0) -> None:
        """layers: what the model's `new_vectors` makes vectors of, as its `layers_around` has it."""
        super().__init__(model, known, how, seed)
        self.graph_model, self.layers = model, layers
        self.how = "folded in" if layers is None else "along the graph"

    def placed(self, own: Mapping[NodeEmbedding, Tensor], edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        table = self.graph_model.user_table
        vector = self.with_profile(table, own[table], edges)
        return {self.graph_model: self.graph_model.new_vectors(vector, edges, self.layers)}

    @property
    def tables(self) -> list[NodeEmbedding]:
        return [self.graph_model.user_table]

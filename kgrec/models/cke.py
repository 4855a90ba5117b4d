"""CKE: matrix factorization whose items are also what a knowledge graph, a text and an image say of them."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Annotated, ClassVar

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kgrec.errors import KgrecError, unknown_name
from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.nn import EdgeModelConfig, GraphEdgeModel, NodeEmbedding, TransR
from kgrec.nn.label_loss import squares
from kgrec.nn.text_vectors import text_vectors
from kgrec.rows import FeatureRows, RelationRows, declare_rows
from kgrec.samplers import Batch, CombinedLoader, Edges, Loader, Negatives
from kgrec.settings import settings


@settings
class CKEConfig(EdgeModelConfig):
    """Settings of CKE. `dim`, `loss`, `l2` and `batch_size` are those of the interactions, whose epochs count. `l2` is
    lambda_U and lambda_I: it weighs the squares of an interaction's user and of its items' offsets (of ratings and
    clicks, of all users and offsets), and not what an item is as an entity, of which `facts_l2` is."""

    relation_dim: PositiveInt = 64  #: numbers in a relation's vector, in which TransR compares a fact's ends
    facts_weight: NonNegativeFloat = 1.0  #: how much TransR's loss counts beside that of the interactions
    facts_batch_size: PositiveInt = 2048  #: facts in a batch
    #: lambda_v and lambda_r, weight of the squares of the vectors of a fact's ends and relation
    facts_l2: NonNegativeFloat = 1e-5
    text: str = ""  #: the items' column of text, or of its vectors; "": none
    image: str = ""  #: the items' column of vectors of images; "": none
    hidden: tuple[PositiveInt, ...] = (128,)  #: widths of an autoencoder's hidden layers, from its input to the code
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3  #: share of an autoencoder's input that training sets to 0
    reconstruction_weight: PositiveFloat = 0.1  #: lambda_X, how much the autoencoders' loss counts
    weights_l2: NonNegativeFloat = 1e-5  #: lambda_W, weight of the squares of the autoencoders' weights

    FORMER: ClassVar = {"noise": "input_dropout", "rebuilding": "reconstruction_weight"}


class CKE(GraphEdgeModel):
    """Collaborative knowledge base embedding (Zhang et al. 2016): e_j = eta_j + v_j + x_j + z_j, an item's own offset,
    its vector as an entity of the facts, the code of its text and that of its image; the score is u_i . e_j.

    One loss, the negative logarithm of the posterior (their "Collaborative Joint Learning"): the ranking loss of
    interactions (BPR in the paper) + facts_weight * TransR's -log sigmoid(g(h, r, t') - g(h, r, t)) over facts both
    ways + reconstruction_weight * the squared error of each denoising autoencoder, mean over its numbers, + the squares
    of all that is used, which are Gaussian priors: one of each vector that is read, of users and offsets by `l2`, of
    entities and relations by `facts_l2`. What has no data is at its prior's mean: the offset of an item without
    interactions, the entity of one without facts and the code of one without a text or image are 0, so that a cold item
    is what the rest says of it.

    Apart from the paper: layers are of tanh and not of sigmoid, so that codes are 0 on average; an image is a vector
    that another network made, so that its autoencoder has no convolutions; any of the losses of rankings may be taken.
    """

    Config = CKEConfig
    paper = "Zhang et al. 2016, Collaborative knowledge base embedding for recommender systems, KDD"

    def __init__(self, graph: Graph, config: CKEConfig) -> None:
        super().__init__(graph, config, adjacency=False)
        known, facts = graph.only(graph.target), graph.facts()
        self.rated: Tensor  #: BoolTensor [I, 1], which items have interactions
        self.register_buffer("rated", _touched(known, self.items), persistent=False)
        self.entity = self.transr = None
        with torch.no_grad():  # an offset that nothing reads is 0, so that it has no squares
            if self.item.has_ids:
                self.item.weight[:-1] *= self.rated.to(self.item.weight.device)
        if facts.edge_types:
            self.entity = NodeEmbedding(graph, None, config.dim, config.init_std)
            self.transr = TransR(RelationRows(facts.two_way_edges()), config.dim, config.relation_dim)
            self.stated: Tensor  #: BoolTensor [I, 1], which items have facts
            self.register_buffer("stated", _touched(facts, self.items), persistent=False)
        self.codes = nn.ModuleList(
            Autoencoder(_vectors(graph, name, config), config, _column(graph, name))
            for name in (config.text, config.image)
            if name
        )

    def objectives(self, graph: Graph) -> list[Objective]:
        facts, c = graph.facts(), self.config
        joint = self.objective(graph, self.task, list(self.parameters()), loss=self.loss, penalty=self.penalty)
        if not facts.num_edges:
            return [joint]
        both = facts.both_ways()
        stream = Loader(Edges(both), Negatives(both, reject=both), batch_size=c.facts_batch_size)
        assert isinstance(joint.batches, Loader)
        return [
            replace(
                joint, batches=CombinedLoader(joint.batches, stream), loss=self.joint_loss, penalty=self.joint_penalty
            )
        ]

    def joint_loss(self, batches: tuple[Batch, Batch]) -> Tensor:
        """The loss of a batch of interactions and one of facts."""
        interactions, facts = batches
        return self.loss(interactions) + self.config.facts_weight * self.facts_loss(facts)

    def joint_penalty(self, batches: tuple[Batch, Batch]) -> Tensor:
        """What of `joint_loss` is regularisation."""
        (interactions, facts), c = batches, self.config
        assert facts.relation is not None
        assert self.transr is not None
        of_facts = self.transr.penalty(self._ends(facts), facts.relation, c.facts_l2)
        return self.penalty(interactions) + c.facts_weight * of_facts

    def penalty(self, batch: Batch) -> Tensor:
        """What of `loss` is regularisation."""
        parts = [code.penalty() for code in self.codes if isinstance(code, Autoencoder)]
        return sum(parts, self.edge_penalty(batch))

    def edge_penalty(self, batch: Batch) -> Tensor:
        """What `l2` weighs: of a ranking the vectors of a batch's users and items' offsets, else all of these."""
        if self.task == "ranking":
            return super().edge_penalty(batch)
        return self.config.l2 * squares(nn.ModuleList([self.user, self.item])) / self.num_known

    def weighed_tables(self) -> list[NodeEmbedding]:
        return [table for table in super().weighed_tables() if table is not self.entity]

    def loss(self, batch: Batch) -> Tensor:
        """The loss of interactions, and of rebuilding what is known of their items."""
        rows = torch.unique(batch.tail) - self.items.start
        parts = [code.loss(rows) for code in self.codes if isinstance(code, Autoencoder)]
        return self.edge_loss(batch) + sum(parts, torch.zeros((), device=rows.device))

    def facts_loss(self, batch: Batch) -> Tensor:
        """TransR's loss of facts and what was drawn beside their tails."""
        assert batch.relation is not None
        assert self.transr is not None
        return self.transr.loss(self._ends(batch), batch.relation, self.config.facts_l2)

    def _ends(self, batch: Batch) -> Tensor:
        """Vectors of facts' heads and tails and of what was drawn beside them: [B, 2 + K, D]."""
        assert batch.negative is not None
        assert self.entity is not None
        return self.entity(torch.cat([batch.head.unsqueeze(1), batch.tail.unsqueeze(1), batch.negative], 1))

    def encode(self) -> tuple[Tensor, Tensor]:
        item = self.item.table() * self.rated
        if self.entity is not None:
            item = item + self.entity.table()[self.items.start : self.items.stop] * self.stated
        for code in self.codes:
            item = item + code()
        return self.user.table(), item


class Autoencoder(nn.Module):
    """A stacked denoising autoencoder of the items' vectors: layers to the code, and as many back."""

    def __init__(self, vector: Tensor, config: CKEConfig, column: FeatureRows) -> None:
        """vector: FloatTensor [I, W], zeros where there is none; column: which these are of."""
        super().__init__()
        self.config = config
        self.vector: Tensor  #: FloatTensor [I, W]
        self.is_there: Tensor  #: BoolTensor [I, 1], which items have one
        self.register_buffer("vector", vector, persistent=False)
        self.register_buffer("is_there", (vector != 0).any(1, keepdim=True), persistent=False)
        there = (*config.hidden, config.dim)
        self.encoder = _layers((vector.shape[1], *there))
        self.decoder = _layers((*there[::-1], vector.shape[1]))
        for layer in (*self.encoder, *self.decoder):
            declare_rows(layer, weight=column, bias=column)

    def forward(self) -> Tensor:
        """The codes of all items, [I, D], zeros where there is no vector; in training those of corrupted vectors."""
        return self.code(self.vector) * self.is_there

    def code(self, vector: Tensor) -> Tensor:
        """The codes of vectors [n, W], corrupted first in training: [n, D]."""
        if self.training:
            vector = vector * (torch.rand_like(vector) >= self.config.input_dropout)
        for layer in self.encoder:
            vector = torch.tanh(layer(vector))
        return vector

    def loss(self, row: Tensor) -> Tensor:
        """How far the vectors of items [n] are from what their corrupted codes give back, and the weights' squares."""
        c, wanted = self.config, self.vector[row]
        found = self.code(wanted)
        for number, layer in enumerate(self.decoder, 1):
            found = layer(found) if number == len(self.decoder) else torch.tanh(layer(found))
        error = (found - wanted).square().mean(1, keepdim=True)[self.is_there[row]]
        return c.reconstruction_weight * error.sum() / max(1, len(row)) + self.penalty()

    def penalty(self) -> Tensor:
        """What of `loss` is regularisation: the weights' squares."""
        squares = torch.stack([p.square().sum() for p in self.parameters() if p.dim() == 2]).sum()
        return self.config.weights_l2 * squares


def _layers(widths: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(nn.Linear(before, after) for before, after in itertools.pairwise(widths))


def _column(graph: Graph, name: str) -> FeatureRows:
    """Which column of the items it is."""
    item = graph.target[2]
    return FeatureRows(item, name, graph.schema.nodes[item].features[name].kind)


def _touched(graph: Graph, nodes: range) -> Tensor:
    """Which of a range of flat nodes have an edge: BoolTensor [nodes, 1]."""
    ends = torch.cat([graph.head, graph.tail])
    return (torch.bincount(ends, minlength=graph.num_nodes)[nodes.start : nodes.stop] > 0).unsqueeze(1)


def _vectors(graph: Graph, name: str, config: CKEConfig) -> Tensor:
    """A column of the items as vectors whose numbers have a mean square of 1 over the items in training, FloatTensor
    [I, W]; zeros where there is none. Raises UnknownName for a column that is not there, KgrecError for one of another
    kind than text or vector, and for vectors that are not finite."""
    item = graph.target[2]
    columns = graph.schema.nodes[item].features
    if name not in columns:
        raise unknown_name("feature", name, columns, f"of the {item!r} nodes")
    kind, count = columns[name].kind, len(graph.range(item))
    if kind not in ("text", "vector"):
        raise KgrecError(f"feature {name!r} is {kind}, text or vector is wanted; name it in `features` instead")
    feature = graph.features.get(item, {}).get(name)
    if feature is None:  # a graph of a schema alone
        return torch.zeros(count, config.text_dim if kind == "text" else columns[name].dim)
    trained = _touched(graph.only(graph.target), graph.range(item)).squeeze(1).cpu()
    if kind == "text":
        texts = text_vectors(feature.values.to_pylist(), trained.numpy(), config.text_dim, config.text_encoder)
        vector = torch.from_numpy(texts)
    else:
        vector = feature.values
    if not vector.isfinite().all():
        raise KgrecError(f"feature {name!r} has numbers that are not finite; mend it, a missing vector is null")
    there = vector[trained & (vector != 0).any(1)]
    scale = there.square().mean().sqrt() if len(there) else torch.tensor(1.0)
    return (vector / scale).to(graph.device)

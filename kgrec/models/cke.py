"""CKE: matrix factorization whose item vectors also learn from a knowledge graph, texts and images."""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn

from kgrec.errors import KgrecError, unknown_name
from kgrec.graph import Graph
from kgrec.model import Objective
from kgrec.nn import EdgeModelConfig, GraphEdgeModel, NodeEmbedding, TransR
from kgrec.nn.cpu_products import Linear
from kgrec.nn.label_loss import squares
from kgrec.rows import FeatureRows, RelationRows, declare_rows
from kgrec.samplers import Batch, CombinedLoader, Edges, Loader, Negatives
from kgrec.search_ranges import Between
from kgrec.settings import settings
from kgrec.text_vectors import text_vectors


@settings
class CKEConfig(EdgeModelConfig):
    """Settings of CKE. `dim`, `loss`, `l2` and `batch_size` are those of the interactions; an epoch is one pass over
    them. `l2` is lambda_U and lambda_I: in a ranking it regularises the user vector and the item offsets of each
    example, for ratings and clicks those of all users and items. Entity vectors are regularised by `facts_l2`."""

    #: width of the space of each relation, in which TransR compares the two ends of a fact; a wider one can express
    #: more, and costs memory and time
    relation_dim: PositiveInt = 64
    #: weight of TransR's loss of facts against the loss of interactions; 0: facts are not learned from
    facts_weight: Annotated[NonNegativeFloat, Between(0.01, 10.0, log=True)] = 1.0
    facts_batch_size: PositiveInt = 2048  #: facts in a training batch; larger batches are faster and need more memory
    #: lambda_v and lambda_r, weight of L2 regularisation of a fact's vectors: both ends and the relation; raise it
    #: against overfitting
    facts_l2: NonNegativeFloat = 1e-5
    text: str = ""  #: name of the items' column of text, or of text vectors; empty: none
    image: str = ""  #: name of the items' column of image vectors; empty: none
    #: widths of the hidden layers of an autoencoder, from its input to its code; wider or more layers can express more,
    #: and overfit sooner
    hidden: tuple[PositiveInt, ...] = (128,)
    #: share of an autoencoder's input values that training sets to 0 (denoising); raise it against overfitting
    input_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.3
    #: lambda_X, weight of the autoencoders' reconstruction error against the loss of interactions; raise it where texts
    #: and images say much
    reconstruction_weight: PositiveFloat = 0.1
    #: lambda_W, weight of L2 regularisation of the autoencoders' weights; raise it against overfitting
    weights_l2: NonNegativeFloat = 1e-5

    FORMER: ClassVar = {"noise": "input_dropout", "rebuilding": "reconstruction_weight"}


class CKE(GraphEdgeModel):
    """Collaborative knowledge base embedding (Zhang et al. 2016). The score is u_i . e_j with e_j = eta_j + v_j + x_j +
    z_j: the item's own offset, its vector as an entity of the facts, the code of its text and the code of its image.

    There is one joint loss, the negative logarithm of the posterior (their "Collaborative Joint Learning"). It sums:
    - the ranking loss of interactions (BPR in the paper);
    - facts_weight * TransR's -log sigmoid(g(h, r, t') - g(h, r, t)) over facts in both directions;
    - reconstruction_weight * the squared error of each denoising autoencoder, a mean over its outputs;
    - L2 regularisation (Gaussian priors): of users and offsets by `l2`, of entities and relations by `facts_l2`.

    A part without data is 0, the mean of its prior: the offset of an item without interactions, the entity vector of
    an item without facts, the code of an item without a text or image. So the other parts describe a cold item.

    Differences from the paper: layers use tanh instead of sigmoid, so that codes are 0 on average; an image is a vector
    that another network computed, so its autoencoder has no convolutions; any ranking loss may be chosen.
    """

    Config = CKEConfig
    paper = "Zhang et al. 2016, Collaborative knowledge base embedding for recommender systems, KDD"
    reads_facts = True

    def __init__(self, graph: Graph, config: CKEConfig) -> None:
        super().__init__(graph, config, adjacency=False)
        known, facts = graph.only(graph.target), graph.facts()
        self.rated: Tensor  #: BoolTensor [I, 1], which items have interactions
        self.register_buffer("rated", _touched(known, self.items), persistent=False)
        self.entity = self.transr = None
        with torch.no_grad():  # an offset that is never read is 0, so that L2 regularisation does not count it
            if self.item.rows is not None:
                self.item.rows.shard.mul_(self.rated[self.item.rows.own])
            elif self.item.has_ids:
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

    @property
    def learns_facts(self) -> bool:
        return self.entity is not None and self.config.facts_weight > 0

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
        """The part of `joint_loss` that is regularisation."""
        (interactions, facts), c = batches, self.config
        assert facts.relation is not None
        assert self.transr is not None
        of_facts = self.transr.penalty(self._ends(facts), facts.relation, c.facts_l2)
        return self.penalty(interactions) + c.facts_weight * of_facts

    def penalty(self, batch: Batch) -> Tensor:
        """The part of `loss` that is regularisation."""
        parts = [code.penalty() for code in self.codes if isinstance(code, Autoencoder)]
        return sum(parts, self.edge_penalty(batch))

    def edge_penalty(self, batch: Batch) -> Tensor:
        """The regularisation of `l2`: in a ranking of the batch's users and item offsets, otherwise of all of them."""
        if self.task == "ranking":
            return super().edge_penalty(batch)
        return self.config.l2_of_task * squares(nn.ModuleList([self.user, self.item])) / self.num_known

    def weighed_tables(self) -> list[NodeEmbedding]:
        return [table for table in super().weighed_tables() if table is not self.entity]

    def loss(self, batch: Batch) -> Tensor:
        """The loss of interactions, plus the autoencoders' losses for their items."""
        rows = torch.unique(batch.tail) - self.items.start
        parts = [code.loss(rows) for code in self.codes if isinstance(code, Autoencoder)]
        return self.edge_loss(batch) + sum(parts, torch.zeros((), device=rows.device))

    def facts_loss(self, batch: Batch) -> Tensor:
        """TransR's loss of facts and their negative tails."""
        assert batch.relation is not None
        assert self.transr is not None
        return self.transr.loss(self._ends(batch), batch.relation, self.config.facts_l2)

    def _ends(self, batch: Batch) -> Tensor:
        """Vectors of the facts' heads, tails and negative tails: [B, 2 + K, D]."""
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

    def looked_up(self, end: Literal["users", "items"], node: Tensor) -> Tensor:
        if end == "users":
            return self.user(node)
        row = node - self.items.start
        item = self.item(node) * self.rated[row]
        if self.entity is not None:
            item = item + self.entity(node) * self.stated[row]
        for code in self.codes:
            item = item + code(row)
        return item


class Autoencoder(nn.Module):
    """A stacked denoising autoencoder of the items' vectors: layers to the code, and as many layers back."""

    def __init__(self, vector: Tensor, config: CKEConfig, column: FeatureRows) -> None:
        """vector: FloatTensor [I, W], zeros for an item without one; column: the feature that they come from."""
        super().__init__()
        self.config = config
        self.vector: Tensor  #: FloatTensor [I, W]
        self.is_there: Tensor  #: BoolTensor [I, 1], which items have a vector
        self.register_buffer("vector", vector, persistent=False)
        self.register_buffer("is_there", (vector != 0).any(1, keepdim=True), persistent=False)
        there = (*config.hidden, config.dim)
        self.encoder = _layers((vector.shape[1], *there))
        self.decoder = _layers((*there[::-1], vector.shape[1]))
        for layer in (*self.encoder, *self.decoder):
            declare_rows(layer, weight=column, bias=column)

    def forward(self, row: Tensor | None = None) -> Tensor:
        """The codes of all items, [I, D], or of some rows, [n, D]; zeros for an item without a vector. Training
        corrupts the vectors first."""
        vector = self._corrupted(self.vector)
        if row is None:
            return self._encoded(vector) * self.is_there
        return self._encoded(vector[row]) * self.is_there[row]

    def code(self, vector: Tensor) -> Tensor:
        """The codes of vectors [n, W]: [n, D]. Training corrupts the vectors first."""
        return self._encoded(self._corrupted(vector))

    def _corrupted(self, vector: Tensor) -> Tensor:
        """Vectors [n, W]; in training with a random share of their values set to 0."""
        return vector * (torch.rand_like(vector) >= self.config.input_dropout) if self.training else vector

    def _encoded(self, vector: Tensor) -> Tensor:
        for layer in self.encoder:
            vector = torch.tanh(layer(vector))
        return vector

    def loss(self, row: Tensor) -> Tensor:
        """The reconstruction error of items [n] from their corrupted vectors, plus the L2 regularisation."""
        c, wanted = self.config, self.vector[row]
        found = self.code(wanted)
        for number, layer in enumerate(self.decoder, 1):
            found = layer(found) if number == len(self.decoder) else torch.tanh(layer(found))
        error = (found - wanted).square().mean(1, keepdim=True)[self.is_there[row]]
        return c.reconstruction_weight * error.sum() / max(1, len(row)) + self.penalty()

    def penalty(self) -> Tensor:
        """The part of `loss` that is regularisation: the squares of the weights."""
        squares = torch.stack([p.square().sum() for p in self.parameters() if p.dim() == 2]).sum()
        return self.config.weights_l2 * squares


def _layers(widths: tuple[int, ...]) -> nn.ModuleList:
    return nn.ModuleList(Linear(before, after) for before, after in itertools.pairwise(widths))


def _column(graph: Graph, name: str) -> FeatureRows:
    """What the rows of an autoencoder's weights stand for: this column of the items."""
    item = graph.target[2]
    return FeatureRows(item, name, graph.schema.nodes[item].features[name].kind)


def _touched(graph: Graph, nodes: range) -> Tensor:
    """Which nodes of a flat range have an edge: BoolTensor [nodes, 1]."""
    ends = torch.cat([graph.head, graph.tail])
    return (torch.bincount(ends, minlength=graph.num_nodes)[nodes.start : nodes.stop] > 0).unsqueeze(1)


def _vectors(graph: Graph, name: str, config: CKEConfig) -> Tensor:
    """A column of the items as vectors, FloatTensor [I, W], zeros where it is missing. They are scaled so that the mean
    square of their values is 1 over the items in training. Raises UnknownName for an unknown column, KgrecError for a
    column that is neither text nor vector, and for vectors that are not finite."""
    item = graph.target[2]
    columns = graph.schema.nodes[item].features
    if name not in columns:
        raise unknown_name("feature", name, columns, f"of the {item!r} nodes")
    kind, count = columns[name].kind, len(graph.range(item))
    if kind not in ("text", "vector"):
        raise KgrecError(
            f"feature {name!r} is {kind}, but `text` and `image` need a text or a vector; name it in `features` instead"
        )
    feature = graph.features.get(item, {}).get(name)
    if feature is None:  # the graph has a schema and no data
        return torch.zeros(count, config.text_dim if kind == "text" else columns[name].dim)
    trained = _touched(graph.only(graph.target), graph.range(item)).squeeze(1).cpu()
    if graph.withheld is not None:
        trained &= ~torch.isin(graph.nodes(item), graph.withheld).cpu()
    if kind == "text":
        texts = text_vectors(feature.values.to_pylist(), trained.numpy(), config.text_dim, config.text_encoder)
        vector = torch.from_numpy(texts)
    else:
        vector = feature.values
    if not vector.isfinite().all():
        raise KgrecError(f"feature {name!r} holds NaN or infinity; correct it, and write null for a missing vector")
    there = vector[trained & (vector != 0).any(1)]
    scale = there.square().mean().sqrt() if len(there) else torch.tensor(1.0)
    return (vector / scale).to(graph.device)

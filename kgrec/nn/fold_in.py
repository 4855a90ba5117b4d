"""Folding in: vectors for users that a model does not know, solved for by its own loss with all else held fixed."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.nn.added_rows import Holder, added_rows
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.feature_columns import Column
from kgrec.nn.losses import NO_LOGIT

CELLS = 1 << 22  #: scores that are held at once
BETA1, BETA2, EPSILON = 0.9, 0.999, 1e-8  #: of Adam


_LOCK = threading.Lock()
_held: dict[nn.Module, tuple[int, list[nn.Parameter]]] = {}  #: by how many a model is held fixed, and what moved

#: Users' own vectors by table, and the number of a step, by which draws may differ: a scalar
Loss = Callable[[Mapping[Any, Tensor], int], Tensor]


@dataclass(frozen=True)
class FoldingSteps:
    """How a model's new users are solved for."""

    steps: int = 8  #: steps of Adam, whose step size falls to 0 along a cosine
    lr: float = 0.2  #: step size at first, times the spread of the vectors of users in training where that is over 1
    classes: int = 4096  #: items that a user's own are held against at most, drawn once where there are more


@dataclass(frozen=True, eq=False)
class NewUsersEdges:
    """What users did that no graph knows, user by user. U users, n edges of the target relation."""

    ptr: Tensor  #: LongTensor [U + 1], user u has edges ptr[u] : ptr[u + 1]
    item: Tensor  #: LongTensor [n], flat
    weight: Tensor | None = None  #: FloatTensor [n]; None: not known
    profile: Mapping[str, Feature] = field(default_factory=dict)  #: columns of the users by name, a row a user

    def __len__(self) -> int:
        return len(self.ptr) - 1

    @property
    def number(self) -> Tensor:
        """Edges of each user: LongTensor [U]."""
        return self.ptr.diff()

    @property
    def row(self) -> Tensor:
        """Whose each edge is: LongTensor [n]."""
        return torch.arange(len(self), device=self.ptr.device).repeat_interleave(self.number)

    @property
    def position(self) -> Tensor:
        """The place of each edge among its user's: LongTensor [n]."""
        return torch.arange(len(self.item), device=self.ptr.device) - self.ptr[self.row]

    def part(self, rows: slice) -> NewUsersEdges:
        """Some users that follow each other."""
        ptr = self.ptr[rows.start : rows.stop + 1]
        edges = slice(int(ptr[0]), int(ptr[-1]))
        index = torch.arange(rows.start, rows.start + len(ptr) - 1)
        profile = {name: feature.take(index) for name, feature in self.profile.items()}
        return NewUsersEdges(
            ptr - ptr[0], self.item[edges], None if self.weight is None else self.weight[edges], profile
        )

    def rows(self, index: Sequence[int]) -> NewUsersEdges:
        """Some users, in this order."""
        row = torch.as_tensor(index, dtype=torch.long, device=self.ptr.device)
        number = self.number[row]
        ptr = torch.cat([number.new_zeros(1), number.cumsum(0)])
        edges = torch.arange(int(ptr[-1]), device=ptr.device) + (self.ptr[row] - ptr[:-1]).repeat_interleave(number)
        profile = {name: feature.take(row.cpu()) for name, feature in self.profile.items()}
        return NewUsersEdges(ptr, self.item[edges], None if self.weight is None else self.weight[edges], profile)


class Folding(ABC):
    """What makes vectors of new users for one trained model. It holds what is made once."""

    #: what an answer says of those served by what they did; None: what they did is not read
    how: Literal["folded in", "along the graph"] | None = "folded in"

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of users that are read."""
        return ()

    @abstractmethod
    def vectors(self, edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        """The vectors of users, FloatTensor [U, D], by what reads them. A user's do not depend on the others."""


@runtime_checkable
class FoldsIn(Protocol):
    """A model that new users can be made known to by what they did."""

    def folding(self, known: Graph, whole: Callable[[], Graph]) -> Folding:
        """What makes their vectors. known: the target edges that the run knows; whole: all of its graph, with facts.
        Raises KgrecError where that is wanted and is not there."""
        ...


class ProfileFolding(Folding):
    """Vectors of users by their columns alone, for a model that is told no more about new users."""

    how = None

    def __init__(self, model: nn.Module, known: Graph) -> None:
        self.source = known.target[0]
        self.tables = [table for table in user_tables(model, self.source) if table.features is not None]

    @property
    def columns(self) -> tuple[str, ...]:
        return columns_of(self.tables, self.source)

    def vectors(self, edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        return {table: table.of_profile(self.source, edges.profile, len(edges)).detach() for table in self.tables}


class JointFolding(Folding):
    """Several, of the parts of one model."""

    def __init__(self, parts: Sequence[Folding]) -> None:
        self.parts = parts
        self.how = next((part.how for part in parts), None)

    @property
    def columns(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))

    def vectors(self, edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        return {holder: vector for part in self.parts for holder, vector in part.vectors(edges).items()}


class VectorFolding(Folding):
    """Vectors that some steps of Adam make for the least loss of each user, with all of the model's parameters fixed.

    They begin at the mean of the users in training; one without edges has no part by id. The loss of a user is a sum
    over the own edges, so the users do not touch each other.
    """

    def __init__(self, model: nn.Module, known: Graph, how: FoldingSteps, seed: int = 0) -> None:
        self.model, self.known, self.settings, self.seed = model, known, how, seed
        self.first = known.pad + 1
        users = known.only(known.target).head.unique()
        self.trained = users if len(users) else known.nodes(known.target[0])
        self.starts: dict[Any, Tensor] = {}
        self.spreads: dict[Any, float] = {}

    @abstractmethod
    def loss_of(self, user: Tensor, edges: NewUsersEdges) -> Loss:
        """What gives the sum of the losses of users [U], flat, while their vectors are in place."""

    @property
    @abstractmethod
    def tables(self) -> Sequence[Any]:
        """What holds the users' own vectors, in the model."""

    @abstractmethod
    def of_trained(self, table: Any) -> Tensor:
        """The parts by id of users in training: FloatTensor [n, D]."""

    def start(self, table: Any) -> Tensor:
        """Their mean, zeros where there are none: FloatTensor [D]."""
        if table not in self.starts:
            vectors = self.of_trained(table)
            self.starts[table] = vectors.mean(0) if len(vectors) else vectors.new_zeros(vectors.shape[1])
        return self.starts[table]

    def spread(self, table: Any) -> float:
        """How far they are from their mean, in a number of a vector: the root of the mean square."""
        if table not in self.spreads:
            vectors = self.of_trained(table)
            apart = vectors - self.start(table)
            self.spreads[table] = float(apart.square().mean().sqrt()) if len(vectors) else 0.0
        return self.spreads[table]

    def placed(self, own: Mapping[Any, Tensor], edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        """What is put in place where the users' own vectors are these, by table."""
        return own

    @property
    def width(self) -> int:
        """Scores of a user that are held at once."""
        return min(self.settings.classes, len(self.known.range(self.known.target[2])))

    def vectors(self, edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        size, found = max(1, CELLS // self.width), list[Mapping[Holder, Tensor]]()
        with _fixed(self.model):
            for start in range(0, len(edges), size):
                found.append(self._solved(edges.part(slice(start, min(start + size, len(edges))))))
        return {holder: torch.cat([part[holder] for part in found]) for holder in found[0]} if found else {}

    def _solved(self, edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        device, number = edges.ptr.device, len(edges)
        user = torch.arange(self.first, self.first + number, device=device)
        there = (edges.number > 0).unsqueeze(1)
        own = {table: self.start(table).expand(number, -1) * there for table in self.tables}
        if not bool(there.any()) or not own:
            return {key: value.detach() for key, value in self.placed(own, edges).items()}
        own = {table: vector.clone().requires_grad_() for table, vector in own.items()}
        loss_of = self.loss_of(user, edges)
        moments = [(torch.zeros_like(one), torch.zeros_like(one)) for one in own.values()]
        for step in range(self.settings.steps):
            with torch.enable_grad(), added_rows(self.first, self.placed(own, edges)):
                loss = loss_of(own, step)
            gradients = torch.autograd.grad(loss, list(own.values()))
            falling = self.settings.lr * 0.5 * (1 + float(np.cos(np.pi * step / self.settings.steps)))
            for (table, vector), gradient, (mean, square) in zip(own.items(), gradients, moments):
                lr = falling * max(1.0, self.spread(table))
                mean.mul_(BETA1).add_(gradient, alpha=1 - BETA1)
                square.mul_(BETA2).addcmul_(gradient, gradient, value=1 - BETA2)
                root = (square / (1 - BETA2 ** (step + 1))).sqrt_().add_(EPSILON)
                with torch.no_grad():
                    vector.sub_(there * mean / root, alpha=lr / (1 - BETA1 ** (step + 1)))
        with torch.no_grad():
            return {key: value.detach() for key, value in self.placed(own, edges).items()}


class TableFolding(VectorFolding):
    """The same where the users' own vectors are rows of NodeEmbeddings."""

    @property
    def tables(self) -> Sequence[NodeEmbedding]:
        return user_tables(self.model, self.known.target[0])

    @property
    def columns(self) -> tuple[str, ...]:
        return columns_of(self.tables, self.known.target[0])

    def of_trained(self, table: NodeEmbedding) -> Tensor:
        if not table.has_ids:
            return table.weight.new_empty(0, table.weight.shape[1])
        row = table.row(self.trained)
        if table.features is not None:
            row = row[table.is_trained[row]]
        return table.weight.detach()[row]

    def placed(self, own: Mapping[NodeEmbedding, Tensor], edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        return {table: self.with_profile(table, vector, edges) for table, vector in own.items()}

    def with_profile(self, table: NodeEmbedding, own: Tensor, edges: NewUsersEdges) -> Tensor:
        """Users' vectors of their ids, [U, D], and of their columns."""
        if table.features is None:
            return own
        has_id = (edges.number > 0) if table.has_ids else torch.zeros_like(edges.number, dtype=torch.bool)
        return table.of_profile(self.known.target[0], edges.profile, len(edges), own=own, has_id=has_id)


def user_tables(model: nn.Module, node_type: str) -> list[NodeEmbedding]:
    """A model's tables of vectors of users. node_type: theirs."""
    tables = [module for module in model.modules() if isinstance(module, NodeEmbedding)]
    return [one for one in tables if one.node_rows.at(node_type) is not None and one.end != "items"]


def columns_of(tables: Sequence[NodeEmbedding], node_type: str) -> tuple[str, ...]:
    """The columns of nodes of a type that some tables read, by name."""
    found = (
        name
        for table in tables
        if table.features is not None
        for (of_type, name), column in zip(table.features.names, table.features.columns)
        if of_type == node_type and isinstance(column, Column) and bool(column.there.any())
    )
    return tuple(dict.fromkeys(found))


@contextmanager
def _fixed(model: nn.Module) -> Iterator[None]:
    """A model whose parameters have no gradient, so that none is made of them. Many threads may want that at once: the
    last one that ends gives them their gradients back."""
    with _LOCK:
        number, moving = _held.get(model, (0, []))
        if not number:
            moving = [parameter for parameter in model.parameters() if parameter.requires_grad]
            for parameter in moving:
                parameter.requires_grad_(False)
        _held[model] = number + 1, moving
    try:
        yield
    finally:
        with _LOCK:
            number, moving = _held.pop(model)
            if number > 1:
                _held[model] = number - 1, moving
            else:
                for parameter in moving:
                    parameter.requires_grad_(True)


def softmax_loss(
    scores: Tensor, positive: Tensor, row: Tensor, own: Tensor | None = None, log_share: float = 0.0
) -> Tensor:
    """The sum over edges of -log softmax of the true item among all. scores: FloatTensor [U, C], of the items that
    stand for all; positive: FloatTensor [n], of the edges'; row: LongTensor [n], whose each edge is; own: BoolTensor
    [U, C], items that are no negatives of a user, beside which the true one stands; None: the true one is among all.
    log_share: the logarithm of how many items one of the C stands for.

    >>> scores, row = torch.tensor([[0.0, 0.0, 0.0]]), torch.tensor([0, 0])
    >>> softmax_loss(scores, torch.zeros(2), row).exp().item()  # 3 times 3
    9.0
    >>> own = torch.tensor([[True, True, False]])
    >>> round(softmax_loss(scores, torch.zeros(2), row, own).exp().item(), 4)  # one of two, twice
    4.0
    """
    if own is None:
        return (scores.logsumexp(1)[row] + log_share - positive).sum()
    rest = scores.masked_fill(own, NO_LOGIT).logsumexp(1) + log_share
    return functional.softplus(rest[row] - positive).sum()


@dataclass(frozen=True, eq=False)
class Places:
    """Where the items of users' edges stand among classes [C]."""

    row: Tensor  #: LongTensor [n], whose each edge is
    place: Tensor  #: LongTensor [n], where its item stands
    there: Tensor  #: BoolTensor [n], whether it does
    all_there: bool  #: whether all do

    @staticmethod
    def of(edges: NewUsersEdges, classes: Tensor) -> Places:
        """classes: LongTensor [C], flat, rising."""
        place = torch.searchsorted(classes, edges.item).clamp(max=len(classes) - 1)
        there = classes[place] == edges.item
        return Places(edges.row, place, there, bool(there.all()))

    def own(self, number: int, width: int) -> Tensor:
        """Which classes each of so many users has: BoolTensor [number, width]."""
        found = torch.zeros(number, width, dtype=torch.bool, device=self.row.device)
        found[self.row[self.there], self.place[self.there]] = True
        return found


def drawn_classes(items: Tensor, most: int, seed: int) -> Tensor:
    """At most so many of some items [I], each as probably: LongTensor [C], rising."""
    if len(items) <= most:
        return items
    place = np.sort(np.random.default_rng(seed).choice(len(items), most, replace=False))
    return items[torch.from_numpy(place).to(items.device)]


def shares(position: Tensor, width: int, seed: Sequence[int]) -> Tensor:
    """A number in [0, 1) for each of `width` draws of edges at these places among their user's: DoubleTensor [n,
    width]. The same for the same place, whatever else is asked for."""
    longest = int(position.max()) + 1 if len(position) else 0
    table = torch.from_numpy(np.random.default_rng(list(seed)).random((longest, width)))
    return table.to(position.device)[position]

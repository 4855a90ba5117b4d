"""The model protocol: a model defines its training losses and its scores. The rest of kgrec uses nothing else of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import InitVar, dataclass, field, fields
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import Tensor, nn

from kgrec._deprecation import deprecated, renamed
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.linear_scores import Kind
from kgrec.optimizers import SparseAndDense, fused_adam
from kgrec.rows import node_vectors
from kgrec.samplers import Batches

Task = Literal["ranking", "rating", "ctr"]  #: tasks about a user and an item
AnyTask = Literal["ranking", "rating", "ctr", "link"]  #: also link: which facts are true, for any relation


FOREVER = 1 << 30  #: the end of a phase that lasts until the end of training


@dataclass(frozen=True)
class Query:
    """A request for recommendations: B users, with their histories."""

    user: Tensor  #: LongTensor [B], flat; graph.pad for a new user
    history: Tensor  #: LongTensor [B, L], flat, the whole history, oldest first, left-padded with graph.pad
    time: Tensor | None = None  #: LongTensor [B, L], unix seconds of the history
    weight: Tensor | None = None  #: FloatTensor [B, L], weights of the history's edges
    behaviour: Tensor | None = (
        None  #: LongTensor [B, L], the index of each step's behaviour in the model's `behaviours`
    )
    now: Tensor | None = None  #: LongTensor [B], unix seconds when the list is wanted; None or NO_TIME if not known
    #: columns of users by name, a row a user, for those who are no nodes; a known user's values may be missing
    profile: Mapping[str, Feature] = field(default_factory=dict)
    #: what is around the request (the device, the hour), by names that the model knows: [B, *] each
    context: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, index: Tensor) -> Query:
        """The queries at `index`, LongTensor [n], with all their fields."""
        return Query(**{each.name: _rows(getattr(self, each.name), index) for each in fields(self)})

    def multi_hot(self, nodes: range) -> Tensor:
        """Which of a range of flat nodes are in each history: FloatTensor [B, len(nodes)], 1 or 0."""
        rows = torch.zeros(len(self), len(nodes), device=self.history.device)
        row, place = ((self.history >= nodes.start) & (self.history < nodes.stop)).nonzero(as_tuple=True)
        rows[row, self.history[row, place] - nodes.start] = 1.0
        return rows


def _rows(value: Any, index: Tensor) -> Any:
    match value:
        case Tensor():
            return value[index]
        case Feature():
            return value.take(index)
        case Mapping():
            return {name: _rows(one, index) for name, one in value.items()}
    return value


class CompiledSteps(Protocol):
    """Steps of an objective that compute its loss and move its parameters by themselves, without autograd."""

    def serve(self, optimizer: Any) -> bool:
        """Whether these steps do what the objective's loss and this optimizer would do."""

    def running(self, optimizer: Any, number: int) -> AbstractContextManager[Callable[[Any], Tensor]]:
        """Inside this context, a function does a whole step for a batch and returns its loss, up to `number` times.
        The parameters and the optimizer's state are those of the last step only at its end."""


@dataclass
class Objective:
    """One loss, with its batches and the parameters that it trains."""

    name: str  #: its name in logs
    batches: Batches  #: a Loader or CombinedLoader, iterated once in each epoch
    loss: Callable[[Any], Tensor]  #: batch -> float32 scalar, a mean over the batch
    parameters: Sequence[nn.Parameter]  #: the parameters that this loss trains
    #: (parameters, lr) -> an optimizer
    optimizer: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer | SparseAndDense] = fused_adam
    lr: float = 1e-3  #: the learning rate
    epochs: range | None = None  #: the epochs (from 1) in which it is active, its phase; None: all
    #: name of a group: objectives of one group alternate batch by batch; None: it runs through all its batches at once
    interleave: str | None = None
    #: the part of a batch's loss that is regularisation; adversarial training leaves it out at moved vectors; None: no
    #: part
    penalty: Callable[[Any], Tensor] | None = None
    turn: InitVar[str | None] = None  #: the former name of `interleave`
    #: compiled steps that do what the loss and the optimizer do; training takes them where they serve; None: there are
    #: none
    steps: CompiledSteps | None = None

    def __post_init__(self, turn: str | None) -> None:
        if turn is not None:
            deprecated("Objective's `turn`", "`interleave`")
            self.interleave = turn


@dataclass(frozen=True, eq=False)
class ScorerParts:
    """How a model's scores of all items are computed, if they are a product or a sum of tensors (see LinearScores)."""

    kind: Kind  #: product or sum, as in LinearScores
    tensors: Mapping[str, Tensor]  #: tensors by name; a view of a parameter or buffer is not stored again
    constant: float = 0.0  #: added to every score


class Recommender(nn.Module, ABC):
    """A model: `Model(graph, config)` builds one from the training graph.

    Everything that `score` reads is a parameter or a dense buffer. Its shape depends only on `graph.schema` and the
    config, so that `Model(Graph.empty(schema), config)` can load saved weights. A model declares what the rows of a
    parameter belong to (`kgrec.rows.declare_rows`; a NodeEmbedding does it by itself). Then a model on another graph
    can start from it, row by row.
    """

    Config: ClassVar[type]  #: the frozen settings class beside the model
    paper: ClassVar[str] = ""  #: the paper that it is from: authors and year, title, venue; "" if there is none
    #: the meaning of its scores: ranking (an order of items), rating, ctr (the logit of a probability), link (an order
    #: of facts)
    task: AnyTask = "ranking"
    reads_history: ClassVar[bool] = False  #: whether it can serve a new user from a history alone
    #: whether the model knows a node by any of its edges, as a graph network over all edges does; else only by edges of
    #: `behaviours`
    reads_all_edges: ClassVar[bool] = False
    #: whether it learns from the graph's facts (edges that do not join users and items); a text is the name of the
    #: setting that says so: it does if the setting is not 0 or false
    reads_facts: ClassVar[bool | str] = False
    #: whether it also serves users about whom nothing is known, for example by season; else they get popular items
    serves_everybody: ClassVar[bool] = False
    #: its settings where items without interactions matter most, as `--for cold` sets them; empty: it has none. Weights
    #: of content that no item of a graph has are left out (see `kgrec.training.purposes`)
    for_cold: ClassVar[Mapping[str, Any]] = {}
    behaviours: tuple[str, ...] = ()  #: relations whose edges are the history, in the graph's order; (): the target

    @abstractmethod
    def __init__(self, graph: Graph, config: Any) -> None:
        super().__init__()
        self.config = config

    def objectives(self, graph: Graph) -> list[Objective]:
        """The losses that training minimises, in the order of one epoch. A model that is complete when built has
        none."""
        return []

    @abstractmethod
    def score(self, query: Query, items: Tensor) -> Tensor:
        """Score items for each query; higher is better. items: flat numbers, LongTensor [C], or [B, C] if each query
        has its own list. Returns FloatTensor [B, C]."""

    def attention(self, query: Query) -> Tensor | None:
        """The weight of each step of the histories in the scores: FloatTensor [B, L]. It sums to 1 over the steps that
        the model reads, and is 0 elsewhere. None for a model without attention."""
        return None

    def node_vectors(self, node_type: str) -> Tensor | None:
        """Vectors of all nodes of a type, FloatTensor [N, D], in the order of the graph's numbers, in eval mode; None
        if the model has none. By default these are computed vectors if there are any, else the first table, as declared
        with `kgrec.rows`."""
        return node_vectors(self, node_type)

    def linear_scorer(self) -> ScorerParts | None:
        """The formula of `score` for readers that have only NumPy; None if the scores have no such form. Called in eval
        mode and without gradients. A subclass that defines its own `score` does not inherit it."""
        return None

    @property
    def learns_facts(self) -> bool:
        """Whether its weights learned from facts, while its scores come along no edge: then masking a fact does not
        change a score. A model whose scores come along edges has `edge_masking` instead (`kgrec.nn.masked_edges`)."""
        return False

    @property
    def reads_now(self) -> bool:
        """Whether its scores depend on `query.now`, when the list is wanted. Serving then gives it the clock's time,
        and keeps nothing that was computed for another time."""
        return False

    @property
    def serving_part(self) -> Recommender:
        """The model inside it whose scores are its own; by default itself."""
        return self

    def begin(self, epoch: int) -> None:
        """Called before each epoch (from 1), for example to copy or freeze something when a phase begins."""

    def start_from(self, taken: Collection[str]) -> None:
        """Called, without gradients, after parameters were taken from another model; sets what depends on them. taken:
        names of these parameters in this model; for tables, without `.weight`."""

    def refresh(self) -> None:
        """Recompute the buffers that `score` reads. Called after each epoch, in eval mode and without gradients."""

    def check_sharded(self) -> None:
        """Raise KgrecError if `refresh` needs whole tables of vectors, which no process has where several share them
        (`training.shard_vectors`). Called once before training, in eval mode and without gradients. By default it
        tries."""
        self.refresh()

    def diagnostics(self) -> Mapping[str, float]:
        """Numbers about the last epoch for the log, in addition to its losses. Called once, after `refresh`."""
        return {}

    def warnings(self) -> list[str]:
        """What seems wrong with training, such as a collapsed generator, each with a hint. Called after
        `diagnostics`."""
        return []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for former, present in (("signs", "diagnostics"), ("concerns", "warnings")):
            if former in vars(cls):
                deprecated(f"{cls.__name__}.{former}", f"`{present}`")
                setattr(cls, present, vars(cls)[former])


def goes_with_score(kind: type[Recommender]) -> bool:
    """Whether no subclass of the class that defines `linear_scorer` defines its own `score`."""
    offers, scores = (
        next(n for n, one in enumerate(kind.__mro__) if name in vars(one)) for name in ("linear_scorer", "score")
    )
    return offers <= scores


@contextmanager
def scoring(model: Recommender) -> Iterator[None]:
    """Inside this context, the model is in eval mode and without gradients. Afterwards it is in its former mode."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


__getattr__ = renamed(__name__, {"sgd": "kgrec.optimizers:sgd"})

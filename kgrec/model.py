"""The protocol: a model says what training minimises and how it scores; no more is known of it outside its file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import InitVar, dataclass, field, fields
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor, nn

from kgrec._deprecation import deprecated, renamed
from kgrec.graph import Graph
from kgrec.graph.features import Feature
from kgrec.linear_scores import Kind
from kgrec.optimizers import SparseAndDense, fused_adam
from kgrec.rows import node_vectors
from kgrec.samplers import Batches

Task = Literal["ranking", "rating", "ctr"]  #: of a user and an item
AnyTask = Literal["ranking", "rating", "ctr", "link"]  #: link: which facts hold, over any relation


FOREVER = 1 << 30  #: the end of a phase that has none


@dataclass(frozen=True)
class Query:
    """Whom to recommend to: B users, and what each did so far."""

    user: Tensor  #: LongTensor [B], flat; graph.pad for a new user
    history: Tensor  #: LongTensor [B, L], flat, the whole path, oldest first, left-padded with graph.pad
    time: Tensor | None = None  #: LongTensor [B, L], unix seconds of the history
    weight: Tensor | None = None  #: FloatTensor [B, L], weights of the history's edges
    behaviour: Tensor | None = None  #: LongTensor [B, L], of each step which of the model's `behaviours` it is
    now: Tensor | None = None  #: LongTensor [B], unix seconds at which it is asked; NO_TIME where that is not known
    #: columns of users by name, a row a user, for those who are no nodes; a known user's values may be missing
    profile: Mapping[str, Feature] = field(default_factory=dict)
    #: what is around the request (the device, the hour), by names that the model knows: [B, *] each
    context: Mapping[str, Tensor] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.user)

    def rows(self, index: Tensor) -> Query:
        """The queries at `index`, LongTensor [n], with all that is known of each."""
        return Query(**{each.name: _rows(getattr(self, each.name), index) for each in fields(self)})

    def multi_hot(self, nodes: range) -> Tensor:
        """Which of a range of flat nodes are in each history, FloatTensor [B, len(nodes)]; once or often is 1."""
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


@dataclass
class Objective:
    """One loss, the batches that it is taken over, and the parameters that it moves."""

    name: str  #: what logs call it
    batches: Batches  #: a Loader or CombinedLoader, iterated anew each epoch
    loss: Callable[[Any], Tensor]  #: batch -> float32 scalar, a mean over the batch
    parameters: Sequence[nn.Parameter]  #: those that this loss moves
    #: (parameters, lr) -> an optimizer
    optimizer: Callable[[Iterable[nn.Parameter], float], torch.optim.Optimizer | SparseAndDense] = fused_adam
    lr: float = 1e-3  #: the step size
    epochs: range | None = None  #: the epochs (from 1) in which it is active, a phase; None: all
    interleave: str | None = None  #: objectives of one group alternate batch by batch; else they follow epoch by epoch
    #: what of a batch's loss is regularisation, which training against moved vectors leaves out; None: nothing
    penalty: Callable[[Any], Tensor] | None = None
    turn: InitVar[str | None] = None  #: the former name of `interleave`

    def __post_init__(self, turn: str | None) -> None:
        if turn is not None:
            deprecated("Objective's `turn`", "`interleave`")
            self.interleave = turn


@dataclass(frozen=True, eq=False)
class ScorerParts:
    """How a model's scores of all items come about, where that is a product or a sum of tensors (see LinearScores)."""

    kind: Kind  #: product or sum, as in LinearScores
    tensors: Mapping[str, Tensor]  #: by name; a view of a parameter or buffer is not written twice
    constant: float = 0.0  #: added to every score


class Recommender(nn.Module, ABC):
    """A model: `Model(graph, config)` builds one from the training graph.

    Whatever `score` reads is a parameter or a dense buffer whose shape depends on `graph.schema` and the config alone,
    so that `Model(Graph.empty(schema), config)` takes saved weights. What the rows of a parameter stand for is declared
    (`kgrec.rows.declare_rows`; a NodeEmbedding does so itself), so that another graph's can start it, row by row.
    """

    Config: ClassVar[type]  #: the frozen settings class beside the model
    paper: ClassVar[str] = ""  #: where it is from: authors and year, title, where it appeared; "": nowhere
    task: AnyTask = "ranking"  #: what its scores are: an order, a rating, a probability's logit; or an order of facts
    reads_history: ClassVar[bool] = False  #: whether a new user is served by a history alone
    #: whether a node is known by any of its edges, as in a graph network over all; else by those of `behaviours`
    reads_all_edges: ClassVar[bool] = False
    #: whether it makes the lists of users about whom nothing is known, as a model of seasons can; else popularity does
    serves_everybody: ClassVar[bool] = False
    behaviours: tuple[str, ...] = ()  #: relations whose edges are the history, in the graph's order; (): the target

    @abstractmethod
    def __init__(self, graph: Graph, config: Any) -> None:
        super().__init__()
        self.config = config

    def objectives(self, graph: Graph) -> list[Objective]:
        """What training minimises, in the order of one epoch. Models that are complete when built have none."""
        return []

    @abstractmethod
    def score(self, query: Query, items: Tensor) -> Tensor:
        """Score items for each query; higher is better. items: LongTensor [C], or [B, C] for lists of each query's own,
        flat numbers. Returns FloatTensor [B, C]."""

    def attention(self, query: Query) -> Tensor | None:
        """How much each step of the histories counts for the scores, FloatTensor [B, L] that sums to 1 over the steps
        that are read and is 0 elsewhere; None for a model that cannot say."""
        return None

    def node_vectors(self, node_type: str) -> Tensor | None:
        """Vectors of all nodes of a type, FloatTensor [N, D], in the order of the graph's numbers, in eval mode; None
        for a model that has none. By default what it computed of them, else its first table, as the rows of its
        parameters and buffers are declared (`kgrec.rows`)."""
        return node_vectors(self, node_type)

    def linear_scorer(self) -> ScorerParts | None:
        """What `score` computes, for a reader that has NumPy alone; None for a model whose scores are of no such form.
        Called in eval mode and without gradients. A subclass with a `score` of its own does not inherit it."""
        return None

    def begin(self, epoch: int) -> None:
        """Called before each epoch (from 1): a phase's start may copy or freeze something."""

    def start_from(self, taken: Collection[str]) -> None:
        """Called, without gradients, where parameters of another model are the start: sets what goes with them. taken:
        their names here, of tables without `.weight`."""

    def refresh(self) -> None:
        """Recompute the buffers that `score` reads. Called after each epoch, in eval mode and without gradients."""

    def diagnostics(self) -> Mapping[str, float]:
        """How the last epoch went beside its losses, numbers by name, for the log. Called once, after `refresh`."""
        return {}

    def warnings(self) -> list[str]:
        """What seems wrong with training, each with a hint, as `diagnostics` has just shown (a collapsed generator)."""
        return []

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        for former, present in (("signs", "diagnostics"), ("concerns", "warnings")):
            if former in vars(cls):
                deprecated(f"{cls.__name__}.{former}", f"`{present}`")
                setattr(cls, present, vars(cls)[former])


@contextmanager
def scoring(model: Recommender) -> Iterator[None]:
    """The model in eval mode and without gradients, and afterwards as it was."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


__getattr__ = renamed(__name__, {"sgd": "kgrec.optimizers:sgd"})

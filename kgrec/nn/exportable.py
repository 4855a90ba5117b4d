"""Models as modules with tensors as inputs and outputs, for `torch.export` and the runtimes that load its programs."""

from __future__ import annotations

import copy
from typing import TypeVar

from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.model import Query, Recommender, scoring
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.next_item import NextItem

Model = TypeVar("Model", bound=Recommender)


def exportable(model: Recommender, items: Tensor) -> nn.Module:
    """A trained model as a module that scores the given items. Its control flow and shapes do not depend on the values
    of tensors, as `torch.export` requires. items: LongTensor [I], flat.

    For a sequence model the module is `(history [B, L], behaviour [B, L] = None, time [B, L] = None, now [B] = None) ->
    scores [B, I]`, with the arguments of `Query`; only models with `times` read the last two. Histories may be padded
    on either side with any number past the items (graph.pad), and times with NO_TIME. The item vectors are copied as
    they are now, also where features or a graph network compute them. For a model that knows users by their number, the
    module is `(user [B]) -> scores [B, I]`; its nodes must not have features. The module is in eval mode and on the
    model's device:

        module = exportable(run.model, graph.nodes("item"))
        history = torch.full((2, 50), graph.pad)
        program = torch.export.export(module, (history,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, "sasrec.pt2")

    Raises KgrecError for other models: link models, and models that read histories without being sequence models, whose
    computation depends on the values in a history.
    """
    if isinstance(model, NextItem):
        return _OfHistories(model, items)
    if model.reads_history or model.task == "link":
        what = "reads histories and is no NextItem" if model.reads_history else "scores facts"
        raise KgrecError(
            f"{type(model).__name__} {what}, so it cannot be exported by torch.export; use a sequence model (sasrec, "
            "gru4rec, gruatt) or a model that knows users by their ids (mf, lightgcn)"
        )
    return _OfUsers(model, items)


class _OfHistories(nn.Module):
    """Scores of items from histories."""

    items: Tensor

    def __init__(self, model: NextItem, items: Tensor) -> None:
        super().__init__()
        self.model = _copied(model, {id(model.item): _FixedVectors(model)})
        self.register_buffer("items", items.to(self.model.item.vector.device))
        self.eval()

    def forward(
        self,
        history: Tensor,
        behaviour: Tensor | None = None,
        time: Tensor | None = None,
        now: Tensor | None = None,
    ) -> Tensor:
        user = history.new_full((history.shape[0],), self.model.items.stop)
        scores: Tensor = self.model.padded_score(Query(user, history, time, behaviour=behaviour, now=now), self.items)
        return scores


class _OfUsers(nn.Module):
    """Scores of items from users' numbers."""

    items: Tensor

    def __init__(self, model: Recommender, items: Tensor) -> None:
        super().__init__()
        self.model = _copied(model, {})
        self.register_buffer("items", items.to(next(iter(model.state_dict().values())).device))
        self.eval()

    def forward(self, user: Tensor) -> Tensor:
        scores: Tensor = self.model.score(Query(user, user.new_empty(user.shape[0], 0)), self.items)
        return scores


class _FixedVectors(nn.Module):
    """The current item vectors of a model; it replaces the module that computes them."""

    vector: Tensor  #: FloatTensor [I + 1, D], the last row zeros

    def __init__(self, model: NextItem) -> None:
        super().__init__()
        self.start = model.items.start
        with scoring(model):
            self.register_buffer("vector", functional.pad(model.item.vectors().table(), (0, 0, 0, 1)))

    def vectors(self) -> Vectors:
        return Vectors(self.start, self.vector)

    def forward(self, node: Tensor) -> Tensor:
        return self.vectors()(node)


def _copied(model: Model, instead: dict[int, nn.Module]) -> Model:
    """A copy of a model, so that its mode can be set without changing the model. What only training reads, such as the
    graph of a ranking loss, is left out. instead: replacement modules, by the `id()` of the module to be replaced."""
    only_for_training = {id(value): None for name, value in vars(model).items() if name == "ranking"}
    return copy.deepcopy(model, {**only_for_training, **instead})

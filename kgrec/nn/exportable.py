"""Models as modules of tensors alone, for `torch.export` and whatever runs its programs."""

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
    """A trained model as a module that scores these items, without control flow or shapes that depend on what a tensor
    holds. items: LongTensor [I], flat.

    Of a sequence model it is `(history [B, L], behaviour [B, L] = None) -> scores [B, I]`, as `Query` has them;
    histories are padded, on either side, with any number past the items' (graph.pad). Of a model that knows users by
    their numbers alone it is `(user [B]) -> scores [B, I]`, where nodes have no features. Items' vectors of a sequence
    model are copied as they are, those of features and of graph networks among them. The module is in eval mode, on the
    model's device:

        module = exportable(run.model, graph.nodes("item"))
        history = torch.full((2, 50), graph.pad)
        program = torch.export.export(module, (history,), dynamic_shapes=({0: torch.export.Dim("batch")},))
        torch.export.save(program, "sasrec.pt2")

    Raises KgrecError for other models: those that read histories, and are no sequence models, solve or gather what a
    history holds.
    """
    if isinstance(model, NextItem):
        return _OfHistories(model, items)
    if model.reads_history or model.task == "link":
        what = "reads histories and is no NextItem" if model.reads_history else "scores facts"
        raise KgrecError(
            f"{type(model).__name__} {what}, so it has no form for torch.export; a sequence model (sasrec, gru4rec, "
            "gruatt) or one that knows users by their numbers (mf, lightgcn) is wanted"
        )
    return _OfUsers(model, items)


class _OfHistories(nn.Module):
    """Scores of items by histories."""

    items: Tensor

    def __init__(self, model: NextItem, items: Tensor) -> None:
        super().__init__()
        self.model = _copied(model, {id(model.item): _FixedVectors(model)})
        self.register_buffer("items", items.to(self.model.item.vector.device))
        self.eval()

    def forward(self, history: Tensor, behaviour: Tensor | None = None) -> Tensor:
        user = history.new_full((history.shape[0],), self.model.items.stop)
        scores: Tensor = self.model.padded_score(Query(user, history, behaviour=behaviour), self.items)
        return scores


class _OfUsers(nn.Module):
    """Scores of items by users' numbers."""

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
    """The items' vectors of a model as they are, in place of what makes them."""

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
    """A copy of a model, so that its mode is its own; what only training reads, such as the graph of a ranking loss, is
    left out. instead: modules by the id of the part whose place they take."""
    only_for_training = {id(value): None for name, value in vars(model).items() if name == "ranking"}
    return copy.deepcopy(model, {**only_for_training, **instead})

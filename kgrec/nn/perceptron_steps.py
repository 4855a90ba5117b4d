"""Training steps of a perceptron on pairs, with a weighed product of vectors beside it or without: loss, gradients and
Adam of the tables without autograd, on the CPU."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.nn.cpu_products import ROWS, kept_for_gradients, layer, layer_gradients
from kgrec.nn.edge_model import EdgeModelConfig
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.look_up_steps import are_large, rows_read
from kgrec.nn.pair_mlp import PairMLP
from kgrec.nn.pair_pass import outputs_of_layers, scale_of
from kgrec.nn.pair_steps import has_compiled_loss, log_counts, pair_loss
from kgrec.nn.row_steps import LateAdam, TableSteps, WholeAdam, moves_only
from kgrec.samplers import Batch

if TYPE_CHECKING:
    from kgrec.nn.touched_rows import PairLoss


class Factors(NamedTuple):
    """The factorization: the score is weight . (user * item)."""

    user: NodeEmbedding
    item: NodeEmbedding
    weight: nn.Parameter  #: [D]


class Looked(NamedTuple):
    """The rows of tables of one end that a step looks up."""

    rows: np.ndarray  #: int64 [m], distinct
    place: np.ndarray  #: int64 [*S], for each row that was asked for, where it is among them; m: padding
    ptr: np.ndarray  #: int64 [m + 2], where in `order` the scores of each row begin, and last those of padding
    order: np.ndarray  #: int64, the scores of each row, by their numbers from 0 to B C - 1


class PerceptronSteps:
    """Steps of a model whose scores are those of a perceptron on the vectors of two tables, plus a factorization's,
    over sampled negatives of each example. The first layer's parts are computed once for each user and item of a batch,
    so their products, and look-ups and their gradients, are of distinct rows. The numbers are those of the loss by
    autograd and Adam over all rows, up to rounding."""

    def __init__(
        self,
        config: EdgeModelConfig,
        classes: int,
        user: NodeEmbedding,
        item: NodeEmbedding,
        mlp: PairMLP,
        factors: Factors | None = None,
    ) -> None:
        """classes: number of items that may be drawn; user, item: what the perceptron reads."""
        self.config, self.classes, self.mlp, self.factors = config, classes, mlp, factors
        more = [] if factors is None else [factors]
        #: the tables of users, and those of items: the perceptron's, then the factorization's
        self.users, self.items = [user, *(one.user for one in more)], [item, *(one.item for one in more)]

    @property
    def tables(self) -> list[NodeEmbedding]:
        """All tables: those of users, then those of items."""
        return [*self.users, *self.items]

    @property
    def layers(self) -> list[nn.Parameter]:
        """All other parameters: the perceptron's, then the factorization's weight."""
        return [*self.mlp.layers(), *([] if self.factors is None else [self.factors.weight])]

    @staticmethod
    def fit(config: EdgeModelConfig) -> bool:
        """Whether there are such steps for these settings."""
        return has_compiled_loss(config)

    def serve(self, optimizer: Any) -> bool:
        """Whether these steps do what the loss and this optimizer would do."""
        return moves_only(optimizer, [*(one.weight for one in self.tables), *self.layers])

    @contextmanager
    def running(self, optimizer: Any, number: int) -> Iterator[Callable[[Batch], Tensor]]:
        """Inside this context, a function takes up to `number` steps (see CompiledSteps)."""
        c, weights = self.config, [one.weight for one in self.tables]
        adam: TableSteps = WholeAdam(weights, optimizer, self.layers)
        if are_large(weights, rows_read(c.batch_size, c.negatives, len(weights))):
            adam = LateAdam(weights, optimizer, number, self.layers)
        step = _Step(self, adam, pair_loss(c, self.classes))

        def take(batch: Batch) -> Tensor:
            adam.begin_step()
            return torch.tensor(step(batch), dtype=torch.float32)

        try:
            yield take
        finally:
            adam.finish()


class _Step:
    """A step: the loss of a batch and its gradients, by which `adam` moves the parameters."""

    def __init__(self, model: PerceptronSteps, adam: TableSteps, loss: PairLoss) -> None:
        from kgrec.nn import perceptron_kernels, touched_rows, vector_kernels

        self.model, self.adam, self.loss, self.mlp = model, adam, loss, model.mlp
        self.kernels, self.vectors, self.rows = perceptron_kernels, vector_kernels, touched_rows
        self.numbers = [np.empty(len(table), np.int64) for table in adam.tables]
        self.values, self.second = adam.values, len(model.users)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> float:
        assert batch.negative is not None
        model, kernels = self.model, self.kernels
        user = model.users[0].row(batch.head).numpy()
        item = model.items[0].row(torch.cat([batch.tail.unsqueeze(1), batch.negative], 1)).numpy()
        users = self._look_up(user, model.users, 0, item.shape[1])
        items = self._look_up(item, model.items, self.second, 1)
        scores, kept = self._perceptron(users, items)
        f, slope, found = model.factors, np.empty(item.shape, np.float32), np.zeros(kernels.PARTS)
        if f is not None:
            ends = self.values[1], user, self.values[self.second + 1], item, f.weight.detach().numpy()
            kernels.add_weighed_products(*ends, scores)
        kernels.slopes_of_pairs(scores, item, log_counts(batch, self.loss), self.loss, slope, found)
        of_tables, of_layers = self._perceptron_back(slope, users, items, kept)
        if f is not None:
            more, of_weight = self._factors_back(slope.reshape(-1), user, item, users, items)
            of_tables, of_layers = [*of_tables, *more], [*of_layers, of_weight]
        total, decay = float(found.sum()), self._decay(users, items)
        for at, gradient in enumerate(of_tables):  # by turns of a table of users and one of items
            end = at % 2
            index, looked = at // 2 + end * self.second, (users, items)[end]
            if self.loss.l2:
                total += self.rows.sum_of_squares(self.values[index], looked.rows, decay[end]) / 2
            self.adam.move(index, looked.rows, gradient, decay[end])
        self.adam.move_layers([one.numpy() for one in of_layers])
        return total

    def _look_up(self, row: np.ndarray, tables: Sequence[NodeEmbedding], first: int, times: int) -> Looked:
        """Bring rows of some tables up to date. times: the scores that each of `row` has."""
        from kgrec.graph import edge_kernels

        place, rows, number = np.empty(row.shape, np.int64), self.numbers[first], 0
        for index in range(first, first + len(tables)):
            number = self.adam.touch_more(index, row.reshape(-1), place.reshape(-1), rows, 0)
        place[place < 0] = number
        ptr, order = edge_kernels.group(place.reshape(-1) if times == 1 else np.repeat(place, times), number + 1)
        return Looked(rows[:number], place, ptr, order)

    def _gathered(self, index: int, rows: np.ndarray) -> Tensor:
        """The vectors of rows of a table, [m, D], with zeros up to a number of rows that products are made for,
        at least one: it is that of padding."""
        found = torch.empty((len(rows) // ROWS + 1) * ROWS, self.values[index].shape[1])
        torch.index_select(self.adam.tables[index].detach(), 0, torch.from_numpy(rows), out=found[: len(rows)])
        found[len(rows) :] = 0
        return found

    def _perceptron(self, user: Looked, item: Looked) -> tuple[np.ndarray, tuple[Tensor, Tensor, list[Tensor]]]:
        """The perceptron's scores, [B, C]; and what its gradients read."""
        by_user, bias, by_item, *rest = self.mlp.layers()
        mine, other = self._gathered(0, user.rows), self._gathered(self.second, item.rows)
        of_user, of_item = layer(mine, by_user, bias), layer(other, by_item)
        mine, other = (kept_for_gradients(one, of_user.shape[1]) for one in (mine, other))
        places = torch.from_numpy(user.place), torch.from_numpy(item.place)
        outputs = outputs_of_layers((of_user, places[0]), (of_item, places[1]), rest, self.mlp.dropout.levels_dropped())
        scores = functional.linear(outputs[-1], rest[-2], rest[-1]).view(item.place.shape)
        return scores.numpy(), (mine, other, outputs)

    def _perceptron_back(
        self, slope: np.ndarray, user: Looked, item: Looked, kept: tuple[Tensor, Tensor, list[Tensor]]
    ) -> tuple[list[np.ndarray], list[Tensor]]:
        """The gradients of the rows of both tables, [m, D], and those of the layers."""
        (mine, other, outputs), (by_user, _, by_item, *rest) = kept, self.mlp.layers()
        scale = scale_of(self.mlp.dropout.levels_dropped())
        last, weight, column = outputs[-1], rest[-2].detach(), torch.from_numpy(slope).view(-1, 1)
        of_layers = [column.sum(0)]  # the last one first
        if len(outputs) > 1:
            given, sums = torch.empty(last.shape), torch.zeros(2, self.kernels.PARTS, last.shape[1])
            by = slope.reshape(-1), weight[0].numpy()
            self.kernels.output_back(last.numpy(), scale, *by, given.numpy(), *sums.numpy())
            of_layers += sums.sum(1)
        else:
            given = column * weight
            of_layers.append(column.T @ last)
        for at in range(len(outputs) - 1, 0, -1):
            made = outputs[at - 1]
            given, of_weight = _both(layer_gradients(given, made, rest[2 * at - 2]))
            of_layers.append(of_weight)
            if at > 1:
                flat = given.view(-1).numpy()
                self.vectors.relu_dropout_back(made.view(-1).numpy(), scale, flat, flat)
                of_layers.append(given.sum(0))
        of_tables = []
        for weight, rows, looked in ((by_item, other, item), (by_user, mine, user)):
            into = torch.empty(len(rows), len(weight))
            ends = outputs[0].numpy(), scale, given.numpy()
            self.kernels.sum_relu_dropout_of(*ends, looked.ptr, looked.order, into.numpy())
            if looked is user:
                of_layers.append(into.sum(0))
            of_rows, of_weight = _both(layer_gradients(into, rows, weight))
            of_layers.append(of_weight)
            of_tables.append(of_rows[: len(looked.rows)].numpy())
        return of_tables[::-1], of_layers[::-1]

    def _factors_back(
        self, slope: np.ndarray, user: np.ndarray, item: np.ndarray, users: Looked, items: Looked
    ) -> tuple[list[np.ndarray], Tensor]:
        """The same of the factorization, which has one layer. slope: float32 [B C]; user: int64 [B]; item: int64
        [B, C]."""
        assert self.model.factors is not None
        weight, u, v = self.model.factors.weight.detach().numpy(), self.values[1], self.values[self.second + 1]
        sums, none = (np.zeros((self.kernels.PARTS, width), np.float32) for width in (len(weight), 0))
        pairs = (u, users, v, item.reshape(-1), sums), (v, items, u, np.repeat(user, item.shape[1]), none)
        found = []
        for own, looked, other, row, into in pairs:
            found.append(np.empty((len(looked.rows), len(weight)), np.float32))
            ends = looked.ptr, looked.order, own, looked.rows, found[-1], into
            self.kernels.weighed_gradients(slope, other, row, weight, *ends)
        return found, torch.from_numpy(sums.sum(0))

    def _decay(self, user: Looked, item: Looked) -> tuple[np.ndarray, np.ndarray]:
        """What `update` is to take as the decay of the rows of both ends for the l2 term: float32 [m] each."""
        if not self.loss.l2:
            of_user, of_item = (np.zeros(len(one.rows), np.float32) for one in (user, item))
            return of_user, of_item
        each, (number, width) = 2 * self.loss.l2, item.place.shape
        share = np.full((number, width), each / number / max(1, width - 1))
        share[:, 0] = each / number
        share_of_user = np.full(number, each / number)
        of_user, of_item = (
            np.bincount(one.place.reshape(-1), of.reshape(-1), len(one.rows) + 1)[:-1].astype(np.float32)
            for one, of in ((user, share_of_user), (item, share))
        )
        return of_user, of_item


def _both(gradients: tuple[Tensor | None, Tensor | None]) -> tuple[Tensor, Tensor]:
    of_rows, of_weight = gradients
    assert of_rows is not None and of_weight is not None
    return of_rows, of_weight

"""Training steps by autograd in which tables of vectors are only looked up: Adam moves the rows of a batch alone."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from torch import Tensor, nn

from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.late_rows import LateRows
from kgrec.nn.row_steps import LateAdam, is_plain_adam

MANY = 3  #: rows of tables for each look-up of a step from which it is quicker to move the rows of a batch alone


def are_large(tables: Sequence[nn.Parameter], reads: int) -> bool:
    """Whether it is quicker to move the rows of a batch alone. reads: about how many rows of the tables a step looks
    up, in all."""
    return sum(map(len, tables)) >= MANY * reads


def rows_read(batch_size: int, negatives: int, tables: int) -> int:
    """About how many rows a step looks up in so many tables, half of them users' and half of them items'."""
    return batch_size * (2 + negatives) * tables // 2


class LookUpSteps:
    """Steps of a loss that reads tables by look-ups alone: by vectors of nodes, their products with others, or the sum
    of their squares. The rows of a batch are moved, and others catch up when they are looked up again (see LateAdam);
    all other parameters are moved by the optimizer itself. So a step does not take longer in a larger graph. In a small
    one Adam goes over all rows in less time than it takes to find those of the batch, so these steps do not serve."""

    def __init__(self, loss: Callable[[Any], Tensor], tables: Sequence[NodeEmbedding], reads: int) -> None:
        """reads: about how many rows of the tables a step looks up, in all."""
        self.loss, self.tables, self.reads = loss, tables, reads

    @staticmethod
    def fit(*tables: NodeEmbedding) -> bool:
        """Whether there are such steps for these tables."""
        return all(one.has_ids and one.features is None and one.rows is None and not one.sparse for one in tables)

    def serve(self, optimizer: Any) -> bool:
        """Whether these steps do what the loss and this optimizer would do, and sooner."""
        weights = [one.weight for one in self.tables]
        return are_large(weights, self.reads) and is_plain_adam(optimizer, weights)

    @contextmanager
    def running(self, optimizer: Any, number: int) -> Iterator[Callable[[Any], Tensor]]:
        """Inside this context, a function takes up to `number` steps (see CompiledSteps)."""
        adam = LateAdam([one.weight for one in self.tables], optimizer, number)
        late = [LateRows(adam, index) for index in range(len(self.tables))]

        def step(batch: Any) -> Tensor:
            adam.begin_step()
            optimizer.zero_grad(set_to_none=True)
            loss = self.loss(batch).float()
            loss.backward()
            for rows in late:
                rows.step()
            optimizer.step()
            return loss.detach()

        try:
            for table, rows in zip(self.tables, late):
                table.late = rows
            yield step
        finally:
            for table in self.tables:
                table.late = None
            adam.finish()

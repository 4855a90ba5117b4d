"""Tables of vectors whose rows are kept by several ranks: row n by rank n mod W, with its optimizer's state.

A look-up asks the ranks that keep the rows. Ranks need not look up equally often: each exchange is a round of all
ranks, in which each asks for rows of any table or for nothing, and before ranks exchange anything else, they take part
in rounds until nobody asks any more. Gradients go to the ranks that keep the rows, once for each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kgrec import ranks
from kgrec.errors import KgrecError

BLOCK = 65_536  #: about how many rows are made, written or read at once
SHARD = "shard"  #: name of the parameter that holds a rank's rows


class Rounds:
    """The sharded tables of one model, and the exchange of their rows."""

    def __init__(self) -> None:
        self.tables: list[RowShard] = []  #: by number
        self.unused: list[int] = []  #: numbers of tables that are no longer read

    def add(self, table: RowShard) -> int:
        """Take a table in. Returns its number. All ranks add and remove the same tables in the same order, and look
        rows of a new one up when all have added it."""
        if self.unused:
            number = self.unused.pop()
            self.tables[number] = table
        else:
            number = len(self.tables)
            self.tables.append(table)
        return number

    def remove(self, table: RowShard) -> None:
        """Leave a table out from now on. No rank may look its rows up any more."""
        self.tables[table.number] = self.tables[0]
        self.unused.append(table.number)

    def settle(self) -> None:
        """Take part in rounds until no rank asks for rows."""
        while self._round(0, None, []) is not None:
            pass

    def ask(self, table: RowShard, row: Tensor) -> Tensor:
        """The values of rows [n] of a table, as their ranks have them: [n, D]."""
        owner = row % ranks.world()
        order = owner.argsort(stable=True)
        counts = torch.bincount(owner, minlength=ranks.world()).tolist()
        found = self._round(table.number + 1, row[order], counts)
        assert found is not None
        return torch.empty_like(found).index_copy_(0, order, found)

    def _round(self, number: int, row: Tensor | None, counts: list[int]) -> Tensor | None:
        """One exchange: rows [n] of a table, ordered by their ranks, with the counts for each, for their values
        [n, D]. number: that of the table, from 1; 0: this rank asks for nothing. None if nobody asks."""
        world, mine = ranks.world(), ranks.rank()
        with ranks.direct(), torch.no_grad():
            asked = ranks.every(torch.tensor([number, *(counts or [0] * world)]))
            if not bool(asked[:, 0].any()):
                return None
            coming = asked[:, 1 + mine].tolist()
            row = torch.empty(0, dtype=torch.long, device=self.tables[0].shard.device) if row is None else row
            wanted = ranks.swapped(row, counts or [0] * world, coming).split(coming)
            sent, sizes = [], []
            for of_rank, one in zip(asked[:, 0].tolist(), wanted):
                kept = self.tables[max(of_rank - 1, 0)].shard
                sent.append(kept[one // world].reshape(-1))
                sizes.append(len(sent[-1]))
            width = self.tables[max(number - 1, 0)].shard.shape[1]
            found = ranks.swapped(torch.cat(sent), sizes, [count * width for count in counts or [0] * world])
            return found.view(-1, width)


_sharding: ContextVar[Rounds | None] = ContextVar("sharding", default=None)


@contextmanager
def sharded_rows() -> Iterator[Rounds]:
    """Inside this context, tables that are made keep only the rows of this rank, and belong to these rounds."""
    rounds = Rounds()
    token = _sharding.set(rounds)
    try:
        yield rounds
    finally:
        _sharding.reset(token)


def is_sharding() -> bool:
    """Whether tables that are made now keep only the rows of this rank."""
    return _sharding.get() is not None


@dataclass(frozen=True, eq=False)
class _Fetched:
    """Rows that were looked up."""

    row: Tensor  #: LongTensor [n], distinct, ascending; the number of all rows stands for padding
    vector: Tensor  #: [n, D], zeros for padding; in training a leaf that gathers the gradient
    version: int  #: that of the shard when they were looked up; it changes with the values


class RowShard:
    """The rows of a table [N, D] that this rank keeps, and look-ups of all."""

    def __init__(self, count: int, shard: Tensor, whole: str = "weight", rounds: Rounds | None = None) -> None:
        """count: N; shard: the rows of this rank, [`num_own(count)`, D], a parameter if they are trained; whole: the
        name that the table with all rows has in place of the module with `shard`, below that module's own name; "":
        just that name; rounds: those that the table belongs to; None: those of `sharded_rows`."""
        found = rounds or _sharding.get()
        assert found is not None
        self.rounds, self.count, self.shard, self.whole = found, count, shard, whole
        self.number = found.add(self)
        self.step: list[_Fetched] = []  #: what was looked up since the last gradients
        self.kept: _Fetched | None = None  #: what was looked up last without a gradient

    @property
    def own(self) -> Tensor:
        """The rows that this rank keeps, in order: LongTensor [n]."""
        return torch.arange(ranks.rank(), self.count, ranks.world(), device=self.shard.device)

    def whole_name(self, name: str) -> str:
        """The name of the table with all rows, in a model's state. name: that of the shard."""
        module = name.removesuffix(SHARD)
        return module + self.whole if self.whole else module.removesuffix(".")

    def vectors(self, row: Tensor) -> Tensor:
        """The vectors of distinct rows [n], ascending: [n, D]; zeros for the row N. With gradients, they are gathered
        until `gradients` fetches them."""
        learns = torch.is_grad_enabled()
        for one in self.step:
            if torch.equal(one.row, row):
                return one.vector if learns else one.vector.detach()
            place = torch.searchsorted(one.row, row).clamp(max=len(one.row) - 1)
            if len(one.row) and torch.equal(one.row[place], row):
                found = one.vector[place]
                return found if learns else found.detach()
        version, kept = self.shard._version, self.kept
        if not learns and kept is not None and kept.version == version and torch.equal(kept.row, row):
            return kept.vector
        vector = self._asked(row)
        if learns and self.shard.requires_grad:
            self.step.append(_Fetched(row, vector.requires_grad_(), version))
        else:
            self.kept = _Fetched(row, vector, version)
        return vector

    def _asked(self, row: Tensor) -> Tensor:
        known = row[row < self.count]
        found = self.shard.detach()[known] if ranks.world() == 1 else self.rounds.ask(self, known)
        if len(known) == len(row):
            return found.clone()
        return torch.cat([found, found.new_zeros(len(row) - len(known), found.shape[1])])

    def forget(self) -> None:
        """Forget what was looked up, as values have changed."""
        self.step, self.kept = [], None

    def gathered(self) -> tuple[Tensor, Tensor]:
        """The gradient of all look-ups since the last one: distinct rows, LongTensor [n], and values [n, D]."""
        row, value = [], []
        for one in self.step:
            if one.vector.grad is not None:
                known = one.row < self.count
                row.append(one.row[known])
                value.append(one.vector.grad[known])
        self.forget()
        if not row:
            return torch.empty(0, dtype=torch.long, device=self.shard.device), self.shard.detach()[:0]
        shape = (self.count, self.shard.shape[1])
        whole = torch.sparse_coo_tensor(
            torch.cat(row).unsqueeze(0), torch.cat(value), shape, check_invariants=False
        ).coalesce()
        return whole.indices()[0], whole.values()

    def blocks(self, tensor: Tensor) -> Iterator[Tensor]:
        """A tensor of which each rank has its rows, in the order of all rows, some at a time: on rank 0; on the others
        empty ones, as all ranks take part."""
        world = ranks.world()
        for start in range(0, -(-self.count // world), max(1, BLOCK // world)):
            part = tensor.detach()[start : start + max(1, BLOCK // world)]
            number = min(self.count - start * world, max(1, BLOCK // world) * world)
            longest = torch.cat([part, part.new_zeros(-(-number // world) - len(part), *part.shape[1:])])
            every = ranks.to_first(longest)
            yield part[:0] if every is None else every.transpose(0, 1).flatten(0, 1)[:number]

    def fill(self, tensor: Tensor, whole: Tensor | None) -> None:
        """Set the rows of this rank from all rows, which rank 0 has. whole: None on the others."""
        world = ranks.world()
        with torch.no_grad():
            for start in range(0, self.count, BLOCK):
                rows = range(start, min(start + BLOCK, self.count))
                block = tensor.new_empty(len(rows), *tensor.shape[1:]) if whole is None else whole[start : rows.stop]
                block = ranks.of_first_tensor(block.to(tensor))
                first = (ranks.rank() - start) % world
                own = block[first::world]
                begin = (start + first) // world
                tensor[begin : begin + len(own)] = own
        self.forget()


def num_own(count: int) -> int:
    """How many of so many rows this rank keeps."""
    return len(range(ranks.rank(), count, ranks.world()))


def drawn_rows(count: int, dim: int, draw: Callable[[Tensor], object]) -> Tensor:
    """The first values of the rows that this rank keeps, of a table [count + 1, dim] whose last row stands for padding.
    All ranks draw all rows, block by block, so that they are those of one table, and what is drawn next is too. draw:
    fills a tensor with random numbers."""
    found, start = [], 0
    while start < count + 1:
        stop = count + 1 if count + 1 - start < 2 * BLOCK else start + BLOCK
        block = torch.empty(stop - start, dim)
        draw(block)
        block = block[: count - start]
        found.append(block[(ranks.rank() - start) % ranks.world() :: ranks.world()].clone())
        start = stop
    return torch.cat(found)


# ---------------------------------------------------------------------- gradients


def shards_of(model: nn.Module) -> dict[str, RowShard]:
    """The sharded tables of a model, by the names of their parameters."""
    return {
        f"{name}.{SHARD}" if name else SHARD: module.rows
        for name, module in model.named_modules()
        if isinstance(getattr(module, "rows", None), RowShard)
    }


def gradients_to_owners(tables: Sequence[RowShard]) -> None:
    """Send the gradients of what this rank has looked up to the ranks that keep the rows. There the gradient of a shard
    becomes the mean over ranks, as a sparse one. All ranks call this after each step, with the same tables."""
    world, found = ranks.world(), [one.gathered() for one in tables]
    if world == 1:
        for one, (row, value) in zip(tables, found):
            one.shard.grad = torch.sparse_coo_tensor(
                row.unsqueeze(0), value, one.shard.shape, check_invariants=False
            ).coalesce()
        return
    kind = torch.float64 if any(one.shard.dtype == torch.float64 for one in tables) else torch.float32
    counts, parts = list[list[int]](), [list[Tensor]() for _ in range(world)]
    for row, value in found:
        owner = row % world
        counts.append(torch.bincount(owner, minlength=world).tolist())
        for to in range(world):
            chosen = owner == to
            parts[to] += [bits_of(row[chosen] // world, kind), value[chosen].to(kind).flatten()]
    messages = [torch.cat(part) for part in parts]
    coming = ranks.every(torch.tensor(counts))[:, :, ranks.rank()]  # [W, tables]
    width = torch.tensor([one.shard.shape[1] + 1 for one in tables])
    sizes = (coming * width).sum(1).tolist()
    received = ranks.swapped(torch.cat(messages), [len(one) for one in messages], sizes).split(sizes)
    at = [_cut(message, one, tables) for message, one in zip(received, coming.tolist())]
    for place, table in enumerate(tables):
        row = torch.cat([one[place][0] for one in at])
        value = torch.cat([one[place][1] for one in at]).to(table.shard.dtype) / world
        table.shard.grad = torch.sparse_coo_tensor(
            row.unsqueeze(0), value, table.shard.shape, check_invariants=False
        ).coalesce()


def sparse_rows(row: Tensor, value: Tensor, shape: Sequence[int]) -> Tensor:
    """Rows of a matrix, [n] and [n, D], as a sparse tensor; those of one number are added up."""
    return torch.sparse_coo_tensor(row.unsqueeze(0), value, tuple(shape), check_invariants=False).coalesce()


def bits_of(row: Tensor, kind: torch.dtype) -> Tensor:
    """Row numbers as whole numbers, in the bits of a tensor of another kind of the same size."""
    return row.to(torch.int64 if kind == torch.float64 else torch.int32).view(kind)


def rows_of_bits(numbers: Tensor) -> Tensor:
    """The row numbers that `bits_of` has put into a tensor: LongTensor."""
    return numbers.view(torch.int64 if numbers.dtype == torch.float64 else torch.int32).long()


def _cut(message: Tensor, counts: Sequence[int], tables: Sequence[RowShard]) -> list[tuple[Tensor, Tensor]]:
    """The rows and values of each table in a rank's message."""
    found, start = [], 0
    for table, count in zip(tables, counts):
        width = table.shard.shape[1]
        row = rows_of_bits(message[start : start + count].contiguous())
        value = message[start + count : start + count * (width + 1)].view(count, width)
        start += count * (width + 1)
        found.append((row, value))
    return found


LOOK_UPS = (
    "use a model and a loss that look vectors up (such as mf, transe, kgat with fanouts, or sasrec with loss=bce or "
    "sampled_softmax)"
)


def refused(what: str, instead: str = LOOK_UPS) -> KgrecError:
    """The error for what needs the whole table of vectors. what: such as "the vectors of all nodes at once"; instead:
    what to do."""
    return KgrecError(
        f"this model needs {what}, and with sharded vectors no process has these; {instead}, or train without "
        "--shard-vectors"
    )


def whole_shapes(model: nn.Module) -> Mapping[str, torch.Size]:
    """The shapes of the tensors of a model's state by name, of sharded ones with the rows of all ranks and of
    padding, as in a run folder."""
    shards = shards_of(model)
    return {
        name: torch.Size((shards[name].count + 1, *own.shape[1:])) if name in shards else own.shape
        for name, own in model.state_dict().items()
    }

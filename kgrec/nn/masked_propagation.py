"""Propagation over a graph, redone where a few edges are masked: only what the masked edges reach is computed anew."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from kgrec.nn.propagation import csr_matrix, product

AT_ONCE = 1 << 18  #: vectors that are added at once
DEARER = 4  #: how many times what it costs to sum along an edge it costs to find that what comes along it differs
FEW_NODES = 16  #: wanted nodes whose readers are kept
FEW = 1 << 16  #: edges that are never summed along mask by mask, as that takes some time for each mask
LEAST_KEPT = 0.5  #: where a node keeps less than this share of its sum, what it keeps is summed anew


@dataclass(frozen=True, eq=False)
class Entries:
    """The edges of a propagation: the entries of a matrix in CSR, row by row. Row n sums what comes to node n."""

    ptr: Tensor  #: LongTensor [N + 1]
    column: Tensor  #: LongTensor [E], the node that an entry comes from
    value: Tensor  #: FloatTensor [E], before the sum of a row is normalised

    @property
    def num_nodes(self) -> int:
        """N."""
        return len(self.ptr) - 1

    def row(self, entry: Tensor) -> Tensor:
        """The node that each entry leads to: LongTensor like `entry`."""
        return torch.searchsorted(self.ptr, entry, right=True) - 1

    def of_rows(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """All entries of some rows [n]: the position in `row` of each, and the entry; LongTensors [m]."""
        return expanded(self.ptr, row)


def expanded(ptr: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
    """All places of some rows [n] of a CSR: the position in `row` of each, and the place; LongTensors [m].

    >>> expanded(torch.tensor([0, 2, 2, 5]), torch.tensor([2, 0]))
    (tensor([0, 0, 0, 1, 1]), tensor([2, 3, 4, 0, 1]))
    """
    size = ptr[row + 1] - ptr[row]
    which = torch.arange(len(row), device=row.device).repeat_interleave(size)
    first = (ptr[row] - (size.cumsum(0) - size)).repeat_interleave(size)
    return which, first + torch.arange(len(which), device=row.device)


def grouped(node: Tensor, num_nodes: int) -> tuple[Tensor, Tensor]:
    """Places by node, in their order: ptr, LongTensor [N + 1], and the places, LongTensor [E]. node: LongTensor [E]."""
    if node.device.type == "cpu":
        from kgrec.graph import edge_kernels  # numba takes its time to come

        ptr, order = edge_kernels.group(node.numpy(), num_nodes)
        return torch.from_numpy(ptr), torch.from_numpy(order)
    ptr = functional.pad(torch.bincount(node, minlength=num_nodes).cumsum(0), (1, 0))
    return ptr, node.argsort(stable=True)


@dataclass(frozen=True, eq=False)
class Changed:
    """The nodes whose vectors differ under a mask. n pairs of a mask and a node, in their order."""

    mask: Tensor  #: LongTensor [n]
    node: Tensor  #: LongTensor [n]
    vector: Tensor  #: FloatTensor [n, D], the final vector of the node under the mask

    def row(self, mask: Tensor, node: Tensor, num_nodes: int) -> Tensor:
        """The row of each pair, LongTensor like `node`; -1: its vector is as it was."""
        return _found(self.mask * num_nodes + self.node, mask * num_nodes + node)


class MaskedPropagation:
    """Layers of sums along edges, and what becomes of them where edges are masked, with all weights as they are.

    A layer's sum at node n is kept(n)^-a * sum of value * kept(k)^-b x(k) over the entries of row n, where kept is the
    sum of the values of a row that are not masked. `rows` (a = 1, b = 0) is attention: a softmax over the edges that
    are there. `both` (a = b = 1/2, values 1) is D^-1/2 A D^-1/2. So masked edges are as edges that never were.

    What each layer reads and sums without masks is kept. Under a mask only the nodes that it reaches are computed, and
    of these only the ones that the wanted nodes read.
    """

    def __init__(
        self,
        entries: Entries,
        own: Tensor,
        layers: Sequence[Callable[[Tensor, Tensor], Tensor]],
        join: Callable[[Sequence[Tensor]], Tensor],
        normalise: Literal["rows", "both"] = "rows",
    ) -> None:
        """own: FloatTensor [N, D], what the first layer reads. layers: from a node's own vectors [n, D] and the sums of
        its neighbors [n, D] to what the next layer reads. join: from what each layer reads, and the last one's output,
        [n, *] each, to final vectors."""
        self.entries, self.layers, self.join = entries, list(layers), join
        self.after, self.before = (1.0, 0.0) if normalise == "rows" else (0.5, 0.5)
        ptr, column, value = entries.ptr, entries.column, entries.value
        #: FloatTensor [N], float64: the sum of each row's values
        self.total = torch.segment_reduce(value.double(), "sum", offsets=ptr, initial=0.0)
        row = torch.arange(entries.num_nodes, device=ptr.device).repeat_interleave(ptr.diff())
        #: LongTensors [N + 1] and [E], entries by the node that they come from
        self.back_ptr, self.back_entry = grouped(column, entries.num_nodes)
        self.back_row = row[self.back_entry]
        self._last_needs: tuple[tuple[int, ...] | None, list[Tensor]] = None, []  #: those of one pair, asked for again
        shape = entries.num_nodes, entries.num_nodes
        matrix = csr_matrix(ptr.int(), column.int(), value.float(), shape)
        back = csr_matrix(self.back_ptr.int(), self.back_row.int(), value[self.back_entry].float(), shape)
        self.matrix, self.transpose = matrix, back
        self.read, self.summed = [own.float()], list[Tensor]()  #: [N, *] each, of each layer
        for layer in self.layers:
            vector = self.read[-1]
            self.summed.append(matrix @ (vector * _power(self.total, self.before)))
            self.read.append(layer(vector, self.summed[-1] * _power(self.total, self.after)))

    @property
    def num_nodes(self) -> int:
        """N."""
        return self.entries.num_nodes

    def vectors(self, node: Tensor) -> Tensor:
        """The final vectors of nodes [n] without masks: [n, D]."""
        return self.join([read[node] for read in self.read])

    def shares(self, entry: Tensor) -> Tensor:
        """The weight of each entry in its row's sum: FloatTensor like `entry`."""
        kept = _power(self.total, self.after)[self.entries.row(entry), 0]
        return self.entries.value[entry] * kept * _power(self.total, self.before)[self.entries.column[entry], 0]

    def slopes(self, node: Tensor, score: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        """By how much a score falls without each entry, to first order: attention times gradient.

        node: LongTensor [n]; score: from their final vectors [n, D] to a number. Returned is a function from entries to
        FloatTensors like them. Where rows are normalised, what an entry takes goes to the others of its row."""
        with torch.enable_grad():
            vector, sums = self.read[0].detach(), list[Tensor]()
            read = [vector]
            for layer in self.layers:
                scaled = vector * _power(self.total, self.before)
                summed = product(self.matrix, self.transpose, scaled) if sums else self.summed[0].detach()
                sums.append(summed.requires_grad_() if not sums else summed)
                vector = layer(vector, summed * _power(self.total, self.after))
                read.append(vector)
            found = score(self.join([one[node] for one in read]))
            slope = torch.autograd.grad(found, sums)

        def falls(entry: Tensor) -> Tensor:
            row, column, total = self.entries.row(entry), self.entries.column[entry], torch.zeros(len(entry))
            total = total.to(entry.device)
            for number, of_sums in enumerate(slope):
                moved = (self.read[number] * _power(self.total, self.before))[column]
                if not self.before:
                    moved = moved - self.summed[number][row] * _power(self.total, 1.0)[row]
                total = total + (of_sums[row] * moved).sum(1)
            return (self.entries.value[entry] * total).detach()

        return falls

    def masked(self, mask: Tensor, entry: Tensor, wanted: Tensor) -> Changed:
        """The final vectors of those wanted nodes that masks change. mask: LongTensor [m], the number of a mask, from
        0, and entry: LongTensor [m], an entry that it masks; wanted: LongTensor, nodes."""
        pairs = torch.unique(torch.stack([mask, entry]), dim=1) if len(mask) else torch.stack([mask, entry])
        work = _Masked(self, *pairs.contiguous().unbind())
        needs, found = self._needs(wanted), list[tuple[Tensor, Tensor]]()
        key, vector = work.rows, self.read[0][work.rows % self.num_nodes]
        if not self.before:
            key, vector = key[:0], vector[:0]
        for number, layer in enumerate(self.layers):
            key, vector = work.step(number, layer, key, vector, needs[number + 1])
            found.append((key, vector))
        node, parts = key % self.num_nodes, [self.read[0][key % self.num_nodes]]
        for read, (changed, rows) in zip(self.read[1:], found):
            parts.append(_over(read[node], _found(changed, key), rows))
        return Changed(key // self.num_nodes, node, self.join(parts))

    def _needs(self, wanted: Tensor) -> list[Tensor]:
        """The nodes whose vectors each layer's readers read: BoolTensor [N] each, from the first layer's input on."""
        key = tuple(wanted.tolist()) if len(wanted) < FEW_NODES else None
        kept = self._last_needs  # another thread may replace it
        if key is not None and kept[0] == key:
            return kept[1]
        last = torch.zeros(self.num_nodes, dtype=torch.bool, device=wanted.device)
        last[wanted] = True
        needs = [last]
        for _ in self.layers:
            rows = needs[0].nonzero().squeeze(1)
            if len(rows) > self.num_nodes // 4:
                needs.insert(0, torch.ones_like(last))
                continue
            before = needs[0].clone()
            before[self.entries.column[self.entries.of_rows(rows)[1]]] = True
            needs.insert(0, before)
        if key is not None:
            self._last_needs = key, needs
        return needs


class _Masked:
    """Some masks, layer by layer. A key is a mask times the number of nodes, plus a node; keys ascend."""

    def __init__(self, whole: MaskedPropagation, mask: Tensor, entry: Tensor) -> None:
        self.whole, self.mask, self.entry = whole, mask, entry
        entries, size = whole.entries, whole.num_nodes
        self.masked = (mask * len(entries.value) + entry).sort().values  #: what is masked where
        self.rows, self.of = torch.unique(mask * size + entries.row(entry), return_inverse=True)  #: rows that lose some
        taken = entries.value.new_zeros(len(self.rows), dtype=torch.float64)
        taken.index_add_(0, self.of, entries.value[entry].double())
        node = self.rows % size
        self.kept = whole.total[node] - taken  #: float64, what each row keeps
        self.is_few = self.kept < LEAST_KEPT * whole.total[node]  #: rows that are summed anew
        few = self.is_few.nonzero().squeeze(1)
        which, rest = entries.of_rows(node[few])
        there = _found(self.masked, self.rows[few][which] // size * len(entries.value) + rest) < 0
        self.rest_of, self.rest = few[which[there]], rest[there]
        exact = torch.zeros_like(self.kept).index_add_(0, self.rest_of, entries.value[self.rest].double())
        self.kept = torch.where(self.is_few, exact, self.kept)

    def kept_of(self, key: Tensor) -> Tensor:
        """What the row of each key keeps: float64 [n]."""
        return _over(self.whole.total[key % self.whole.num_nodes], _found(self.rows, key), self.kept)

    def step(
        self, number: int, layer: Callable[[Tensor, Tensor], Tensor], key: Tensor, vector: Tensor, need: Tensor
    ) -> tuple[Tensor, Tensor]:
        """What a layer makes of the nodes that differ: from keys and what the layer reads of them to keys and what the
        next layer reads. need: BoolTensor [N], nodes that are read at all."""
        whole, size = self.whole, self.whole.num_nodes
        read, entries = whole.read[number], whole.entries
        moved = vector * _power(self.kept_of(key), whole.before)
        moved = moved - (read * _power(whole.total, whole.before))[key % size]
        if number and self._is_dense(key, need):
            return self._step_everywhere(number, layer, key, vector, moved, need)
        source, entry, to = self._reached(key, need)
        after = torch.cat([to, self.rows[need[self.rows % size]], key[need[key % size]]]).unique()
        node, row = after % size, _found(self.rows, after)
        summed = whole.summed[number][node]
        in_rows = (row >= 0).nonzero().squeeze(1)
        summed[in_rows] = self._sums(number)[row[in_rows]]
        place = torch.searchsorted(after, to)
        for part in torch.arange(len(to), device=to.device).split(AT_ONCE):
            summed.index_add_(0, place[part], moved[source[part]] * entries.value[entry[part]].unsqueeze(1))
        own = _over(read[node], _found(key, after), vector)
        return after, layer(own, summed * _power(self.kept_of(after), whole.after))

    def _is_dense(self, key: Tensor, need: Tensor) -> bool:
        """Whether a sum over all edges of the nodes that are read is less work than to find which of them differ."""
        whole, node, rows = self.whole, key % self.whole.num_nodes, need.nonzero().squeeze(1)
        away = int((whole.back_ptr[node + 1] - whole.back_ptr[node]).sum())
        masks = len(key.div(whole.num_nodes, rounding_mode="floor").unique())
        along = int((whole.entries.ptr[rows + 1] - whole.entries.ptr[rows]).sum())
        return along > FEW and away * DEARER > along * masks

    def _step_everywhere(
        self,
        number: int,
        layer: Callable[[Tensor, Tensor], Tensor],
        key: Tensor,
        vector: Tensor,
        moved: Tensor,
        need: Tensor,
    ) -> tuple[Tensor, Tensor]:
        """The same for all nodes that are read, one mask after the other. moved: [n, D], by how much what is summed of
        each key differs."""
        whole, size, entries = self.whole, self.whole.num_nodes, self.whole.entries
        node = need.nonzero().squeeze(1)
        _, entry = entries.of_rows(node)
        ptr = functional.pad((entries.ptr[node + 1] - entries.ptr[node]).cumsum(0), (1, 0))
        matrix = csr_matrix(ptr.int(), entries.column[entry].int(), entries.value[entry].float(), (len(node), size))
        found, sums = [], self._sums(number)
        for mask in key.div(size, rounding_mode="floor").unique().tolist():
            own = (key // size == mask).nonzero().squeeze(1)
            differs = moved.new_zeros(size, moved.shape[1])
            differs[key[own] % size] = moved[own]
            summed = whole.summed[number][node] + matrix @ differs
            after = mask * size + node
            row = _found(self.rows, after)
            for at in (row >= 0).nonzero().squeeze(1).tolist():
                lost = self.entry[self.of == row[at]]
                less = (entries.value[lost].unsqueeze(1) * differs[entries.column[lost]]).sum(0)
                summed[at] += sums[row[at]] - whole.summed[number][node[at]] - less
            before = _over(whole.read[number][node], _found(key, after), vector)
            found.append((after, layer(before, summed * _power(self.kept_of(after), whole.after))))
        return torch.cat([after for after, _ in found]), torch.cat([vector for _, vector in found])

    def _sums(self, number: int) -> Tensor:
        """The sums of `rows` without what is masked, of what a layer reads without masks: [R, D]."""
        whole, entries = self.whole, self.whole.entries
        read = whole.read[number] * _power(whole.total, whole.before)
        summed = whole.summed[number][self.rows % whole.num_nodes]
        summed.index_add_(0, self.of, -entries.value[self.entry].unsqueeze(1) * read[entries.column[self.entry]])
        if not self.is_few.any():
            return summed
        anew = torch.zeros_like(summed)
        anew.index_add_(0, self.rest_of, entries.value[self.rest].unsqueeze(1) * read[entries.column[self.rest]])
        return torch.where(self.is_few.unsqueeze(1), anew, summed)

    def _reached(self, key: Tensor, need: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Where what differs goes: the position of a key, the entry along which it goes and the key that it reaches,
        LongTensors [n]. It is found from either end, whichever has fewer edges."""
        whole, size = self.whole, self.whole.num_nodes
        node, rows = key % size, need.nonzero().squeeze(1)
        away = int((whole.back_ptr[node + 1] - whole.back_ptr[node]).sum())
        masks = key.div(size, rounding_mode="floor").unique()
        if int((whole.entries.ptr[rows + 1] - whole.entries.ptr[rows]).sum()) * len(masks) < away:
            _, entry = whole.entries.of_rows(rows)
            mask, entry = masks.repeat_interleave(len(entry)), entry.repeat(len(masks))
            source = _found(key, mask * size + whole.entries.column[entry])
            mask, entry, source = (part[source >= 0] for part in (mask, entry, source))
            to = mask * size + whole.entries.row(entry)
        else:
            source, place = expanded(whole.back_ptr, node)
            inside = need[whole.back_row[place]]
            source, place = source[inside], place[inside]
            entry, mask = whole.back_entry[place], key[source] // size
            to = mask * size + whole.back_row[place]
        there = _found(self.masked, mask * len(whole.entries.value) + entry) < 0
        return source[there], entry[there], to[there]


def _power(total: Tensor, power: float) -> Tensor:
    """total^-power as a column, 0 where nothing is summed unless the power is 0: FloatTensor [n, 1]."""
    if not power:
        return torch.ones(len(total), 1, device=total.device)
    found = torch.where(total > 0, total.clamp(min=torch.finfo(torch.float64).tiny) ** -power, 0.0)
    return found.float().unsqueeze(1)


def _found(ascending: Tensor, key: Tensor) -> Tensor:
    """The position of each key, -1 where it is not there: LongTensor [n]."""
    if not len(ascending):
        return torch.full_like(key, -1)
    place = torch.searchsorted(ascending, key).clamp(max=len(ascending) - 1)
    return torch.where(ascending[place] == key, place, -1)


def _over(values: Tensor, place: Tensor, others: Tensor) -> Tensor:
    """values [n, *], with those of `others` where a place says which; -1: as they are."""
    if not len(others):
        return values
    found, there = values.clone(), place >= 0
    found[there] = others[place[there]].to(found.dtype)
    return found

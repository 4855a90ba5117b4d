"""Feature columns of nodes as vectors: a module for each kind of column, filled from a graph's features."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError, some
from kgrec.graph.features import Feature
from kgrec.nn.steady_products import product
from kgrec.nn.stored_indices import require_indices
from kgrec.text_vectors import text_vectors


class Column(nn.Module, ABC):
    """A column of N nodes: one row for each node, and an empty row at the end. All rows are empty until `fill`."""

    there: Tensor  #: BoolTensor [N + 1], which nodes have a value
    weight: nn.Parameter

    def __init__(self, count: int) -> None:
        super().__init__()
        self.register_buffer("there", torch.zeros(count + 1, dtype=torch.bool))

    @abstractmethod
    def forward(self, row: Tensor) -> Tensor:
        """The vectors of rows [n]: [n, D], zeros for a missing value."""

    @abstractmethod
    def fill(self, feature: Feature, fitted: Tensor) -> None:
        """Store the values. fitted: BoolTensor [N], the nodes that training sees; some of them must have a value."""

    @abstractmethod
    def encode(self, name: str, feature: Feature) -> tuple[Tensor, Tensor]:
        """The vectors of new values, computed as those of the rows: [n, D], zeros for a missing value; and which values
        are not missing: BoolTensor [n]. In a column that was never filled, all are missing. name: the column's name,
        for errors.

        Raises KgrecError for a feature of another kind or with other categories, and for texts."""

    def take(self, former: Column, name: str, values: Feature, fitted: Tensor) -> str | None:
        """Hold what a column of fewer nodes holds, and behind it the values of new nodes, by what the former learned
        of those in training. name: of the column, for errors and the note; values: of all nodes, the new ones last;
        fitted: BoolTensor [N of the former], nodes that training saw. Returns what could not be taken, None: nothing.

        Raises what `encode` raises, but takes texts."""
        number = len(former.there) - 1
        new = values.take(torch.arange(number, len(values)))
        self.there.zero_()
        self.there[:number] = former.there[:-1]
        return self._take(former, name, new, values, fitted)

    @abstractmethod
    def _take(self, former: Any, name: str, new: Feature, values: Feature, fitted: Tensor) -> str | None:
        """The same of what the kind of column holds beside `there` of the former nodes; new: values of the new ones."""


class Numbers(Column):
    """A numeric column: the standardised number times a learned vector."""

    value: Tensor  #: FloatTensor [N + 1], standardised
    mean: Tensor  #: DoubleTensor [], mean of the values that training sees
    deviation: Tensor  #: DoubleTensor [], standard deviation of the same values; 0 before it is filled

    def __init__(self, count: int, dim: int, std: float) -> None:
        super().__init__(count)
        self.register_buffer("value", torch.zeros(count + 1))
        self.weight = nn.Parameter(torch.empty(dim).normal_(std=std))
        _add_fitted(self, "mean", "deviation")

    def forward(self, row: Tensor) -> Tensor:
        return self.value[row].unsqueeze(1) * self.weight

    def fill(self, feature: Feature, fitted: Tensor) -> None:
        value = feature.values.double()
        there = ~value.isnan()
        known = value[there & fitted]
        self.mean.copy_(known.mean())
        self.deviation.copy_(known.std(correction=0))
        self.value[:-1] = self._standardised(value, there)
        self.there[:-1] = there

    def encode(self, name: str, feature: Feature) -> tuple[Tensor, Tensor]:
        _require_kind(name, feature, "numeric")
        value = feature.values.double().to(self.weight.device)
        there = ~value.isnan() & _is_fitted(name, self, self.deviation)
        return self._standardised(value, there).unsqueeze(1) * self.weight, there

    def _take(self, former: Numbers, name: str, new: Feature, values: Feature, fitted: Tensor) -> str | None:
        number = len(former.there) - 1
        self.mean.copy_(former.mean)
        self.deviation.copy_(former.deviation)
        value = new.values.double().to(self.value.device)
        there = ~value.isnan() & _is_fitted(name, former, former.deviation)
        self.value.zero_()
        self.value[:number], self.there[number:-1] = former.value[:-1], there
        self.value[number:-1] = former._standardised(value, there)
        return None

    def _standardised(self, value: Tensor, there: Tensor) -> Tensor:
        return ((value - self.mean) / self.deviation).masked_fill(~there, 0).float()


class Categories(Column):
    """A categorical column: a vector for each category. The last row is zeros, for a missing category."""

    code: Tensor  #: LongTensor [N + 1]

    def __init__(self, count: int, categories: tuple[str, ...], dim: int, std: float) -> None:
        super().__init__(count)
        self.categories = categories
        self.register_buffer("code", torch.full((count + 1,), len(categories)))
        require_indices(self, "code", len(categories) + 1)
        self.weight = _category_vectors(len(categories), dim, std)

    def forward(self, row: Tensor) -> Tensor:
        return self._vectors(self.code[row])

    def fill(self, feature: Feature, fitted: Tensor) -> None:
        code = _seen(feature.values, feature.values[fitted], len(self.weight) - 1)
        self.code[:-1] = code
        self.there[:-1] = code < len(self.weight) - 1

    def encode(self, name: str, feature: Feature) -> tuple[Tensor, Tensor]:
        _require_kind(name, feature, "categorical", self.categories)
        none = len(self.weight) - 1
        code = _seen(feature.values.to(self.code.device), self.code[self.code < none], none)
        return self._vectors(code), code < none

    def _take(self, former: Categories, name: str, new: Feature, values: Feature, fitted: Tensor) -> str | None:
        number, none = len(former.there) - 1, len(self.weight) - 1
        code = _seen(new.values.to(self.code.device), former.code[former.code < none], none)
        self.code[:number], self.code[number:-1], self.code[-1] = former.code[:-1], code, none
        self.there[number:-1] = code < none
        return None

    def _vectors(self, code: Tensor) -> Tensor:
        return functional.embedding(code, self.weight, padding_idx=len(self.weight) - 1)


class CategorySets(Column):
    """A column of several categories: the mean of the vectors of a node's categories."""

    code: Tensor  #: LongTensor [all codes]; those of node n are code[ptr[n] : ptr[n + 1]]
    ptr: Tensor  #: LongTensor [N + 2]

    def __init__(self, count: int, entries: int, categories: tuple[str, ...], dim: int, std: float) -> None:
        super().__init__(count)
        self.categories = categories
        self.register_buffer("code", torch.full((entries,), len(categories)))
        self.register_buffer("ptr", torch.zeros(count + 2, dtype=torch.long))
        require_indices(self, "code", len(categories) + 1)
        require_indices(self, "ptr", entries + 1, ascending=True)
        self.weight = _category_vectors(len(categories), dim, std)

    def forward(self, row: Tensor) -> Tensor:
        length = self.ptr[row + 1] - self.ptr[row]
        ptr = functional.pad(length.cumsum(0), (1, 0))
        shift = (self.ptr[row] - ptr[:-1]).repeat_interleave(length)
        return self._means(self.code[torch.arange(len(shift), device=row.device) + shift], ptr)

    def fill(self, feature: Feature, fitted: Tensor) -> None:
        assert feature.ptr is not None
        node = torch.arange(len(feature)).repeat_interleave(feature.ptr.diff())
        code = _seen(feature.values, feature.values[fitted[node]], len(self.weight) - 1)
        self.code[:] = code
        self.ptr[:-1], self.ptr[-1] = feature.ptr, feature.ptr[-1]
        self.there[node[code < len(self.weight) - 1]] = True

    def encode(self, name: str, feature: Feature) -> tuple[Tensor, Tensor]:
        _require_kind(name, feature, "multi", self.categories)
        assert feature.ptr is not None
        none, ptr = len(self.weight) - 1, feature.ptr.to(self.code.device)
        code = _seen(feature.values.to(self.code.device), self.code[self.code < none], none)
        node = torch.arange(len(feature), device=ptr.device).repeat_interleave(ptr.diff())
        return self._means(code, ptr), torch.bincount(node[code < none], minlength=len(feature)) > 0

    def _take(self, former: CategorySets, name: str, new: Feature, values: Feature, fitted: Tensor) -> str | None:
        number, none, there = len(former.there) - 1, len(self.weight) - 1, len(former.code)
        assert new.ptr is not None
        is_filled = bool(former.ptr[-1] > 0)
        code = _seen(new.values.to(self.code.device), former.code[former.code < none], none)
        self.code.fill_(none)
        self.code[:there] = former.code
        self.ptr[: number + 1], self.ptr[number + 1 :] = former.ptr[:-1], former.ptr[-1]
        if is_filled:
            self.code[there : there + len(code)] = code
            self.ptr[number + 1 : -1] += new.ptr[1:].to(self.ptr.device)
            self.ptr[-1] = self.ptr[-2]
            node = torch.arange(len(new), device=code.device).repeat_interleave(new.ptr.diff().to(code.device))
            self.there[number + node[code < none]] = True
        return None

    def _means(self, code: Tensor, ptr: Tensor) -> Tensor:
        none = len(self.weight) - 1
        return functional.embedding_bag(code, self.weight, ptr[:-1], mode="mean", padding_idx=none)


class Dense(Column):
    """A column of vectors of K numbers, or of texts that become such vectors: a learned projection of the vector."""

    value: Tensor  #: FloatTensor [N + 1, K]
    length: Tensor  #: DoubleTensor [], mean length of the vectors that training sees, a divisor; 0 before it is filled

    def __init__(self, count: int, width: int, dim: int, std: float, encoder: str = "") -> None:
        """encoder: how texts become vectors; empty for a column of vectors."""
        super().__init__(count)
        self.encoder = encoder
        self.register_buffer("value", torch.zeros(count + 1, width))
        self.weight = nn.Parameter(torch.empty(dim, width).normal_(std=std))
        _add_fitted(self, "length")

    def forward(self, row: Tensor) -> Tensor:
        return product(self.value[row], self.weight)

    def fill(self, feature: Feature, fitted: Tensor) -> None:
        value = feature.values
        if feature.schema.kind == "text":
            texts, width = value.to_pylist(), self.value.shape[1]
            value = torch.from_numpy(text_vectors(texts, fitted.numpy(), width, self.encoder))
        length = value.norm(dim=1)
        known = length[fitted & (length > 0)]
        if len(known):  # there are none if all texts are only punctuation
            self.length.copy_(known.mean())
            self.value[:-1] = value / known.mean()
        self.there[:-1] = length > 0

    def encode(self, name: str, feature: Feature) -> tuple[Tensor, Tensor]:
        if self.encoder:
            raise KgrecError(
                f"profile: {name!r} is a text, and a new text cannot be turned into a vector after training; leave it "
                "out"
            )
        _require_kind(name, feature, "vector")
        if feature.values.shape[1] != self.value.shape[1]:
            found, wanted = feature.values.shape[1], self.value.shape[1]
            raise KgrecError(f"profile: {name!r} has vectors of {found} numbers; the model needs {wanted}")
        value = feature.values.to(self.weight.device)
        there = (value.norm(dim=1) > 0) & _is_fitted(name, self, self.length)
        value = (value / self.length.to(value.dtype)).masked_fill(~there.unsqueeze(1), 0)
        return functional.linear(value, self.weight), there

    def _take(self, former: Dense, name: str, new: Feature, values: Feature, fitted: Tensor) -> str | None:
        number, device = len(former.there) - 1, self.value.device
        self.length.copy_(former.length)
        self.value.zero_()
        self.value[:number] = former.value[:-1]
        if not _is_fitted(name, former, former.length):
            return None
        if new.schema.kind == "text":
            seen = functional.pad(fitted.cpu(), (0, len(new))).numpy()
            every = torch.from_numpy(text_vectors(values.values.to_pylist(), seen, self.value.shape[1], self.encoder))
            every = every.to(device) / former.length.to(every.dtype)
            if not torch.allclose(every[:number], former.value[:-1], atol=1e-3):
                return f"{name}: texts of new nodes are left out, as the words that training saw cannot be had again"
            vectors = every[number:]
        else:
            vectors = new.values.to(device) / former.length.to(new.values.dtype)
        self.value[number:-1], self.there[number:-1] = vectors, vectors.norm(dim=1) > 0
        return None


def _add_fitted(column: Column, *names: str) -> None:
    """Adds buffers of one number each. They are 0 until the column is filled, and where saved weights lack them."""
    for name in names:
        column.register_buffer(name, torch.zeros((), dtype=torch.float64))

    def fill_up(module: nn.Module, state: dict[str, Any], prefix: str, *others: Any) -> None:
        for name in names:
            state.setdefault(prefix + name, torch.zeros((), dtype=torch.float64))

    column.register_load_state_dict_pre_hook(fill_up)


def _is_fitted(name: str, column: Column, number: Tensor) -> bool:
    """Whether the column was filled. Raises KgrecError for a filled column that was saved without this number."""
    if number > 0 or not column.there.any():
        return bool(number > 0)
    raise KgrecError(
        f"profile: this model was saved by an older version without the scale of {name!r}, so it cannot read new "
        "values; train it again"
    )


def _require_kind(name: str, feature: Feature, kind: str, categories: tuple[str, ...] = ()) -> None:
    found = feature.schema
    if found.kind != kind:
        raise KgrecError(f"profile: {name!r} is {found.kind}, but it was {kind} in training; give it as {kind}")
    if found.categories != categories:
        raise KgrecError(
            f"profile: the categories of {name!r} are {some(found.categories)}, but they were {some(categories)} in "
            "training; read the column with the schema that it has in the graph"
        )


def _category_vectors(categories: int, dim: int, std: float) -> nn.Parameter:
    """Random vectors of categories, [categories + 1, D]; the last row is zeros."""
    weight = torch.empty(categories + 1, dim).normal_(std=std)
    weight[-1] = 0
    return nn.Parameter(weight)


def _seen(code: Tensor, known: Tensor, none: int) -> Tensor:
    """The codes, but `none` for those that are missing or do not occur among the `known` ones."""
    is_seen = torch.zeros(none + 1, dtype=torch.bool, device=code.device)
    is_seen[known[known >= 0]] = True
    return torch.where(is_seen[code] & (code >= 0), code, none)

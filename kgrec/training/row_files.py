"""Tensors of which each rank has some rows, in files and from files."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kgrec import ranks
from kgrec.nn.row_shards import RowShard, shards_of

#: Names of safetensors' types
TYPES = {torch.float32: "F32", torch.float64: "F64", torch.float16: "F16", torch.bfloat16: "BF16", torch.int64: "I64"}
TYPES |= {torch.int32: "I32", torch.int16: "I16", torch.int8: "I8", torch.uint8: "U8", torch.bool: "BOOL"}


@dataclass(frozen=True, eq=False)
class RowBlocks:
    """A tensor of which each rank has some rows. All ranks go through its blocks at the same time."""

    shape: tuple[int, ...]  #: of the whole
    dtype: torch.dtype
    blocks: Callable[[], Iterator[Tensor]]  #: the rows in order, on rank 0; on the others empty tensors


Stored = Mapping[str, Tensor | RowBlocks]


def whole_tensors(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor | RowBlocks]:
    """Tensors of a model's state or of its optimizers (`objective/parameter/name`), with those of shards as blocks of
    all rows."""
    shards, found = shards_of(model), dict[str, Tensor | RowBlocks]()
    for name, own in tensors.items():
        shard = shards.get(_parameter(name))
        found[name] = own if shard is None or own.shape != shard.shard.shape else _blocks(own, shard)
    return found


def run_weights(model: nn.Module) -> dict[str, Tensor | RowBlocks]:
    """The state of a model as one that was trained in one process has it: of shards the whole table [N + 1, D]."""
    shards = shards_of(model)
    found: dict[str, Tensor | RowBlocks] = {}
    for name, own in model.state_dict().items():
        if name in shards:
            found[shards[name].whole_name(name)] = _blocks(own, shards[name], padding=1)
        else:
            found[name] = own
    return found


def _parameter(name: str) -> str:
    """The parameter that a tensor of a model or of its optimizers belongs to."""
    return name.split("/")[1] if name.count("/") == 2 else name


def _blocks(own: Tensor, shard: RowShard, padding: int = 0) -> RowBlocks:
    def blocks() -> Iterator[Tensor]:
        yield from shard.blocks(own)
        if padding and ranks.rank() == 0:
            yield own.new_zeros(padding, *own.shape[1:])

    return RowBlocks((shard.count + padding, *own.shape[1:]), own.dtype, blocks)


def follow(tensors: Stored) -> None:
    """On a rank that writes nothing: take part while rank 0 writes the tensors."""
    for one in tensors.values():
        if isinstance(one, RowBlocks):
            for _ in one.blocks():
                pass


def save_in_blocks(path: Path, tensors: Stored) -> None:
    """Write tensors as a safetensors file, block by block. Raises OSError if the file cannot be written."""
    header, start = dict[str, object](), 0
    for name, one in tensors.items():
        size = torch.Size(one.shape).numel() * one.dtype.itemsize
        header[name] = {"dtype": TYPES[one.dtype], "shape": list(one.shape), "data_offsets": [start, start + size]}
        start += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for one in tensors.values():
            parts: Iterable[Tensor] = one.blocks() if isinstance(one, RowBlocks) else [one]
            for part in parts:
                file.write(part.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)


def tensors_for_ranks(tensors: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Tensors that rank 0 has, on all ranks; of a shard's tensors each rank gets its own rows. tensors: empty on the
    others."""
    shards, first = shards_of(model), ranks.rank() == 0
    if not shards:
        return ranks.tensors_of_first(tensors)
    kinds = [[name, str(one.dtype).removeprefix("torch."), list(one.shape)] for name, one in tensors.items()]
    found = {}
    for name, kind, shape in ranks.of_first(kinds):
        whole = tensors[name] if first else None
        shard = shards.get(_parameter(name))
        if shard is not None and shape == [shard.count, *shard.shard.shape[1:]]:
            found[name] = torch.empty(shard.shard.shape, dtype=getattr(torch, kind))
            shard.fill(found[name], whole)
        else:
            own = torch.empty(shape, dtype=getattr(torch, kind)) if whole is None else whole.clone()
            found[name] = ranks.of_first_tensor(own)
    return found


def start_from_whole(model: nn.Module, whole: nn.Module | None) -> None:
    """Set all parameters and buffers of a model from one that has the whole tables, which rank 0 has."""
    shards = shards_of(model)
    theirs = {} if whole is None else dict([*whole.named_parameters(), *whole.named_buffers()])
    with torch.no_grad():
        for name, own in (*model.named_parameters(), *model.named_buffers()):
            if name in shards:
                table = None if whole is None else theirs[shards[name].whole_name(name)].detach()
                shards[name].fill(own, table)
            else:
                own.copy_(ranks.of_first_tensor(theirs[name].detach() if theirs else own))

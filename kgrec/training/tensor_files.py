"""Tensors as safetensors files."""

from __future__ import annotations

from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from kgrec.training.row_files import RowBlocks, Stored, save_in_blocks


def save_tensors(path: Path, tensors: Stored) -> None:
    """Write tensors as a safetensors file; tensors that share memory are written separately, and those of which each
    rank has some rows block by block. Raises OSError if the file cannot be written."""
    if any(isinstance(one, RowBlocks) for one in tensors.values()):
        save_in_blocks(path, tensors)
        return
    try:
        whole = {name: tensor for name, tensor in tensors.items() if isinstance(tensor, Tensor)}
        save_file({name: tensor.detach().cpu().contiguous().clone() for name, tensor in whole.items()}, path)
    except SafetensorError as error:  # its type does not show that the disk is the reason
        raise OSError(str(error)) from error

"""A run's scores by NumPy alone: its tensors are memory-mapped, and torch is not imported.

For runs of models whose scores are products or sums (`Recommender.linear_scorer`): a run folder of those has a
`scorer.json`, which says what they are made of and where it stands.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np

from kgrec.errors import KgrecError
from kgrec.linear_scores import LinearScores
from kgrec.run_files import RunFiles
from kgrec.tensor_headers import read_header

DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "I64": "<i8", "I32": "<i4"}  #: safetensors' names -> NumPy's
SOURCES = ("model.safetensors", "scorer.safetensors")  #: the only files that scorer.json may name


def load_scores(path: str | Path, *, check_hashes: bool = True) -> LinearScores:
    """The scores of a run folder. check_hashes: read every tensor file once, and compare its hash with what config.json
    says; else its size alone is compared, and no tensor is read until it is used.

    Raises KgrecError where the folder has no scorer (its model scores in another way, or it is of format 1), and where
    a file is missing, truncated or altered.
    """
    files = RunFiles.open(path)
    if not files.holds("scorer.json"):
        why = "it is of format 1" if files.format == 1 else f"{files.config.get('model')} scores in another way"
        raise KgrecError(f"{path} has no scorer.json ({why}); read it by kgrec.Run.load")
    document = files.json("scorer.json")
    headers = dict[str, tuple[Path, int, dict[str, Any]]]()
    try:
        places = {str(name): dict(place) for name, place in document["tensors"].items()}
        for source in {place["file"] for place in places.values()}:
            if source not in SOURCES:
                raise KgrecError(f"{path}/scorer.json names the file {source!r}; it is altered: train again")
            file = files.path(source, hashed=check_hashes)
            headers[source] = (file, *read_header(file))
        arrays = {name: _mapped(*headers[place["file"]], place) for name, place in places.items()}
        return LinearScores(document["kind"], arrays, float(document["constant"]))
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise KgrecError(f"{path}/scorer.json is not as kgrec writes it ({error!r}); train again") from error


def _mapped(file: Path, first: int, header: dict[str, Any], place: dict[str, Any]) -> np.ndarray:
    """Some numbers of a tensor, memory-mapped. first: where the file's numbers start; place: as in scorer.json.

    Raises KgrecError where sizes do not go together, before anything is allocated.
    """
    name, shape, start = place["tensor"], place["shape"], place["start"]
    described = header.get(name)
    if not isinstance(described, dict) or described.get("dtype") not in DTYPES:
        raise KgrecError(f"{file} has no tensor {name!r} of a type that NumPy reads; train again")
    dtype = np.dtype(DTYPES[described["dtype"]])
    begin, end = described["data_offsets"]
    for number in (*shape, *described["shape"], start, begin, end):
        if not isinstance(number, int) or isinstance(number, bool) or number < 0:
            raise KgrecError(f"{file}: tensor {name!r} has the size or place {number!r}; it is altered: train again")
    count, there = math.prod(shape), math.prod(described["shape"])
    if end - begin != there * dtype.itemsize or first + end > file.stat().st_size or start + count > there:
        raise KgrecError(
            f"{file}: tensor {name!r} has {there:,} numbers in {end - begin:,} bytes, of which {count:,} from "
            f"{start:,} on are wanted; they do not go together: train again"
        )
    if not count:
        return np.zeros(shape, dtype)
    return np.memmap(file, dtype, mode="r", offset=first + begin + start * dtype.itemsize, shape=tuple(shape))

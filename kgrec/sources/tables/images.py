"""A folder of images to vectors, by a pretrained network of timm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kgrec.errors import BadData, Fault, KgrecError, some

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
BATCH = 64  #: images that are held at once

Encoder = Callable[[Sequence[Path]], np.ndarray]  #: files [n] -> float32 [n, D]


def image_files(folder: Path) -> dict[str, Path]:
    """The images of a folder by id, which is a file's name without its suffix, in order of the ids. Raises BadData
    where there are none, or two of one id."""
    if not folder.is_dir():
        what = "is not there; it must be a folder of images called by id, such as 42.jpg"
        raise BadData(Fault(what, str(folder), kind="missing file", file_is="subject"))
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in files:
            what = f"{files[path.stem].name} and {path.name} are of one id; take one away"
            raise BadData(what, file=str(folder), value=path.stem, kind="duplicate")
        files[path.stem] = path
    if not files:
        what = f"has no images; names such as 42.jpg are wanted, ending in {some(SUFFIXES, 9)}"
        raise BadData(Fault(what, str(folder), kind="empty file", file_is="subject"))
    return files


def image_vectors(folder: Path, encoder: str) -> tuple[pa.Array, np.ndarray]:
    """The ids of a folder's images, strings [n], and what the encoder makes of each, float32 [n, D].

    Raises BadData for a folder or a file that is none, KgrecError where timm is not there or has no such network."""
    files = image_files(folder)
    encode, paths = image_encoder(encoder), list(files.values())
    parts = [encode(paths[start : start + BATCH]) for start in range(0, len(paths), BATCH)]
    return pa.array(files, pa.string()), np.concatenate(parts).astype(np.float32)


def require_images(folder: Path, encoder: str) -> None:
    """Raises as `image_vectors`, without making the vectors: the network's weights alone are not asked for."""
    files = image_files(folder)
    _require_network(encoder)
    for path in files.values():
        with _opened(path) as image:
            image.load()


def _require_network(name: str) -> None:
    """Raises KgrecError where timm is not there or has no such network."""
    try:
        import PIL  # noqa: F401
        import timm
    except ImportError as error:
        raise KgrecError(f"encoder {name!r} is a network of timm, not installed; pip install 'kgrec[image]'") from error
    if not timm.is_model(name):
        raise KgrecError(f"timm has no network {name!r}; `timm.list_models()` lists them, resnet18 is one")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A PIL image. Raises BadData where the file is none, or its pixels cannot be read within."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except OSError as error:
        what = f"is no image: {error}; mend it or take it away"
        raise BadData(Fault(what, str(path), kind="altered file", file_is="subject")) from error


def image_encoder(name: str) -> Encoder:
    """A network of timm, pretrained, without its last layer."""
    _require_network(name)
    import timm
    import torch

    try:
        network = timm.create_model(name, pretrained=True, num_classes=0).eval()
    except (RuntimeError, OSError) as error:
        raise KgrecError(f"the weights of encoder {name!r} cannot be had: {error}") from error
    transform = timm.data.create_transform(**timm.data.resolve_model_data_config(network))

    def encode(paths: Sequence[Path]) -> np.ndarray:
        images = []
        for path in paths:
            with _opened(path) as image:
                images.append(transform(image.convert("RGB")))
        with torch.inference_mode():
            vectors: np.ndarray = network(torch.stack(images)).numpy()
        return vectors

    return encode

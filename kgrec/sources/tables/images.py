"""Makes vectors from a folder of images, with a pretrained network of timm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from kgrec.errors import BadData, Fault, KgrecError, some

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".bmp", ".gif")
BATCH = 64  #: images that are held in memory at once

Encoder = Callable[[Sequence[Path]], np.ndarray]  #: files [n] -> float32 [n, D]


def image_files(folder: Path) -> dict[str, Path]:
    """The images of a folder by id, in order of the ids. The id is the file's name without its suffix. Raises BadData
    where there are no images, or two with the same id."""
    if not folder.is_dir():
        what = "is not a folder; it must be a folder of images named by id, such as 42.jpg"
        raise BadData(Fault(what, str(folder), kind="missing file", file_is="subject"))
    files: dict[str, Path] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in SUFFIXES:
            continue
        if path.stem in files:
            what = f"{files[path.stem].name} and {path.name} have the same id; remove one of them"
            raise BadData(what, file=str(folder), value=path.stem, kind="duplicate")
        files[path.stem] = path
    if not files:
        what = f"has no images; their names must be like 42.jpg and end in {some(SUFFIXES, 9)}"
        raise BadData(Fault(what, str(folder), kind="empty file", file_is="subject"))
    return files


def image_vectors(folder: Path, encoder: str) -> tuple[pa.Array, np.ndarray]:
    """The ids of a folder's images, strings [n], and the encoder's vector of each, float32 [n, D].

    Raises BadData where the folder or an image cannot be read, KgrecError where timm is not installed or has no such
    network."""
    files = image_files(folder)
    encode, paths = image_encoder(encoder), list(files.values())
    parts = [encode(paths[start : start + BATCH]) for start in range(0, len(paths), BATCH)]
    return pa.array(files, pa.string()), np.concatenate(parts).astype(np.float32)


def require_images(folder: Path, encoder: str) -> None:
    """Raises as `image_vectors` does, but makes no vectors and loads no weights of the network."""
    files = image_files(folder)
    _require_network(encoder)
    for path in files.values():
        with _opened(path) as image:
            image.load()


def _require_network(name: str) -> None:
    """Raises KgrecError where timm is not installed or has no such network."""
    try:
        import PIL  # noqa: F401
        import timm
    except ImportError as error:
        what = f"encoder {name!r} needs the package timm, which is not installed; pip install 'kgrec[image]'"
        raise KgrecError(what) from error
    if not timm.is_model(name):
        raise KgrecError(f"timm has no network {name!r}; use one of `timm.list_models()`, such as resnet18")


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A PIL image. Raises BadData where the file is not an image, or reading its pixels inside the block fails."""
    from PIL import Image

    try:
        with Image.open(path) as image:
            yield image
    except OSError as error:
        what = f"cannot be read as an image: {error}; fix or remove it"
        raise BadData(Fault(what, str(path), kind="altered file", file_is="subject")) from error


def image_encoder(name: str) -> Encoder:
    """A network of timm, pretrained, without its last layer."""
    _require_network(name)
    import timm
    import torch

    try:
        network = timm.create_model(name, pretrained=True, num_classes=0).eval()
    except (RuntimeError, OSError) as error:
        raise KgrecError(f"the weights of encoder {name!r} cannot be loaded or downloaded: {error}") from error
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

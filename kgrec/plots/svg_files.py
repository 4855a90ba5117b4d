"""SVG drawings as files."""

from __future__ import annotations

from pathlib import Path

from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole
from kgrec.plots.charts import standalone
from kgrec.plots.markup import Markup


def check_svg_path(path: str | Path, overwrite: bool = False, option: str = "--plot") -> Path:
    """The path, before anything is computed. Raises KgrecError if its name does not end in .svg, or if it is there."""
    path = Path(path)
    if path.suffix.lower() != ".svg":
        raise KgrecError(f"{option} {path}: drawings are SVG; name a file that ends in .svg, such as {path.stem}.svg")
    refuse_existing(path, overwrite)
    return path


def write_svg(path: str | Path, drawing: Markup, *, overwrite: bool = False) -> None:
    """Write a drawing as a file of its own, whole or not at all. Raises KgrecError where it is there already."""
    with whole(path, overwrite) as draft:
        draft.write_text(standalone(drawing), encoding="utf-8")

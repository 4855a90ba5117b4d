"""Reads a Jupyter notebook as a page: its texts, its code as blocks of Python, and what each cell prints."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class NotebookPage:
    """A notebook as Markdown."""

    text: str
    cell_at: dict[int, int]  #: line of the first line of an output in `text`, from 1 -> position of its cell


def page_of(notebook: dict[str, Any]) -> NotebookPage:
    """The page of a notebook (nbformat 4): only what cells print is shown, not the value of their last line.

    >>> code = {"cell_type": "code", "source": ["print(1)"], "outputs": [{"text": ["1\\n"]}]}
    >>> page = page_of({"cells": [{"cell_type": "markdown", "source": ["# One"]}, code]})
    >>> page.text.split("\\n"), page.cell_at
    (['# One', '', '```python', 'print(1)', '```', '', '```text', '1', '```', ''], {8: 1})
    """
    lines: list[str] = []
    cell_at: dict[int, int] = {}
    for number, cell in enumerate(notebook["cells"]):
        source = "".join(cell["source"]).splitlines()
        if cell["cell_type"] != "code":
            lines += [*source, ""]
            continue
        lines += ["```python", *source, "```", ""]
        printed = "".join("".join(one.get("text", "")) for one in cell["outputs"]).splitlines()
        if printed:
            cell_at[len(lines) + 2] = number
            lines += ["```text", *printed, "```", ""]
    return NotebookPage("\n".join(lines), cell_at)


def page_text(page: Path) -> str:
    """The Markdown of a page or of a notebook."""
    text = page.read_text(encoding="utf-8")
    return page_of(json.loads(text)).text if page.suffix == ".ipynb" else text


def write_cells(path: Path, printed_at: dict[int, list[str]]) -> None:
    """Replace what cells print. printed_at: the lines by the line of the output in the page of the notebook."""
    notebook = json.loads(path.read_text(encoding="utf-8"))
    cell_at = page_of(notebook).cell_at
    for line, printed in printed_at.items():
        text = [f"{one}\n" for one in printed]
        notebook["cells"][cell_at[line]]["outputs"] = [{"name": "stdout", "output_type": "stream", "text": text}]
    path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")

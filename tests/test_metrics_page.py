"""docs/metrics.md is true: its code prints what it shows, and every metric has its section."""

import contextlib
import io
import re
from pathlib import Path

import pytest

from kgrec.evaluation.metrics import FORMULAS, NAMES

PAGE = (Path(__file__).parent.parent / "docs/metrics.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"```python\n(?P<code>.*?)```\n(?:\n```text\n(?P<shown>.*?)```\n)?", re.DOTALL)


def test_the_page_prints_what_it_shows() -> None:
    """Its blocks run from top to bottom in one namespace."""
    names: dict[str, object] = {}
    blocks = list(BLOCK.finditer(PAGE))
    assert len(blocks) == PAGE.count("```python") and sum(one["shown"] is not None for one in blocks) == len(blocks) - 1
    for block in blocks:
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(compile(block["code"], "docs/metrics.md", "exec"), names)
        assert printed.getvalue() == (block["shown"] or "")


@pytest.mark.parametrize("name", NAMES)
def test_every_metric_has_a_section_that_shows_it(name: str) -> None:
    sections = re.split(r"^### ", PAGE, flags=re.MULTILINE)[1:]
    (own,) = (section for section in sections if section.startswith(f"`{name}`\n"))
    code = "\n".join(block["code"] for block in BLOCK.finditer(own))
    assert name in code and "```text\n" in own
    listed = {(formula.name, formula.cut_off) for formula in FORMULAS if formula.name == name}
    table = PAGE.partition("Common to all lists")[0]
    assert all(f"`{one}@k`" in table if cut_off else f"`{one}`" in table for one, cut_off in listed)


def test_no_section_is_of_a_metric_that_is_not_there() -> None:
    assert set(re.findall(r"^### `([^`]+)`$", PAGE, re.MULTILINE)) == set(NAMES)

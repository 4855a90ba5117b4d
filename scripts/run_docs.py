"""Runs the code and commands that the documentation shows, and reports where the real output differs from the page.

`python scripts/run_docs.py [PAGE ...]` runs the blocks of some pages, or of all; CONTRIBUTING.md explains how blocks
are read. `--write` puts the real outputs into the pages. For a new block, write `?` as its output.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path

from documentation.notebooks import write_cells
from documentation.running import ROOT, Difference, PageResult, run_page

PAGES = ("README.md", "CONTRIBUTING.md", "docs/**/*.md", "docs/**/*.ipynb")  #: what runs, from the top of the checkout


def pages() -> list[Path]:
    """The pages that run, in order."""
    return [path for pattern in PAGES for path in sorted(ROOT.glob(pattern))]


def main() -> None:
    parser = argparse.ArgumentParser(description="Run what the documentation shows.")
    parser.add_argument("pages", nargs="*", type=Path, metavar="PAGE", help="Markdown or a notebook; default: all")
    parser.add_argument("--write", action="store_true", help="write the real outputs into the pages")
    options = parser.parse_args()
    results = {}
    for page in [path.resolve() for path in options.pages] or pages():
        with tempfile.TemporaryDirectory() as folder:
            work = Path(folder) / "page"
            work.mkdir()
            result = results[page] = run_page(page, work)
        print(f"{page.name}: {summary([result])}")
        for line, reason in result.skipped:
            print(f"  line {line} not run: {reason}")
        for difference in result.differences:
            print(f"  {difference}".replace("\n", "\n  "))
        if options.write:
            write_outputs(page, result.differences)
    print(f"{len(results)} pages: {summary(list(results.values()))}")
    sys.exit(any(result.differences for result in results.values()) and not options.write)


def summary(results: list[PageResult]) -> str:
    """How much ran."""
    blocks, commands, outputs, skipped, wrong = (
        sum(counts)
        for counts in zip(
            *(
                (one.num_blocks, one.num_commands, one.num_outputs, len(one.skipped), len(one.differences))
                for one in results
            )
        )
    )
    return f"{blocks} blocks, {commands} commands, {outputs} outputs compared, {skipped} not run, {wrong} wrong"


def write_outputs(page: Path, differences: list[Difference]) -> None:
    """Replace the outputs that a page shows by the real ones. An indented block keeps its indentation."""
    if page.suffix == ".ipynb":
        write_cells(page, {one.line: one.printed for one in differences if one.printed is not None})
        return
    lines = page.read_text(encoding="utf-8").split("\n")
    for one in sorted(differences, key=lambda one: one.line, reverse=True):
        if one.printed is not None and one.shown:
            first = lines[one.line - 1]
            indent = first[: len(first) - len(first.lstrip())] if not one.shown[0].startswith(" ") else ""
            lines[one.line - 1 : one.line - 1 + len(one.shown)] = [f"{indent}{line}".rstrip() for line in one.printed]
    page.write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()

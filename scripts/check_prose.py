"""Checks the style of the documentation, docstrings, help texts and messages with proselint. Code is left out.

`python scripts/check_prose.py [FILE ...]` prints what it finds; its exit code is 1 if it finds anything. `scripts/test`
runs it on all files, as it does codespell.
"""

from __future__ import annotations

import ast
import re
import sys
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from proselint.checks import __register__, uncomparables
from proselint.config import DEFAULT, Config
from proselint.registry import CheckRegistry
from proselint.registry.checks import Check, CheckResult
from proselint.tools import LintFile

ROOT = Path(__file__).resolve().parent.parent
PLACES = ("*.md", "docs/**/*.md", "graphs/**/*.md", "kgrec/**/*.py", "scripts/*.py", "scripts/documentation/*.py")

#: Checks that are switched off, each with the reason
OFF = {
    "typography.symbols": "straight quotes and three dots are what terminals and editors show",
    "typography.diacritical_marks": "to resume a training is no résumé",
    "dates_times.am_pm": "it takes `3 among them` for a time of day",
}
WORDS = 4  #: a text in the code with fewer words is not checked
FENCED = re.compile(
    r"^(?P<indent>[ >]*)(?P<fence>`{3,}|~{3,}).*?^(?P=indent)(?P=fence)`*\s*$", re.MULTILINE | re.DOTALL
)
EXAMPLE = re.compile(r"^\s*(?:>>>|\.\.\.).*$", re.MULTILINE)
CODE = re.compile(
    r"``[^`]+``|`[^`\n]+(?:\n[^`\n]+)?`|<!--.*?-->|\]\([^)\s]+\)|https?://\S+|[\d.,%]*\d[\d.,%]*", re.DOTALL
)
HEADING = re.compile(r"^#+ .*$", re.MULTILINE)
#: What texts have in common in which proselint's slowest check finds anything: `most unique`, `least unique`
MOST = re.compile(
    rf"\b(?:{'|'.join(uncomparables.FANCY_COMPARATORS)})\s+(?:{'|'.join(uncomparables.UNCOMPARABLES)})\b", re.IGNORECASE
)


@dataclass(frozen=True)
class Passage:
    """A piece of prose and where it begins."""

    line: int  #: from 1
    text: str


def passages(path: Path) -> Iterator[Passage]:
    """The prose of a file: for Markdown everything except code, for Python docstrings, `#:` comments and long texts."""
    source = path.read_text(encoding="utf-8")
    if path.suffix == ".md":
        yield Passage(1, without_code(FENCED.sub(lambda found: "\n" * found[0].count("\n"), source)))
        return
    for node in _texts(ast.parse(source)):
        text = _text(node)
        if text is not None and len(text.split()) >= WORDS:
            yield Passage(getattr(node, "lineno", 1), without_code(EXAMPLE.sub("", text)))
    for number, line in enumerate(source.splitlines(), 1):
        if "#:" in line:
            yield Passage(number, without_code(line.partition("#:")[2]))


def _texts(module: ast.Module) -> Iterator[ast.AST]:
    """The strings in the code, in the order of ast.walk, which takes twice as long."""
    nodes: deque[ast.AST] = deque([module])
    while nodes:
        node = nodes.popleft()
        if isinstance(node, ast.Constant | ast.JoinedStr):
            yield node
        for value in vars(node).values():
            if isinstance(value, list):
                nodes += [one for one in value if isinstance(one, ast.AST)]
            elif isinstance(value, ast.AST):
                nodes.append(value)


def _text(node: ast.AST) -> str | None:
    """The text of a string in the code; a word stands for each value of an f-string."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        number = count()
        parts = [part.value if isinstance(part, ast.Constant) else f"value{next(number)}" for part in node.values]
        return "".join(map(str, parts))
    return None


def without_code(text: str) -> str:
    """The text, in as many lines, with a different word for each piece of code and each number, and a word after each
    heading, so that proselint does not report repetitions there.

    >>> without_code("# Run it\\nRun `kgrec train` 2 or 2\\ntimes.")
    '# Run it word0\\nRun word1 word2 or word3\\ntimes.'
    """
    number = count()
    text = HEADING.sub(lambda found: f"{found[0]} `heading`", text)
    return CODE.sub(lambda found: f"word{next(number)}" + "\n" * found[0].count("\n"), text)


def findings(path: Path) -> Iterator[str]:
    """The findings of proselint in a file, one line each."""
    config: Config = {"max_errors": 1000, "checks": {**dict.fromkeys(OFF, False), **DEFAULT["checks"]}}
    places: list[int] = []  # for each line of the checked text, its line in the file
    texts: list[str] = []
    for number, passage in enumerate(passages(path)):
        lines = [*passage.text.split("\n"), "", f"passage{number}.", ""]  # keeps texts apart
        places += [passage.line + min(offset, len(lines) - 4) for offset in range(len(lines))]
        texts += lines
    if not texts:
        return
    for found in LintFile(str(path), "\n".join(texts)).lint(config):
        line = places[min(max(found.pos[0] - 1, 0), len(places) - 1)]
        result, name = found.check_result, path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
        yield f"{name}:{line}: {result.check_path}: {' '.join(result.message.split())}"


def _sooner(check: Check) -> Check:
    """The check; the slowest one, half of the time, is spared texts in which it would find nothing."""
    if check is not uncomparables.check_fancy_uncomparables:
        return check

    def compared(text: str, this: Check) -> Iterator[CheckResult]:
        return check.check_type(text, this) if MOST.search(text) else iter(())

    return check._replace(check_type=compared)


def main(arguments: Sequence[str]) -> int:
    paths = [Path(one).resolve() for one in arguments] or [
        path for place in PLACES for path in sorted(ROOT.glob(place))
    ]
    CheckRegistry().register_many([_sooner(check) for check in __register__])
    found = [line for path in paths for line in findings(path)]
    print(*found, sep="\n", end="\n" if found else "")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

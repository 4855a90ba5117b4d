"""Reads the blocks of a Markdown page that are run or checked, with the marks above them."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field

FENCE = re.compile(r"^(?P<indent>[ >]*)(?P<fence>`{3,}|~{3,})[ ]*(?P<language>[\w+-]*)(?P<rest>[^`]*)$")
TITLE = re.compile(r"""\btitle=(["'])(?P<title>.*?)\1""")
MARK = re.compile(r"^\s*<!--\s*(?P<name>no-run|exit|with-stderr|not-a-recipe)\b\s*:?\s*(?P<text>.*?)\s*-->\s*$")
SETUP = re.compile(r"^\s*<!--\s*setup\s*$")
HOLDS_MORE = re.compile(r"^\s|^(?:[-*+]|\d+[.)]|!!!|\?\?\?\+?|===|:|\[\^[^\]]+\]:) ?")
"""Begins what goes on with indented lines: a list, a note, a tab, a footnote."""
REFUSED = {"": "text", "bash": "console", "sh": "console", "shell": "console", "pycon": "python", "yml": "yaml"}
"""Languages that no block may have, and the one to say instead."""


class WrongPage(Exception):
    """A page that breaks the conventions of CONTRIBUTING.md."""


@dataclass
class Block:
    """A fenced block, or a comment with commands that set a page up."""

    language: str
    text: str  #: the text without fences and indentation
    line: int  #: number of the text's first line, from 1
    title: str = ""  #: name of the file that the text is written to; "": none
    marks: dict[str, str] = field(default_factory=dict)
    output: Block | None = None  #: the block after a block of Python, which shows its stdout
    is_setup: bool = False  #: whether it is a comment that readers do not see


def blocks_of(page: str) -> list[Block]:
    """The blocks of a page, in order. Raises WrongPage for marks and languages that the conventions do not allow."""
    found: list[Block] = []
    marks: dict[str, str] = {}
    previous: Block | None = None  # the block before, where nothing but blank lines stands between
    lines = iter(enumerate(page.splitlines(), 1))
    above = ""  # the last line that is not blank
    is_apart = False  # whether a blank line stands between
    for number, line in lines:
        if line.startswith(("    ", "\t")) and line.strip() and is_apart and not HOLDS_MORE.match(above):
            raise WrongPage(f"line {number}: an indented code block, which is not run; put the code between ```")
        above, is_apart = (line, False) if line.strip() else (above, True)
        fence = FENCE.match(line)
        if fence:
            block = _fenced(fence, number, lines, marks)
            if previous is not None and previous.language == "python" and block.language == "text" and not block.marks:
                previous.output = block
            found.append(block)
            marks, previous = {}, block
        elif SETUP.match(line):
            _must_be_used(marks, number)
            found.append(_setup(number, lines))
            previous = None
        elif mark := MARK.match(line):
            if mark["name"] == "no-run" and not mark["text"]:
                raise WrongPage(f"line {number}: the mark no-run has no reason; write <!-- no-run: REASON -->")
            if mark["name"] == "exit" and not mark["text"].isdecimal():
                raise WrongPage(f"line {number}: the mark exit has no number; write <!-- exit: 1 -->")
            marks[mark["name"]] = mark["text"]
        elif line.strip():
            _must_be_used(marks, number)
            previous = None
    _must_be_used(marks, page.count("\n") + 1)
    return found


def _must_be_used(marks: dict[str, str], number: int) -> None:
    if marks:
        raise WrongPage(f"line {number}: no block follows the mark {', '.join(marks)}")


def _fenced(fence: re.Match[str], number: int, lines: Iterator[tuple[int, str]], marks: dict[str, str]) -> Block:
    language, indent = fence["language"], len(fence["indent"])
    if language in REFUSED:
        raise WrongPage(f"line {number}: a block of {language or 'no language'!r}; say {REFUSED[language]!r}")
    text: list[str] = []
    for _, line in lines:
        end = line.strip(" >")
        if end and set(end) == set(fence["fence"]) and len(end) >= len(fence["fence"]):
            break
        text.append(line[indent:] if not line[:indent].strip(" >") else line)
    else:
        raise WrongPage(f"line {number}: the block is never closed")
    title = TITLE.search(fence["rest"])
    return Block(language, "\n".join(text) + "\n", number + 1, title["title"] if title else "", marks)


def _setup(number: int, lines: Iterator[tuple[int, str]]) -> Block:
    text: list[str] = []
    for _, line in lines:
        if line.strip() == "-->":
            return Block("console", textwrap.dedent("\n".join(text)) + "\n", number + 1, is_setup=True)
        text.append(line)
    raise WrongPage(f"line {number}: the comment `setup` is never closed")


@dataclass
class Command:
    """A command of a console block, and the output that the page shows for it."""

    text: str
    line: int
    shown: list[str]  #: lines of output; empty: nothing is compared
    shown_at: int  #: line number of the first of them


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block. Raises WrongPage if it does not begin with a command."""
    found: list[Command] = []
    goes_on = False
    for number, line in enumerate(block.text.splitlines(), block.line):
        if goes_on:
            found[-1].text += "\n" + line
            found[-1].shown_at = number + 1
        elif line.startswith("$ "):
            found.append(Command(line[2:], number, [], number + 1))
        elif found:
            found[-1].shown.append(line)
            continue
        elif line.strip():
            raise WrongPage(f"line {number}: a console block begins with `$ `, not with {line!r}")
        goes_on = bool(found) and line.endswith("\\")
    for command in found:
        while command.shown and not command.shown[-1].strip():
            command.shown.pop()
    return found


def fits(shown: list[str], printed: str) -> bool:
    """Whether the printed output equals the shown one. A line `...` stands for any lines, `...` in a line for any text.

    >>> fits(["a", "...", "loss 0.3..."], "a\\nb\\nc\\nloss 0.3125\\n")
    True
    >>> fits(["a"], "a\\nb\\n")
    False
    """
    pattern = ""
    for line in trimmed(shown):
        if line.strip() == "...":
            pattern += r"(?:.*\n)*?"
        else:
            pattern += ".*".join(re.escape(part) for part in line.split("...")) + "\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in trimmed(printed.split("\n")))) is not None


def trimmed(lines: list[str]) -> list[str]:
    """The lines without spaces at their ends, and without blank lines at the beginning and the end."""
    lines = [line.rstrip() for line in lines]
    while lines and not lines[0]:
        lines.pop(0)
    while lines and not lines[-1]:
        lines.pop()
    return lines

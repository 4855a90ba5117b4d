"""Runs the blocks of a page in order, in a folder of its own, and compares the outputs with those on the page."""

from __future__ import annotations

import contextlib
import io
import os
import re
import shutil
import subprocess
import sys
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import yaml

from documentation.blocks import Block, Command, WrongPage, blocks_of, commands_of, fits
from documentation.notebooks import page_text
from documentation.recipes import validate

ROOT = Path(__file__).resolve().parents[2]
SHELL = set("|&;<>()$`*?~{}!\n\\")  #: a command with one of these characters needs a shell
INTO_FILE = re.compile(r"(?P<command>.*) > (?P<file>[\w.-]+)", re.DOTALL)
SECONDS = 300  #: most seconds for a command that needs a shell
KGREC = "import sys; sys.path[0] = {root!r}; sys.argv[0] = 'kgrec'; from kgrec.cli import main; main()"


@dataclass
class Difference:
    """A difference between what a page shows and what really happens."""

    line: int  #: line of the page, from 1
    what: str
    printed: list[str] | None = None  #: the real lines of an output; None: the difference is not in an output
    shown: list[str] = field(default_factory=list)  #: the lines that the page shows, from `line` on

    def __str__(self) -> str:
        if self.printed is None:
            return f"line {self.line}: {self.what}"
        shown, printed = ("".join(f"\n    {line}" for line in lines) for lines in (self.shown, self.printed))
        return f"line {self.line}: {self.what}\n  shown:{shown}\n  printed:{printed}"


@dataclass
class PageResult:
    """The result of running a page."""

    num_blocks: int = 0  #: blocks that were run or checked: Python, console, recipes
    num_commands: int = 0  #: console commands that were run, including those of setup
    num_outputs: int = 0  #: outputs that were compared
    skipped: list[tuple[int, str]] = field(default_factory=list)  #: (line, reason) of blocks with the mark no-run
    differences: list[Difference] = field(default_factory=list)


class Streams:
    """Stdout and stderr of a block, separately and together."""

    def __init__(self) -> None:
        self.both: list[str] = []
        self.stdout, self.stderr = _Stream(self.both), _Stream(self.both)

    @contextlib.contextmanager
    def redirected(self) -> Iterator[None]:
        """A context in which everything that is printed is captured."""
        with contextlib.redirect_stdout(self.stdout), contextlib.redirect_stderr(self.stderr):
            yield


class _Stream(io.StringIO):
    def __init__(self, both: list[str]) -> None:
        super().__init__()
        self._both = both

    def write(self, text: str) -> int:
        self._both.append(text)
        return super().write(text)


def run_page(page: Path, folder: Path) -> PageResult:
    """Run the blocks of a page, or the cells of a notebook, in an empty folder, which gets a copy of `graphs/`.
    Everything that is wrong is in `differences`. A block that fails ends the page, because later blocks need it."""
    result = PageResult()
    try:
        blocks = blocks_of(page_text(page))
    except WrongPage as error:
        result.differences.append(Difference(1, str(error)))
        return result
    shutil.copytree(ROOT / "graphs", folder / "graphs")
    with _inside(folder) as module:
        for block in blocks:
            if "no-run" in block.marks:
                result.skipped.append((block.line, block.marks["no-run"]))
                continue
            before = len(result.differences)
            try:
                _run(block, folder, module, result)
            except WrongPage as error:
                result.differences.append(Difference(block.line, str(error)))
            if any(one.printed is None for one in result.differences[before:]):
                break
    return result


@contextlib.contextmanager
def _inside(folder: Path) -> Iterator[ModuleType]:
    """A context in which the page's folder is the current one and on Python's path, with a module for its Python
    blocks."""
    module = ModuleType("documented")
    before, path, loaded = Path.cwd(), list(sys.path), set(sys.modules)
    os.chdir(folder)
    sys.modules[module.__name__] = module
    try:
        yield module
    finally:
        os.chdir(before)
        sys.path[:] = path
        for name in set(sys.modules) - loaded:
            file = getattr(sys.modules[name], "__file__", None)
            if sys.modules[name] is module or (file and Path(file).is_relative_to(folder)):
                del sys.modules[name]


def _run(block: Block, folder: Path, module: ModuleType, result: PageResult) -> None:
    if block.language == "yaml" and "not-a-recipe" not in block.marks:
        result.num_blocks += 1
        _check_recipe(block, result)
    elif block.language == "yaml":
        result.num_blocks += 1
        yaml.safe_load(block.text)
    if block.title:
        (folder / block.title).parent.mkdir(parents=True, exist_ok=True)
        (folder / block.title).write_text(block.text, encoding="utf-8")
    elif block.language == "python":
        result.num_blocks += 1
        _run_python(block, folder, module, result)
    elif block.language == "console":
        result.num_blocks += not block.is_setup
        commands = commands_of(block)
        for command in commands:
            code = int(block.marks.get("exit", 0)) if command is commands[-1] else 0
            result.num_commands += 1
            if not _run_command(command, code, "with-stderr" in block.marks or code != 0, folder, result):
                break


def _check_recipe(block: Block, result: PageResult) -> None:
    try:
        validate(block.text)
    except Exception as error:  # any error means that the page shows a wrong recipe
        result.differences.append(Difference(block.line, f"is neither a recipe nor a part of one: {error}"))


def _run_python(block: Block, folder: Path, module: ModuleType, result: PageResult) -> None:
    streams = Streams()
    sys.path.insert(0, str(folder))
    try:
        code = compile("\n" * (block.line - 1) + block.text, "the page", "exec")
        with streams.redirected():
            exec(code, vars(module))
    except (Exception, SystemExit):
        end = "".join(traceback.format_exc(limit=-3))
        result.differences.append(Difference(block.line, f"fails:\n{end}"))
        return
    finally:
        sys.path.remove(str(folder))
    if block.output is not None:
        shown = block.output.text.splitlines()
        _compare(shown, block.output.line, streams.stdout.getvalue(), "the Python above prints something else", result)


def _run_command(command: Command, code: int, both: bool, folder: Path, result: PageResult) -> bool:
    """Run one command. Returns whether it ended with the right exit code."""
    into = INTO_FILE.fullmatch(command.text) if "#" not in command.text else None
    words = simple_words(into["command"] if into else command.text)
    if words and words[0] == "kgrec" and not any(any(folder.glob(one)) for one in words if "[" in one):
        found, stdout, together = _run_kgrec(words)
        if into:
            (folder / into["file"]).write_text(stdout, encoding="utf-8")
            stdout, together = "", together if found != code else ""
    else:
        found, stdout, together = _run_shell(command.text, folder)
    if found != code:
        what = f"$ {command.text}\n  ended with exit code {found}, not {code}:\n{together}"
        result.differences.append(Difference(command.line, what))
        return False
    if command.shown:
        printed = together if both else stdout
        _compare(command.shown, command.shown_at, printed, f"$ {command.text}", result)
    return True


def _compare(shown: list[str], line: int, printed: str, what: str, result: PageResult) -> None:
    result.num_outputs += 1
    if not fits(shown, printed):
        lines = [one.rstrip() for one in printed.rstrip().split("\n")]
        result.differences.append(Difference(line, what, lines, shown))


def simple_words(command: str) -> list[str] | None:
    """The words of a command without its comment; None if it needs a shell. Words such as a[1] are taken as they are,
    as a shell does where no file is named so.

    >>> simple_words("kgrec train mf --set 'a b=1'  # a comment; with more")
    ['kgrec', 'train', 'mf', '--set', 'a b=1']
    >>> simple_words("kgrec train mf \\\\\\n    --set a=[1]")
    ['kgrec', 'train', 'mf', '--set', 'a=[1]']
    >>> simple_words("kgrec info x | head"), simple_words("kgrec train $MODEL")
    (None, None)
    """
    words: list[str] = []
    quote, word, in_word = "", "", False
    for character in command.replace("\\\n", " ") if "'" not in command else command:
        if quote:
            if character == quote:
                quote = ""
            elif quote == '"' and character in "$`\\":
                return None
            else:
                word += character
        elif character in "'\"":
            quote, in_word = character, True
        elif character == " ":
            if in_word:
                words.append(word)
            word, in_word = "", False
        elif character == "#" and not in_word:
            break
        elif character in SHELL or (character == "=" and not words):
            return None
        else:
            word, in_word = word + character, True
    return None if quote else [*words, word] if in_word else words


def _run_kgrec(words: list[str]) -> tuple[int, str, str]:
    """Run a command in this process, so that torch is imported only once. Returns the exit code, stdout, and stdout
    with stderr."""
    from kgrec import cli

    streams, arguments, code = Streams(), sys.argv, 0
    sys.argv = words
    try:
        with streams.redirected():
            cli.main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1 if end.code else 0
    finally:
        sys.argv = arguments
    return code, streams.stdout.getvalue(), "".join(streams.both)


def _run_shell(command: str, folder: Path) -> tuple[int, str, str]:
    """Run a command with bash, with the `kgrec` of this checkout. Returns the exit code, stdout, and stdout with
    stderr."""
    programs = folder.with_name(f"{folder.name}.programs")
    if not programs.is_dir():
        programs.mkdir()
        script = programs / "kgrec"
        code = KGREC.format(root=str(ROOT)).replace('"', '\\"')
        script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -c "{code}" "$@"\n', encoding="utf-8")
        script.chmod(0o755)
    path = os.pathsep.join([str(programs), str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    try:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=folder,
            env={**os.environ, "PATH": path},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=SECONDS,
            encoding="utf-8",
            errors="replace",
        )
    except subprocess.TimeoutExpired:
        return 124, "", f"it took more than {SECONDS} seconds"
    return done.returncode, done.stdout, done.stdout + done.stderr

"""The text beside each field of a settings class, read from its source: the one place where a field is explained."""

from __future__ import annotations

import ast
import io
import tokenize
from collections import deque
from collections.abc import Iterator

MARK = "#:"  #: begins a comment that is about a field
BLOCKS = ast.stmt, ast.excepthandler, ast.match_case  #: nodes in which a class may stand


def field_texts(source: str, name: str) -> dict[str, str]:
    """What the `#:` comments of a class say of its fields, by field, one line each; without those that say nothing.

    source: of a file or of the class itself; name: the class's. A comment stands behind a field, and may continue on
    lines of its own; or on lines of its own before the field, where nothing stands behind it.

    >>> source = '''
    ... class Config:
    ...     dim: int = 64  #: numbers in a vector
    ...     #: of the squares
    ...     #: of the vectors
    ...     l2: float = 0.0
    ...     lr: float = 1e-3  #: how far a step goes,
    ...     #: at most
    ...     seed: int = 0  #: of all random numbers
    ... '''
    >>> for field, text in field_texts(source, "Config").items():
    ...     print(f"{field}: {text}")
    dim: numbers in a vector
    l2: of the squares of the vectors
    lr: how far a step goes, at most
    seed: of all random numbers
    """
    if MARK not in source:
        return {}
    found = classes(ast.parse(source)).get(name)
    return {} if found is None else class_texts(found, comments(source))


def class_texts(found: ast.ClassDef, comments: dict[int, str]) -> dict[str, str]:
    """field_texts of a class that is parsed. comments: of its file, by line, as from `comments`."""
    fields = [node for node in found.body if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name)]
    behind: list[list[str]] = [
        [comments[line] for line in range(field.lineno, _end(field) + 1) if line in comments] for field in fields
    ]
    before: list[list[str]] = [[] for _ in fields]
    for number, field in enumerate(fields):
        above: list[str] = []
        line = field.lineno - 1
        while line in comments and (not number or line > _end(fields[number - 1])):
            above.insert(0, comments[line])
            line -= 1
        goes_on = number > 0 and line == _end(fields[number - 1]) and bool(behind[number - 1]) and bool(behind[number])
        (behind[number - 1] if goes_on else before[number]).extend(above)
    if fields and behind[-1]:
        line = _end(fields[-1]) + 1
        while line in comments:
            behind[-1].append(comments[line])
            line += 1
    names = [ast.unparse(field.target) for field in fields]
    texts = {field: " ".join([*above, *beside]) for field, above, beside in zip(names, before, behind)}
    return {field: text for field, text in texts.items() if text}


def classes(module: ast.Module) -> dict[str, ast.ClassDef]:
    """The classes of a file by name, those within other classes and functions too; the outer one of two of a name."""
    found: dict[str, ast.ClassDef] = {}
    blocks: deque[ast.AST] = deque([module])
    while blocks:
        block = blocks.popleft()
        if isinstance(block, ast.ClassDef):
            found.setdefault(block.name, block)
        # a class stands in a block, never in an expression, and most nodes are those of expressions
        blocks += (node for node in ast.iter_child_nodes(block) if isinstance(node, BLOCKS))
    return found


def comments(source: str) -> dict[int, str]:
    """The comments about fields by their lines, from 1."""
    return dict(_comments(source)) if MARK in source else {}


def _end(field: ast.AnnAssign) -> int:
    return field.end_lineno or field.lineno


def _comments(source: str) -> Iterator[tuple[int, str]]:
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT and token.string.startswith(MARK):
            yield token.start[0], token.string.removeprefix(MARK).strip()

"""What is tried: files, and what kgrec is asked to do with them."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from fuzzing.texts import Files


@dataclass(frozen=True)
class Case:
    """What is put into a folder, and what is asked of it."""

    kind: str
    argv: tuple[str, ...]  #: of the command line; or @ and the name of a library call of `fuzzing.trial`
    files: Files = field(default_factory=dict)  #: written over the copies
    copies: Mapping[str, str] = field(default_factory=dict)  #: folder -> `graph`, `checkpoint` or `run-NAME` of `Bases`
    listed_again: tuple[str, ...] = ()  #: folders whose files are listed anew, with their hashes
    out: str | None = None  #: what is whole or absent at the end

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, with each file as text or, as it needs be, in base64."""
        return asdict(self) | {"files": {name: _written(content) for name, content in self.files.items()}}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Case:
        """What `to_json` gave."""
        files = {name: _read(content) for name, content in value["files"].items()}
        lists = {name: tuple(value[name]) for name in ("argv", "listed_again")}
        return Case(**{**value, **lists, "files": files})


def _written(content: bytes) -> str | list[str]:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(content).decode()]


def _read(content: str | list[str]) -> bytes:
    return content.encode() if isinstance(content, str) else base64.b64decode(content[0])

"""A recipe with the evidence for each of its lines, as YAML with comments and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from kgrec.printable import printable

Place = tuple[str, ...]
KEPT = "Predicates that are kept:"  #: how the remark about them begins
WIDTH = 116  #: characters of a line, above which a comment stands in a line of its own


@dataclass(eq=False)
class CommentedRecipe:
    """The keys of a recipe, and by key why it is so."""

    values: dict[str, Any] = field(default_factory=dict)
    because: dict[Place, str] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)  #: at the end: what a person should know
    left_out: dict[str, str] = field(default_factory=dict)  #: file, column or predicate -> why it is not used
    header: list[str] = field(default_factory=list)
    path: str = "recipe.yaml"  #: where it will be written

    def put(self, *place: str, value: Any, because: str = "") -> None:
        """Set a key, with its evidence."""
        here = self.values
        for name in place[:-1]:
            here = here.setdefault(name, {})
        here[place[-1]] = value
        self.because.pop(place, None)
        if because:
            self.because[place] = because

    def take(self, *place: str) -> None:
        """Remove a key with all that is below it; and the keys above it that become empty."""
        here, above = self.values, []
        for name in place[:-1]:
            if not isinstance(here.get(name), dict):
                return
            above.append((here, name))
            here = here[name]
        here.pop(place[-1], None)
        for outer, name in reversed(above):
            if not outer[name]:
                del outer[name]
        self.because = {key: text for key, text in self.because.items() if key[: len(place)] != place}

    def guesses(self) -> list[dict[str, Any]]:
        """Each guess: its key, its value and the evidence."""
        found = []
        for place, text in self.because.items():
            value: Any = self.values
            for name in place:
                value = value.get(name) if isinstance(value, Mapping) else value[int(name)]
            found.append({"key": ".".join(place), "value": value, "because": text})
        return found

    def __str__(self) -> str:
        lines = [f"# {printable(line)}" for line in self.header]
        for name, value in self.values.items():
            if isinstance(value, dict | list) and len(lines) > 1:
                lines.append("")
            lines += self._lines(name, value, (name,), 0)
        if self.remarks:
            lines += ["", *(f"# {line}" for text in self.remarks for line in printable(text, "\n").split("\n"))]
        if self.left_out:
            lines += ["", "# Not used:", *(f"#   {printable(one)}: {printable(why)}" for one, why in self._few())]
        return "\n".join(lines) + "\n"

    def _few(self) -> Iterator[tuple[str, str]]:
        """What is left out, at most 60 entries."""
        for place, (one, why) in enumerate(self.left_out.items()):
            if place == 60:
                yield "...", f"and {len(self.left_out) - 60:,} more"
                return
            yield one, why

    def _lines(self, name: str, value: Any, place: Place, depth: int) -> Iterator[str]:
        indent, key, text = "  " * depth, _scalar(name), self.because.get(place)
        if isinstance(value, dict) and (self._has_comments(place) or len(_flow(value)) + len(key) > 90) and value:
            yield from self._commented(f"{indent}{key}:", text, indent)
            for inner, one in value.items():
                yield from self._lines(str(inner), one, (*place, str(inner)), depth + 1)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield from self._commented(f"{indent}{key}:", text, indent)
            for number, one in enumerate(value):
                yield from self._item(one, (*place, str(number)), depth + 1)
        elif isinstance(value, list) and len(_flow(value)) + len(key) > 100:
            yield from self._commented(f"{indent}{key}:", text, indent)
            yield from (f"{indent}  - {_flow(one)}" for one in value)
        else:
            yield from self._commented(f"{indent}{key}: {_flow(value)}", text, indent)

    def _item(self, value: dict[str, Any], place: Place, depth: int) -> Iterator[str]:
        """A mapping in a list."""
        lines = [line for name, one in value.items() for line in self._lines(name, one, (*place, name), depth + 1)]
        first = next(number for number, line in enumerate(lines) if not line.lstrip().startswith("#"))
        lines[first] = "  " * depth + "- " + lines[first].lstrip()
        yield from lines

    def _has_comments(self, place: Place) -> bool:
        return any(key[: len(place)] == place and len(key) > len(place) for key in self.because)

    @staticmethod
    def _commented(line: str, text: str | None, indent: str) -> Iterator[str]:
        if not text:
            yield line
            return
        text = printable(text)
        if len(line) + len(text) + 4 <= WIDTH and "\n" not in line:
            yield f"{line}  # {text}"
        else:
            yield f"{indent}# {text}"
            yield line


def _scalar(value: Any) -> str:
    """A key or value as YAML in one line."""
    text: str = yaml.safe_dump(value, default_flow_style=True, width=1_000_000, allow_unicode=True, sort_keys=False)
    return text.removesuffix("...\n").strip().removesuffix("\n...")


def _flow(value: Any) -> str:
    return _scalar(value)

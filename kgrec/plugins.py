"""Models of other packages, which these register when they are installed. Nothing of them is imported here."""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass

GROUP = "kgrec.models"  #: the group of entry points


@dataclass(frozen=True)
class Plugin:
    """What a package says of a model: `[project.entry-points."kgrec.models"]`, a line `name = "module:Class"`."""

    name: str  #: by which the model is asked for
    path: str  #: module:Class, or the module of one model
    package: str  #: the package that is to be installed
    version: str

    def __str__(self) -> str:
        return f"{self.package} {self.version}"


def plugins() -> dict[str, list[Plugin]]:
    """The registered models by name; more than one of a name where packages contradict each other.

    They are read when they are first asked for, and again where `sys.path` has changed.
    """
    return read(tuple(sys.path))


@functools.lru_cache(maxsize=2)
def read(path: tuple[str, ...]) -> dict[str, list[Plugin]]:
    """The same, of what lies on a path."""
    from importlib.metadata import entry_points

    found: dict[str, list[Plugin]] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value)):
        package, version = (entry.dist.name, entry.dist.version) if entry.dist is not None else ("an unknown one", "")
        found.setdefault(entry.name, []).append(Plugin(entry.name, entry.value, package, version))
    return found

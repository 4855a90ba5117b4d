"""Names of a package that are imported when they are first used, so that its light modules come without torch."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any


def late(package: str, homes: Mapping[str, str], otherwise: Callable[[str], Any] | None = None) -> Callable[[str], Any]:
    """A package's `__getattr__` that imports a name from its module on first use, and keeps it. homes: name -> module
    inside the package; otherwise: what gives other names, such as `kgrec._deprecation.renamed`."""

    def get(name: str) -> Any:
        if name not in homes:
            if otherwise is not None:
                return otherwise(name)
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        value = getattr(import_module(f"{package}.{homes[name]}"), name)
        setattr(sys.modules[package], name, value)
        return value

    return get

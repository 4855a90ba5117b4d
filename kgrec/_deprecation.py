"""Former names of classes, functions, options and settings. They still work for one release, with a warning."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, TypeVar, cast

Function = TypeVar("Function", bound=Callable[..., Any])

INSIDE = ("kgrec", "pydantic", "dataclasses", "functools")  #: packages that a warning never points to


class FormerName(DeprecationWarning):
    """A name in kgrec that will be removed. The command line shows the warning as a note."""


def deprecated(former: str, present: str) -> None:
    """Warn that a name will be removed, and give its new name. The warning points to the line outside kgrec that used
    it."""
    message = f"{former} is now {present}; the former name will be removed in the next release"
    warnings.warn(message, FormerName, _frames_inside() + 1)


def _frames_inside() -> int:
    """Number of calls from the caller's caller to the first file outside kgrec, that file included."""
    frame, number = sys._getframe(2), 2
    while frame.f_back is not None and str(frame.f_globals.get("__name__")).partition(".")[0] in INSIDE:
        frame, number = frame.f_back, number + 1
    return number - 1


def renamed_option(former: str, present: str) -> Callable[[Function], Function]:
    """A decorator that also accepts the former name of a keyword, with a warning."""

    def decorate(function: Function) -> Function:
        @functools.wraps(function)
        def call(*args: Any, **options: Any) -> Any:
            if former in options:
                deprecated(f"{function.__qualname__}'s `{former}`", f"`{present}`")
                options[present] = options.pop(former)
            return function(*args, **options)

        return cast(Function, call)

    return decorate


def renamed(module: str, names: Mapping[str, str]) -> Callable[[str], Any]:
    """A module's `__getattr__` that gives the present objects under their former names, with a warning. names: a
    former name -> the present one, of the module itself, or of another as `kgrec.graph.parts:NO_TIME`."""

    def former(name: str) -> Any:
        if name not in names:
            raise AttributeError(f"module {module!r} has no attribute {name!r}")
        home, _, present = names[name].rpartition(":")
        home = home or module
        deprecated(f"{module}.{name}", f"{home}.{present}")
        return getattr(import_module(home), present)

    return former

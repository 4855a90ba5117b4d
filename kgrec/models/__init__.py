"""Models by name. Every file of this folder is a model; installed packages register theirs in the entry point group
`kgrec.models`. Importing this module imports neither a model nor torch."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import pkgutil
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from types import ModuleType
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.plugins import Plugin, plugins

if TYPE_CHECKING:
    from kgrec.graph import Graph
    from kgrec.model import Recommender


OWN = "(a model of your own is a dotted path, mypackage.mymodel, or module:Class)"  #: said of an unknown name

#: the dotted paths that may be imported while names come from a file; None: names come from the user, and any may
_TRUSTED: ContextVar[frozenset[str] | None] = ContextVar("_TRUSTED", default=None)


@contextmanager
def only_installed(trust: str | Collection[str] | None = None) -> Iterator[None]:
    """Within this context only three kinds of models can be found by name: built-in ones, those that an installed
    package registers, and those whose dotted path is in `trust`. It is for names from a file that may come from a
    stranger. It applies to every look-up, also to a model that is named in another model's settings.

    trust: the dotted paths that the user trusts: a collection, or one text with commas between them.

    >>> with only_installed():
    ...     find("antigravity.fly")
    Traceback (most recent call last):
    kgrec.errors.KgrecError: model 'antigravity.fly' is not built in, and a saved run may not choose ...
    """
    paths = trust.split(",") if isinstance(trust, str) else trust or ()
    token = _TRUSTED.set(frozenset(path.strip() for path in paths))
    try:
        yield
    finally:
        _TRUSTED.reset(token)


def builtin_names() -> list[str]:
    """The names of kgrec's own models in alphabetical order: the files of this folder, with hyphens for underscores.

    >>> "ease" in builtin_names(), "link-frequency" in builtin_names()
    (True, True)
    """
    return list(_builtin_names())


@functools.cache
def _builtin_names() -> tuple[str, ...]:
    files = (module.name for module in pkgutil.iter_modules(__path__))
    return tuple(sorted(file.replace("_", "-") for file in files if not file.startswith("_")))


def names() -> list[str]:
    """The names of all models: the built-in ones, and those that installed packages register."""
    return sorted({*builtin_names(), *plugins()})


def broken() -> dict[str, str]:
    """The models of installed packages that cannot be used by name, each with the reason. Imports them all.

    A built-in model keeps its name; the package's model of the same name is used by the dotted path shown here.
    """
    result = {}
    for name, registered in plugins().items():
        if name in builtin_names():
            for plugin in registered:
                result[plugin.path] = (
                    f"{plugin} registers it as {name!r}, which is a built-in model; use the dotted path {plugin.path}"
                )
            continue
        try:
            find(name)
        except KgrecError as error:
            result[name] = str(error)
    return result


def working() -> list[str]:
    """The names that can be used: all but the broken ones."""
    return sorted(set(names()) - set(broken()))


def provider(name: str) -> Plugin | None:
    """The package that registers a model by this name; None for built-in models and dotted paths."""
    return None if name in builtin_names() else next(iter(plugins().get(name, [])), None)


def find(name: str, *, builtin_only: bool = False) -> type[Recommender]:
    """The class of a model. name: its built-in name, the name under which an installed package registers it, or a
    dotted path: `mypackage.mymodel`, or `mypackage.mymodel:MyModel` if the module holds several models or imports it.

    A dotted path runs that module's code. So a saved run that may come from somebody else is opened within
    `only_installed`. builtin_only: refuse dotted paths; built-in models and those of installed packages remain.

    Raises UnknownName for an unknown name, and KgrecError for a name that is not a text, a dotted path that is not
    trusted, a module that cannot be found, a package's model that cannot be imported, a module that does not hold
    exactly one model, and a model without a Config.
    """
    if not isinstance(name, str):
        raise KgrecError(f"a model's name is a text, not a {type(name).__name__}; use one of: {', '.join(names())}")
    path, _, wanted = name.partition(":")
    if path in builtin_names() and not wanted:
        return _model_of(importlib.import_module(f"{__name__}.{path.replace('-', '_')}"), "")
    if name in plugins():
        return _registered(plugins()[name])
    if "." not in path and not wanted:
        raise unknown_name("model", name, names(), OWN)
    trusted = _TRUSTED.get()
    if builtin_only or (trusted is not None and name not in trusted):
        raise KgrecError(
            f"model {name!r} is not built in, and a saved run may not choose which code is imported; "
            f"name {name!r} yourself if you trust it, or use one of: {', '.join(names())}"
        )
    if not all(part.isidentifier() for part in path.split(".")):
        raise unknown_name("model", name, names(), OWN)
    try:
        return _model_of(importlib.import_module(path), wanted)
    except ModuleNotFoundError as error:
        if error.name is None or not f"{path}.".startswith(f"{error.name}."):
            raise  # the module was found, but something that it imports was not
        raise KgrecError(
            f"model {name!r}: no module {error.name!r} was found; install it or put its folder on PYTHONPATH"
        ) from None


def _registered(registered: list[Plugin]) -> type[Recommender]:
    """The class that a package registers. Raises KgrecError with the package's name if it cannot be imported."""
    plugin = registered[0]
    if len(registered) > 1:
        packages = " and ".join(f"{one} ({one.path})" for one in registered)
        raise KgrecError(
            f"model {plugin.name!r} is registered by several packages, {packages}; uninstall one, or use a dotted path"
        )
    module, _, wanted = plugin.path.partition(":")
    try:
        return _model_of(importlib.import_module(module), wanted)
    except (Exception, SystemExit) as error:  # whatever another package's file does, the other models still work
        kind = "" if isinstance(error, KgrecError) else f"{type(error).__name__}: "
        raise KgrecError(
            f"model {plugin.name!r} of the package {plugin} ({plugin.path}) cannot be imported: {kind}{error}; update "
            "or reinstall that package, or uninstall it"
        ) from error


def build(name: str, graph: Graph, config: object = None) -> Recommender:
    """Builds a model from the training graph. config: its settings, or a mapping of some of them; None: the defaults.
    A model that uses another model gets it from here.

    Raises UnknownName for an unknown model or setting, KgrecError for a value of the wrong type and for features that
    the model does not take.
    """
    import torch

    from kgrec.memory import sizes_checked
    from kgrec.nn.node_features import require_features
    from kgrec.settings import configure  # pydantic takes its time to come

    kind = find(name)
    if config is None or isinstance(config, Mapping):
        config = configure(kind.Config, config or {}, what=f"model {name!r}")
    elif not isinstance(config, kind.Config):
        raise KgrecError(
            f"model {name!r} takes settings of the class {kind.Config.__name__}, not {type(config).__name__}"
        )
    try:
        with sizes_checked(f"model {name!r} with these settings"):
            model = kind(graph, config)
    except torch.linalg.LinAlgError as error:
        raise KgrecError(
            f"model {name!r} cannot be solved in 32-bit numbers with these settings ({error}); raise the "
            "regularisation (l2), and set other weights closer to 1"
        ) from error
    require_features(model, config, f"model {name!r}")
    return model


def _model_of(module: ModuleType, wanted: str) -> type[Recommender]:
    from kgrec.model import Recommender

    def is_model(value: Any) -> bool:
        return isinstance(value, type) and issubclass(value, Recommender) and not inspect.isabstract(value)

    models = {key: value for key, value in vars(module).items() if is_model(value)}
    own = {key: value for key, value in models.items() if value.__module__ == module.__name__}
    if wanted and wanted not in models:
        raise unknown_name("model", wanted, models, f"in module {module.__name__}")
    if not wanted and len(own) != 1:
        found = f"several: {some(own)}; name one as {module.__name__}:{next(iter(own))}" if own else "none"
        raise KgrecError(
            f"module {module.__name__} must define exactly one model, a concrete subclass of "
            f"kgrec.model.Recommender; it has {found}"
        )
    model: type[Recommender] = models[wanted] if wanted else next(iter(own.values()))
    if not dataclasses.is_dataclass(getattr(model, "Config", None)):
        raise KgrecError(
            f"model {model.__name__} of module {module.__name__} has no settings class; set its class variable Config "
            "to a class decorated with kgrec.settings.settings"
        )
    return model

"""Settings: frozen, validated dataclasses beside the code that reads them."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args, get_type_hints

import pydantic
import pydantic_core
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from kgrec._deprecation import deprecated
from kgrec.errors import KgrecError, nearest, unknown_name
from kgrec.field_texts import field_texts
from kgrec.field_types import plain_type

T = TypeVar("T")

#: How often something is repeated in a model, one after the other, such as layers
Depth = Annotated[int, pydantic.Field(gt=0, le=1000)]
MOST = 2**31 - 1  #: the greatest whole number that a setting may be
MOST_OF_SEEDS = 2**63 - 1  #: the greatest seed, as torch and NumPy take it

_IS_STORED: ContextVar[bool] = ContextVar("_IS_STORED", default=False)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def settings(cls: type[T]) -> type[T]:
    """Class decorator: a frozen dataclass whose fields are validated, and converted from text, when it is made.

    A class variable `FORMER` maps former names of fields to the present ones; the former are accepted with a warning.

    >>> @settings
    ... class Config:
    ...     dim: int = 64
    >>> configure(Config, {"dim": "32"}).dim
    32
    """
    config = ConfigDict(extra="forbid", arbitrary_types_allowed=True, allow_inf_nan=False)
    _check_whole_numbers(cls)
    made = cast(type[T], pydantic_dataclass(frozen=True, config=config)(cls))
    if former_names(made):
        setattr(made, "__init__", _with_former_names(made.__init__))  # noqa: B010 - type checkers refuse an assignment
    return made


def _check_whole_numbers(cls: type) -> None:
    """Let the class refuse whole numbers beyond MOST, and seeds beyond MOST_OF_SEEDS, after its fields are read."""
    own = vars(cls).get("__post_init__")

    def __post_init__(self: Any, *args: Any) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            most = MOST_OF_SEEDS if field.name.endswith("seed") else MOST
            for one in value if isinstance(value, tuple | list) else (value,):
                if isinstance(one, int) and abs(one) > most:
                    raise ValueError(f"{field.name} is {shortened(one)}, at most {most:,} is wanted")
        if own is not None:
            own(self, *args)

    if own is not None or not hasattr(cls, "__post_init__"):
        setattr(cls, "__post_init__", __post_init__)  # noqa: B010 - type checkers refuse an assignment


def must_be_at_most(name: str, value: int, most: int) -> None:
    """Raise KgrecError for a whole number that is more. name: what it is called, for the message."""
    if value > most:
        raise KgrecError(f"{name} is {shortened(value)}, at most {most:,} is wanted")


def shortened(number: int | str) -> str:
    """A number's digits, of many the first alone.

    >>> shortened(12), shortened(10**40)
    ('12', '100000000000000000... (41 digits)')
    """
    text = str(number)
    return text if len(text) <= 24 else f"{text[:18]}... ({len(text)} digits)"


def _with_former_names(init: Any) -> Any:
    @functools.wraps(init)
    def __init__(self: Any, *args: Any, **values: Any) -> None:
        init(self, *args, **present_names(type(self), values))

    return __init__


def former_names(kind: type) -> dict[str, str]:
    """The former names of a settings class's fields and those of its bases, with the present ones; a name that is that
    of a field again is none."""
    fields = {field.name for field in dataclasses.fields(kind)}
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found |= vars(base).get("FORMER", {})
    return {former: present for former, present in found.items() if former not in fields and present in fields}


def present_names(kind: type, values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The values by the present names of the fields. Warns of a former one, but not inside `stored_settings`; raises
    KgrecError where a field stands there by both of its names."""
    where = where or f"of {kind.__name__}"
    former, found = former_names(kind), dict[str, Any]()
    for name, value in values.items():
        present = former.get(name, name)
        if present != name and present in values:
            raise KgrecError(
                f"{name!r} {where} is the former name of {present!r}, and both are set; leave {name!r} out"
            )
        if present != name and not _IS_STORED.get():
            deprecated(f"the setting {name!r} {where}", f"{present!r}")
        found[present] = value
    return found


@contextmanager
def stored_settings() -> Iterator[None]:
    """While this lasts, former names of fields are no reason for a warning: they are of something that was kept."""
    token = _IS_STORED.set(True)
    try:
        yield
    finally:
        _IS_STORED.reset(token)


def configure(kind: type[T], values: Mapping[str, Any], what: str = "") -> T:
    """Make settings of a class decorated with `settings` from names and values, texts among them.

    Raises UnknownName for a field that is not there, KgrecError for a value of the wrong type; both name what would do.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    where = f"of {what or kind.__name__}"
    values = present_names(kind, values, where)
    for name in values:
        if name not in fields:
            raise unknown_name("field", name, fields, where)
    hints = get_type_hints(kind, include_extras=True)
    try:
        return kind(**{name: _from_text(value, hints[name]) for name, value in values.items()})
    except pydantic.ValidationError as error:
        lines = []
        for problem in error.errors():
            name = str(problem["loc"][0]) if problem["loc"] else ""
            if name not in fields:  # said by the class itself, of several fields together
                lines.append(f"{where.removeprefix('of ')}: {problem['msg']}")
                continue
            wanted = (
                _near_choice(values.get(name), hints[name])
                if problem["type"] == "literal_error"  # its message lists the choices
                else f"; the field is {_said(hints[name])}"
            )
            lines.append(f"{name}={values.get(name)!r} {where}: {problem['msg']}{wanted}")
        raise KgrecError("\n".join(dict.fromkeys(lines))) from error


def _said(hint: Any) -> str:
    """A type and its bounds in plain words."""
    plain = plain_type(hint)
    return ", ".join(filter(None, [plain.words, plain.bounds]))


def _near_choice(value: Any, hint: Any) -> str:
    """Which of a field's choices a wrong value may have meant, to add to a message."""
    near = nearest(str(value), map(str, plain_type(hint).choices))
    return f"; did you mean {near!r}?" if near else ""


def _from_text(value: Any, hint: Any) -> Any:
    if isinstance(value, str) and value.lower() in ("none", "null") and value not in plain_type(hint).choices:
        return None
    if isinstance(value, str) and value.startswith("[") and value.endswith("]"):
        return [part.strip() for part in value[1:-1].split(",") if part.strip()]
    return value


def assigned(value: Any) -> str:
    """The value of a field as --set takes it.

    >>> [assigned(value) for value in (None, True, [64, 32], 0.001, "bpr", "")]
    ['none', 'true', '[64,32]', '0.001', 'bpr', '""']
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return f"[{','.join(map(assigned, value))}]"
    if isinstance(value, float):
        return f"{value:g}"
    return str(value) or '""'


def parse_assignments(texts: Iterable[str]) -> dict[str, str]:
    """`["dim=64", "training.epochs=5"]` as a dict. Raises KgrecError for one without `=`.

    >>> parse_assignments(["dim=64"])
    {'dim': '64'}
    """
    result = {}
    for text in texts:
        name, equals, value = text.partition("=")
        if not equals:
            raise KgrecError(f"--set {text!r} is not of the form field=value")
        result[name.strip()] = value.strip()
    return result


# ---------------------------------------------------------------------- what the fields are


@dataclasses.dataclass(frozen=True)
class FieldInfo:
    """What one field of a settings class is, to be shown."""

    name: str  #: as `--set` takes it
    type: str  #: in plain words, such as "whole number"
    default: Any  #: plain JSON data; None also where there is none
    required: bool  #: whether it has no default
    choices: tuple[Any, ...]  #: the values that it may have; (): any of its type
    bounds: str  #: such as "more than 0"; "": none
    meaning: str  #: the text beside the field, one line; "": there is none
    inherited_from: str | None  #: the name of the class that defines it; None: the one that was asked about

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**dataclasses.asdict(self), "choices": list(self.choices)}


def describe(kind: type) -> list[FieldInfo]:
    """The fields of a settings class, in its order. Their meaning is `Field(description=...)`, or else the `#:` comment
    beside the field, in the class itself or in the base that defines it.

    >>> from kgrec.training.config import AdversarialConfig
    >>> [weight] = [field for field in describe(AdversarialConfig) if field.name == "weight"]
    >>> weight.type, weight.bounds, weight.default
    ('number', 'at least 0', 0.0)
    """
    hints, texts = get_type_hints(kind, include_extras=True), _texts(kind)
    found = []
    for field in dataclasses.fields(kind):
        plain = plain_type(hints[field.name])
        home = next(base for base in kind.__mro__ if field.name in vars(base).get("__annotations__", {}))
        default, required = _default(field)
        found.append(
            FieldInfo(
                name=field.name,
                type=plain.words,
                default=default,
                required=required,
                choices=plain.choices,
                bounds=plain.bounds,
                meaning=_description(field, hints[field.name]) or texts.get(field.name, ""),
                inherited_from=None if home is kind else home.__name__,
            )
        )
    return found


def _texts(kind: type) -> dict[str, str]:
    """The comments beside the fields of a class and its bases, those of the class itself first."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            try:
                found |= field_texts(textwrap.dedent(inspect.getsource(base)), base.__name__)
            except (OSError, TypeError):  # made without a file, at a prompt
                continue
    return found


def _description(field: dataclasses.Field[Any], hint: Any) -> str:
    for one in (field.default, *get_args(hint)[1:]):
        if isinstance(one, pydantic.fields.FieldInfo) and one.description:
            return one.description
    return ""


def _default(field: dataclasses.Field[Any]) -> tuple[Any, bool]:
    """A field's default as plain data, and whether there is none."""
    value: Any = field.default
    factory: Any = field.default_factory
    if isinstance(value, pydantic.fields.FieldInfo):
        value, factory = value.default, value.default_factory or dataclasses.MISSING
        value = dataclasses.MISSING if value is pydantic_core.PydanticUndefined else value
    if value is dataclasses.MISSING and factory is dataclasses.MISSING:
        return None, True
    return pydantic_core.to_jsonable_python(factory() if value is dataclasses.MISSING else value), False

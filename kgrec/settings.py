"""Settings: frozen, validated dataclasses next to the code that reads them."""

from __future__ import annotations

import ast
import dataclasses
import functools
import inspect
import textwrap
import tokenize
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any, TypeVar, cast, dataclass_transform, get_args, get_type_hints

import pydantic
import pydantic_core
from pydantic import ConfigDict
from pydantic.dataclasses import dataclass as pydantic_dataclass

from kgrec._deprecation import deprecated
from kgrec.errors import KgrecError, nearest, unknown_name
from kgrec.field_texts import class_texts, classes, comments, field_texts
from kgrec.field_types import plain_type

T = TypeVar("T")

#: Number of repeated parts in a model, such as layers
Depth = Annotated[int, pydantic.Field(gt=0, le=1000)]
MOST = 2**31 - 1  #: the largest whole number that a setting may have
MOST_OF_SEEDS = 2**63 - 1  #: the largest seed that torch and NumPy take

_IS_STORED: ContextVar[bool] = ContextVar("_IS_STORED", default=False)


@dataclass_transform(frozen_default=True, field_specifiers=(dataclasses.field, pydantic.Field))
def settings(cls: type[T]) -> type[T]:
    """Class decorator: makes a frozen dataclass whose fields are validated, and converted from text, when it is
    created.

    A class variable `FORMER` maps former names of fields to the present ones; former names give a warning.

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
    """Make the class refuse whole numbers above MOST, and seeds above MOST_OF_SEEDS, after its fields are set."""
    own = vars(cls).get("__post_init__")

    def __post_init__(self: Any, *args: Any) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            most = MOST_OF_SEEDS if field.name.endswith("seed") else MOST
            for one in value if isinstance(value, tuple | list) else (value,):
                if isinstance(one, int) and abs(one) > most:
                    raise ValueError(f"{field.name} is {shortened(one)}, but must be at most {most:,}")
        if own is not None:
            own(self, *args)

    if own is not None or not hasattr(cls, "__post_init__"):
        setattr(cls, "__post_init__", __post_init__)  # noqa: B010 - type checkers refuse an assignment


def must_be_at_most(name: str, value: int, most: int) -> None:
    """Raise KgrecError for a whole number greater than `most`. name: its name, for the message."""
    if value > most:
        raise KgrecError(f"{name} is {shortened(value)}, but must be at most {most:,}")


def shortened(number: int | str) -> str:
    """The digits of a number; only the first if there are many.

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
    """Former name -> present name of the fields of a settings class and its bases. Names that are in use again are left
    out."""
    fields = {field.name for field in dataclasses.fields(kind)}
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        found |= vars(base).get("FORMER", {})
    return {former: present for former, present in found.items() if former not in fields and present in fields}


def present_names(kind: type, values: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The values under the present names of the fields. Warns of a former name, but not inside `stored_settings`.
    Raises KgrecError if both names of a field are set."""
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
    """Inside this context, former names of fields give no warning, because they come from a stored file."""
    token = _IS_STORED.set(True)
    try:
        yield
    finally:
        _IS_STORED.reset(token)


@functools.lru_cache(maxsize=256)
def _hints(kind: type) -> Mapping[str, Any]:
    """The types of a settings class's fields, by name."""
    return get_type_hints(kind, include_extras=True)


def configure(kind: type[T], values: Mapping[str, Any], what: str = "") -> T:
    """Make an object of a settings class from names and values. Values may be texts.

    Raises UnknownName for an unknown field, KgrecError for a wrong value; both messages say what is allowed.
    """
    fields = {field.name: field for field in dataclasses.fields(kind)}  # type: ignore[arg-type]
    where = f"of {what or kind.__name__}"
    values = present_names(kind, values, where)
    for name in values:
        if name not in fields:
            raise unknown_name("field", name, fields, where)
    hints = _hints(kind)  # type: ignore[arg-type]
    try:
        return kind(**{name: _from_text(value, hints[name]) for name, value in values.items()})
    except pydantic.ValidationError as error:
        lines = []
        for problem in error.errors():
            name = str(problem["loc"][0]) if problem["loc"] else ""
            if name not in fields:  # raised by the class itself, about several fields
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
    """A hint for a message: the choice of a field that is most similar to a wrong value."""
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
            raise KgrecError(f"--set {text!r}: write it as field=value, such as dim=64")
        result[name.strip()] = value.strip()
    return result


# ---------------------------------------------------------------------- what the fields are


@dataclasses.dataclass(frozen=True)
class FieldInfo:
    """The description of one field of a settings class."""

    name: str  #: as in `--set NAME=VALUE`
    type: str  #: in plain words, such as "whole number"
    default: Any  #: as plain JSON data; None also if there is no default
    required: bool  #: whether it has no default
    choices: tuple[Any, ...]  #: the allowed values; () if any value of the type is allowed
    bounds: str  #: such as "more than 0"; "" if there are none
    meaning: str  #: the comment beside the field, on one line; "" if there is none
    inherited_from: str | None  #: the name of the base class that defines it; None: the class itself does

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {**dataclasses.asdict(self), "choices": list(self.choices)}


def describe(kind: type) -> list[FieldInfo]:
    """The fields of a settings class, in order. The meaning of a field is its `Field(description=...)`, or else the
    `#:` comment beside it, in the class or in the base class that defines it.

    >>> from kgrec.training.config import AdversarialConfig
    >>> [weight] = [field for field in describe(AdversarialConfig) if field.name == "weight"]
    >>> weight.type, weight.bounds, weight.default
    ('number', 'at least 0', 0.0)
    """
    hints, texts = _hints(kind), _texts(kind)
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
    """The comments beside the fields of a class and its bases; those of the class itself take precedence."""
    found: dict[str, str] = {}
    for base in reversed(kind.__mro__):
        if dataclasses.is_dataclass(base):
            try:
                found |= _texts_of(base)
            except (OSError, TypeError, SyntaxError, UnicodeDecodeError):  # there is no source file, as at a prompt, or
                continue  # it was altered since
    return found


def _texts_of(kind: type) -> dict[str, str]:
    file = inspect.getsourcefile(kind)
    if file is None or "." in kind.__qualname__ or not Path(file).is_file():  # within a function, or in a notebook
        return field_texts(textwrap.dedent(inspect.getsource(kind)), kind.__name__)
    return _file_texts(file).get(kind.__name__, {})


@functools.cache
def _file_texts(file: str) -> dict[str, dict[str, str]]:
    """The comments beside fields of all classes of a file, which is read once for all of them."""
    with tokenize.open(file) as lines:
        source = lines.read()
    said = comments(source)
    return {name: class_texts(one, said) for name, one in classes(ast.parse(source)).items()} if said else {}


def _description(field: dataclasses.Field[Any], hint: Any) -> str:
    for one in (field.default, *get_args(hint)[1:]):
        if isinstance(one, pydantic.fields.FieldInfo) and one.description:
            return one.description
    return ""


def _default(field: dataclasses.Field[Any]) -> tuple[Any, bool]:
    """A field's default as plain data, and whether the field is required."""
    value: Any = field.default
    factory: Any = field.default_factory
    if isinstance(value, pydantic.fields.FieldInfo):
        value, factory = value.default, value.default_factory or dataclasses.MISSING
        value = dataclasses.MISSING if value is pydantic_core.PydanticUndefined else value
    if value is dataclasses.MISSING and factory is dataclasses.MISSING:
        return None, True
    return pydantic_core.to_jsonable_python(factory() if value is dataclasses.MISSING else value), False

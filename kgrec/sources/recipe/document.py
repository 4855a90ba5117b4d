"""Reads a YAML file into a checked settings object, and explains what is wrong with it."""

from __future__ import annotations

import types
from collections.abc import Mapping
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from kgrec.errors import BadData, Fault, KgrecError
from kgrec.printable import is_no_unicode
from kgrec.sources.limits import DEEPEST, LARGEST_RECIPE, MOST_NODES

Model = TypeVar("Model", bound=BaseModel)

MOST_FAULTS = 200  #: problems of one recipe that are listed


class _UniqueKeys(yaml.SafeLoader):
    """A YAML loader that refuses a key given twice (YAML would silently drop the first), and limits nesting and
    aliases."""

    def __init__(self, stream: str) -> None:
        super().__init__(stream)
        self._sizes: dict[int, tuple[int, int]] = {}  # id of a node -> number of values in it, and their depth
        self._num_nodes = 0

    def fetch_flow_collection_start(self, token_class: Any) -> None:
        """Begin a list or mapping in brackets."""
        self._refuse_deeper(self.flow_level)
        super().fetch_flow_collection_start(token_class)

    def add_indent(self, column: int) -> bool:
        """Begin a list or mapping by indentation."""
        self._refuse_deeper(len(self.indents))
        return super().add_indent(column)

    def _refuse_deeper(self, depth: int) -> None:
        if depth >= DEEPEST:
            raise yaml.scanner.ScannerError(None, None, f"nested more than {DEEPEST} levels deep", self.get_mark())

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        """The next node. Raises ComposerError where it has too many values, counting each repeat by an alias."""
        is_alias = self.check_event(yaml.AliasEvent)
        mark = self.peek_event().start_mark
        node = super().compose_node(parent, index)
        if is_alias and id(node) not in self._sizes:
            raise yaml.composer.ComposerError(None, None, "an alias is used inside the value that it names", mark)
        if node is None or is_alias:
            return node
        self._num_nodes += 1
        children = [] if isinstance(node, yaml.ScalarNode) else node.value
        parts = [child for pair in children for child in (pair if isinstance(pair, tuple) else (pair,))]
        sizes = [self._sizes[id(part)] for part in parts]
        size, depth = 1 + sum(size for size, _ in sizes), 1 + max((depth for _, depth in sizes), default=0)
        if depth > DEEPEST:
            raise yaml.composer.ComposerError(None, None, f"nested more than {DEEPEST} levels deep", node.start_mark)
        if max(size, self._num_nodes) > MOST_NODES:
            what = f"more than {MOST_NODES:,} values, counting those that aliases repeat"
            raise yaml.composer.ComposerError(None, None, what, node.start_mark)
        self._sizes[id(node)] = size, depth
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """A mapping whose keys are names or numbers, each used once."""
        if not isinstance(node, yaml.MappingNode):  # as `!!set x` has none
            raise yaml.constructor.ConstructorError(
                None, None, f"found a {node.id}, where a mapping (`key: value`) is needed", node.start_mark
            )
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            line = key_node.start_mark.line + 1
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            if not isinstance(key_node, yaml.ScalarNode):
                kind = "a list" if isinstance(key_node, yaml.SequenceNode) else "a mapping"
                raise yaml.constructor.ConstructorError(
                    None, None, f"a key is {kind}; a key must be a name", key_node.start_mark
                )
            key = self.construct_object(key_node, deep=True)
            if key in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key {key!r} is already in line {seen[key]}; keep one of them", key_node.start_mark
                )
            seen[key] = line
        return dict(super().construct_mapping(node, deep))

    def construct_scalar(self, node: yaml.ScalarNode | yaml.MappingNode) -> Any:
        """A value as text. Raises ConstructorError for half a surrogate pair, such as `\\ud800`: it is no character."""
        value = super().construct_scalar(node)
        if isinstance(value, str) and is_no_unicode(value):
            what = f"the text {value!r} has half a pair of surrogates, which stands for no character"
            raise yaml.constructor.ConstructorError(None, None, what, node.start_mark)
        return value

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        """A value. Raises ConstructorError with the line for an impossible date, or a number with too many digits."""
        try:
            return super().construct_object(node, deep)
        except (ValueError, OverflowError, TypeError, AttributeError, LookupError) as error:
            raise yaml.constructor.ConstructorError(None, None, str(error), node.start_mark) from error


def read_yaml(path: Path) -> Any:
    """The contents of a YAML file. Raises KgrecError where the file is missing, is not text, is not valid YAML (with
    the line), or would use too much memory or time: too large, nested too deeply, or repeated by aliases."""
    try:
        if path.stat().st_size > LARGEST_RECIPE:
            what = f"has {path.stat().st_size:,} bytes; the limit is {LARGEST_RECIPE:,} bytes; shorten it"
            raise KgrecError(Fault(what, str(path), kind="too large", file_is="subject"))
        return yaml.load(path.read_text(encoding="utf-8-sig"), _UniqueKeys)
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else None
        what = f"{error.problem or error.context}; fix the YAML"
        raise KgrecError(what, file=str(path), row=line, kind="bad recipe") from error
    except UnicodeDecodeError as error:
        what = f"is not UTF-8 text (see byte {error.start + 1}); save it as UTF-8"
        raise KgrecError(Fault(what, str(path), kind="bad recipe", file_is="subject")) from error
    except (yaml.YAMLError, RecursionError, ValueError, TypeError) as error:
        what = f"is not valid YAML: {error}"
        raise KgrecError(Fault(what, str(path), kind="bad recipe", file_is="subject")) from error
    except OSError as error:
        what = f"cannot be read: {error.strerror or error}"
        raise KgrecError(Fault(what, str(path), kind="missing file", file_is="subject")) from error


def load_document(path: Path, model: type[Model]) -> Model:
    """Read a YAML file as a `model`. Raises KgrecError as `read_yaml` does, and BadData with a line for each wrong key
    or value."""
    if not path.is_file():
        what = "does not exist; give the path of a recipe, such as graphs/ml-1m.yaml"
        raise KgrecError(Fault(what, str(path), kind="missing file", file_is="subject"))
    data = read_yaml(path)
    if not isinstance(data, dict):
        found = {"NoneType": "nothing", "list": "a list", "str": "a text"}.get(type(data).__name__, "a single value")
        what = f"contains {found}; a recipe is a mapping with keys such as `name` and `interactions`"
        raise KgrecError(Fault(what, str(path), kind="bad recipe", file_is="subject"))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise BadData(fault._replace(file=str(path)) for fault in explain(error, model)) from error
    except KgrecError as error:
        raise KgrecError(str(error), file=str(path), value=error.value, kind="bad recipe") from error


def explain(error: ValidationError, model: type[BaseModel]) -> list[Fault]:
    """The first MOST_FAULTS problems: where each one is, what was found, and what was expected."""
    return [
        Fault(f"{_place(e['loc'])}: {_what(e, model)}", value=_value(e), kind="bad recipe")
        for e in error.errors()[:MOST_FAULTS]
    ]


def _place(loc: tuple[int | str, ...]) -> str:
    place = ""
    for part in loc:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return place or "the recipe"


def _value(error: Any) -> str | None:
    """What was found: an unknown key, or a value."""
    if error["type"] == "extra_forbidden":
        return str(error["loc"][-1])
    found = error["input"]
    return None if error["type"] == "missing" or isinstance(found, Mapping | list) else str(found)


def _what(error: Any, model: type[BaseModel]) -> str:
    if error["type"] == "extra_forbidden":
        known = _keys_at(model, error["loc"][:-1])
        near = get_close_matches(str(error["loc"][-1]), known, n=1)
        hint = f"did you mean {near[0]!r}? There are: " if near else "there are: "
        return f"no key {error['loc'][-1]!r}; {hint}{', '.join(known)}"
    if error["type"] == "missing":
        return "is missing"
    message = error["msg"].removeprefix("Value error, ")
    found = error["input"]
    if error["type"] == "value_error" or isinstance(found, Mapping | list):
        return message
    if error["type"] == "list_type":
        return f"found {found!r} where a list is needed; write [{found!r}]"
    return f"found {found!r}; {message[0].lower()}{message[1:]}"


def _keys_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """The keys that are allowed at a place in the recipe."""
    here: list[Any] = [model]
    for part in loc:
        here = [inner for kind in here for inner in _inside(kind, part)]
    return list(dict.fromkeys(key for kind in here if _is_model(kind) for key in kind.model_fields))


def _inside(kind: Any, part: int | str) -> list[Any]:
    if _is_model(kind):
        field = kind.model_fields.get(part)
        return _members(field.annotation) if field else []
    arguments = get_args(kind)
    return _members(arguments[-1]) if get_origin(kind) in (list, dict, tuple) and arguments else []


def _members(annotation: Any) -> list[Any]:
    if get_origin(annotation) is Annotated:
        return _members(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        return [member for option in get_args(annotation) for member in _members(option)]
    return [annotation]


def _is_model(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)

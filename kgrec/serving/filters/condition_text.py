"""The text of a condition, such as `brand=Acme|Umbra` or `price<20`: a name, an operator and values."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass

from kgrec.errors import KgrecError

#: The operators by how they are written
OPERATORS = {"=": "=", "==": "=", "!=": "!=", "<": "<", "<=": "<=", ">": ">", ">=": ">="}
ORDERS = ("<", "<=", ">", ">=")  #: those that compare numbers or dates
FORM = "NAME=VALUE, NAME!=VALUE, or NAME<NUMBER with <, <=, > or >="

_OPERATOR = re.compile("!=|==|<=|>=|<|>|=")
_BAR = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True)
class Condition:
    """What is asked of an item: one of its values under a name, held against some others.

    >>> Condition.readings("of_brand/location = Sweden|Norway")
    [Condition(name='of_brand/location', operator='=', values=('Sweden', 'Norway'))]
    """

    name: str  #: of a column, a relation or a node type, or a path of these
    operator: str  #: one of OPERATORS
    values: tuple[str, ...]  #: of which one is to be met, one at least

    @staticmethod
    def readings(text: str) -> list[Condition]:
        """What a text may mean, the likeliest first: a name may have operators in it, as a column `a<b` has.

        Raises KgrecError where it has no operator, no name or no value, or several values to be less than.
        """
        found, wrong = [], ""
        for name, operator, value in _splits(text):
            values = tuple(one.strip().replace(r"\|", "|") for one in _BAR.split(value))
            if not name:
                wrong = wrong or "it has no name"
            elif not all(values):
                wrong = wrong or "it has no value" if len(values) == 1 else "one of its values is empty"
            elif operator in ORDERS and len(values) > 1:
                wrong = wrong or f"`{operator}` takes one number"
            else:
                found.append(Condition(name, operator, values))
        if not found:
            raise KgrecError(f"{wrong or 'it has no operator'}; {FORM} is wanted", value=text)
        return found


def _splits(text: str) -> Iterator[tuple[str, str, str]]:
    """Name, operator and value for each operator in a text, from the left."""
    for found in _OPERATOR.finditer(text):
        yield text[: found.start()].strip(), OPERATORS[found.group()], text[found.end() :].strip()


def conditions(texts: object, name: str) -> tuple[str, ...]:
    """Conditions as somebody asks for them: a text is one, a list of texts is several, and None is none.

    name: of the option. Raises KgrecError for anything else."""
    if texts is None:
        return ()
    if isinstance(texts, str):
        return (texts,)
    if not isinstance(texts, Collection) or not all(isinstance(text, str) for text in texts):
        raise KgrecError(f"{name} is {texts!r}; a condition such as 'brand=Acme', or a list of these is wanted")
    return tuple(texts)

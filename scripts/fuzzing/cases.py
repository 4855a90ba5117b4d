"""Makes a case from its number: its kind and its inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from random import Random

from fuzzing.bases import Bases
from fuzzing.case import Case
from fuzzing.folder_cases import checkpoints, graphs, runs
from fuzzing.input_cases import histories, options, pairs, settings_files, users
from fuzzing.source_cases import answers, rdf, recipes, tables

#: Kind -> its share in percent, and the function that makes a case of it
KINDS: Mapping[str, tuple[int, Callable[[Random, Bases], Case]]] = {
    "recipes": (14, recipes),
    "tables": (19, tables),
    "rdf": (14, rdf),
    "answers": (5, answers),
    "graphs": (13, graphs),
    "runs": (14, runs),
    "checkpoints": (2, checkpoints),
    "histories": (6, histories),
    "pairs": (4, pairs),
    "users": (2, users),
    "settings": (2, settings_files),
    "options": (5, options),
}
#: The kinds of a hundred consecutive numbers; so a number has the same kind whichever kinds are chosen
ORDER = [kind for kind, (share, _) in KINDS.items() for _ in range(share)]
Random(0).shuffle(ORDER)


def kind_of(number: int) -> str:
    """The kind of a case."""
    return ORDER[number % len(ORDER)]


def case_of(number: int, seed: int, bases: Bases) -> Case:
    """The case of a number. It is always the same for the same seed and version of kgrec."""
    _, make = KINDS[kind_of(number)]
    return make(Random(f"{seed} {number}"), bases)


def numbers(first: int, count: int, kinds: set[str]) -> Iterator[int]:
    """The numbers of a range whose kinds are among the given ones."""
    return (number for number in range(first, first + count) if kind_of(number) in kinds)

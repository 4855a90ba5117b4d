"""Answers to several who ask at once, of whom each may fail alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

from kgrec.errors import KgrecError

Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


def in_halves(
    answer: Callable[[Sequence[Asked]], Sequence[Answer]],
    asked: Sequence[Asked],
    failed: Callable[[Asked, KgrecError], Sequence[Answer]],
) -> Sequence[Answer]:
    """The answers to all who ask, in their order. Where together they fail, those of each half apart, so that few who
    fail cost few more answers. failed: the answers to one who fails.

    >>> def tenth_of(numbers: Sequence[int]) -> list[int]:
    ...     if any(number % 10 for number in numbers):
    ...         raise KgrecError("not a multiple of 10")
    ...     return [number // 10 for number in numbers]
    >>> in_halves(tenth_of, [10, 20, 35, 40], lambda number, error: [str(error)])
    [1, 2, 'not a multiple of 10', 4]
    """
    try:
        return answer(asked)
    except KgrecError as error:
        if len(asked) == 1:
            return failed(asked[0], error)
    half = len(asked) // 2
    return [found for part in (asked[:half], asked[half:]) for found in in_halves(answer, part, failed)]

"""Shards: the users of a long list, divided so that several processes answer one part each."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from kgrec.errors import KgrecError

WANTED = "a share such as 1/4 is wanted, the first of four"
DIGITS = 15  #: of a number at most


@dataclass(frozen=True)
class Shard:
    """One of several parts of users, of equal size but for one user, in the order in which one process answers them. So
    the parts one after the other are what one process gives.

    >>> [Shard(number, 4).rows(10) for number in (1, 2, 3, 4)]
    [range(0, 2), range(2, 5), range(5, 7), range(7, 10)]

    Raises KgrecError for a shard that cannot be."""

    number: int  #: from 1
    of: int  #: how many there are

    def __post_init__(self) -> None:
        for value in (self.number, self.of):
            if isinstance(value, bool) or not isinstance(value, int):
                raise KgrecError(f"shard {self.number!r}/{self.of!r}: {WANTED}")
        if self.of < 1:
            raise KgrecError(f"shard {self}: there are no {self.of} shards; {WANTED}")
        if not 1 <= self.number <= self.of:
            raise KgrecError(f"shard {self}: shards go from 1/{self.of} to {self.of}/{self.of}")

    @staticmethod
    def read(value: Any) -> Shard:
        """A shard as it is, as a text such as "1/4" or as two numbers. Raises KgrecError.

        >>> Shard.read("1/4")
        Shard(number=1, of=4)
        """
        match value:
            case Shard():
                return value
            case str():
                found = re.fullmatch(rf"\s*(-?[0-9]{{1,{DIGITS}}})\s*/\s*(-?[0-9]{{1,{DIGITS}}})\s*", value)
                if found:
                    return Shard(int(found[1]), int(found[2]))
            case (number, of):
                return Shard(number, of)
        raise KgrecError(f"shard {value!r}: {WANTED}")

    def rows(self, count: int) -> range:
        """Which of so many users are of this shard; none, where there are fewer users than shards."""
        return range((self.number - 1) * count // self.of, self.number * count // self.of)

    def __str__(self) -> str:
        return f"{self.number}/{self.of}"

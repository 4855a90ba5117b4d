"""Whether an evaluation tells a model when each list is wanted."""

from __future__ import annotations

from typing import Literal, get_args

from kgrec.errors import unknown_name

#: `unknown`: models are not told. `edge`: they are told the time of the user's first held-out edge, so a model may
#: learn what is taken after a pause, or in the same second; results of both must not be compared
Now = Literal["unknown", "edge"]
NOWS: tuple[Now, ...] = get_args(Now)


def check_now(choice: str) -> Now:
    """The choice itself. Raises UnknownName if it is none."""
    for known in NOWS:
        if choice == known:
            return known
    raise unknown_name("now", choice, NOWS)

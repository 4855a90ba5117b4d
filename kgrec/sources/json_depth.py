"""Checks how deep JSON is nested, byte by byte."""

from __future__ import annotations

import numba
import numpy as np


@numba.njit(nogil=True, cache=True)
def json_fits(text: np.ndarray, state: np.ndarray, deepest: int) -> bool:
    """Whether lists and objects are nested at most `deepest` levels. state: of `JsonDepth`, kept from block to
    block."""
    depth, in_string, escaped, line = state
    for byte in text:
        if byte == 10:
            line += 1
        elif in_string:
            if escaped:
                escaped = 0
            elif byte == 92:
                escaped = 1
            elif byte == 34:
                in_string = 0
        elif byte == 34:
            in_string = 1
        elif byte == 91 or byte == 123:
            depth += 1
            if depth > deepest:
                break
        elif byte == 93 or byte == 125:
            depth -= 1
    state[0], state[1], state[2], state[3] = depth, in_string, escaped, line
    return depth <= deepest

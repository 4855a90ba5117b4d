"""The random order of items with equal scores, without torch."""

from __future__ import annotations

import numpy as np

LEAST = np.iinfo(np.int64).min


def tie_numbers(seed: int, num_nodes: int) -> np.ndarray:
    """Random numbers of users and of items: int64 [2, N + 1], the last for no node. Items with equal scores are in the
    order of a user's number times the item's, modulo 2^64.

    They are those of `torch.randint` over all of int64 with a generator of this seed: two draws of the Mersenne Twister
    each, the upper 32 bits first.

    >>> tie_numbers(0, 1)[0].tolist()
    [900450186894289455, 3969543146641149120]
    """
    drawn = np.random.RandomState(seed & 0xFFFFFFFF).bytes(16 * (num_nodes + 1))
    upper, lower = np.frombuffer(drawn, "<u4").astype(np.uint64).reshape(-1, 2).T
    whole = upper << np.uint64(32) | lower
    whole[whole == np.iinfo(np.uint64).max] = 0  # the largest number is left out, by remainder
    return (whole ^ np.uint64(1 << 63)).view(np.int64).reshape(2, num_nodes + 1)

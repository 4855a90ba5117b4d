"""Compiled neighbor sampling on the CPU. It loops over the nodes to expand; its cost does not depend on the size of the
graph."""

from __future__ import annotations

import numba
import numpy as np

GOLDEN = np.uint64(0x9E3779B97F4A7C15)
SCANNED = 32  #: up to this many draws are compared one by one; more are looked up in a hash table
LIST = 8  #: a row with excluded edges is read whole if it has at most this many times the edges wanted

Rows = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]  #: a CSR's ptr, edge and other; and time by edge


@numba.njit(nogil=True, cache=True)
def _below(state: np.ndarray, bound: int) -> np.int64:
    """A uniform random number in 0 .. bound - 1, bound < 2 ** 31 (splitmix64; Lemire 2019). Advances `state` [1]."""
    limit = np.uint64(bound)
    while True:
        state[0] += GOLDEN
        word = state[0]
        word = (word ^ (word >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        word = (word ^ (word >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        product = ((word ^ (word >> np.uint64(31))) >> np.uint64(32)) * limit
        rest = product & np.uint64(0xFFFFFFFF)
        if rest >= limit or rest >= (np.uint64(1 << 32) - limit) % limit:
            return np.int64(product >> np.uint64(32))


@numba.njit(nogil=True, cache=True)
def _slot(table: np.ndarray, key: int) -> np.int64:
    """The row of a key in a hash table, or the free row where it belongs (open addressing). table: int64 [2 ** n, 2],
    pairs of a key, -1 if the row is free, and a value."""
    mask = np.int64(len(table) - 1)
    word = np.uint64(key) * GOLDEN
    place = np.int64(word ^ (word >> np.uint64(32))) & mask
    while table[place, 0] != key and table[place, 0] != -1:
        place = (place + 1) & mask
    return place


@numba.njit(nogil=True, cache=True)
def _table(number: int) -> np.ndarray:
    """An empty hash table for `number` keys: int64 [at least twice as many, 2]."""
    size = 16
    while size < 2 * number:
        size *= 2
    return np.full((size, 2), -1, np.int64)


@numba.njit(nogil=True, cache=True)
def _doubled(table: np.ndarray) -> np.ndarray:
    larger = _table(len(table))
    for row in range(len(table)):
        if table[row, 0] != -1:
            slot = _slot(larger, table[row, 0])
            for column in range(table.shape[1]):
                larger[slot, column] = table[row, column]
    return larger


@numba.njit(nogil=True, cache=True)
def _grown(values: np.ndarray, number: int) -> np.ndarray:
    """The same values in an array with room for at least `number`."""
    if number <= len(values):
        return values
    larger = np.empty(max(number, 2 * len(values)), values.dtype)
    for n in range(len(values)):  # numba takes a second longer to compile an assignment to a slice
        larger[n] = values[n]
    return larger


@numba.njit(nogil=True, cache=True)
def _is_new(position: int, drawn: np.ndarray, count: int, seen: np.ndarray) -> bool:
    """Whether a position has not been drawn yet. If so, it is added to the table, because it will be the next draw."""
    if len(seen) == 0:
        known = False
        for earlier in range(count):
            known |= drawn[earlier] == position
        return not known
    place = _slot(seen, position)
    if seen[place, 0] == position:
        return False
    seen[place, 0] = position
    return True


@numba.njit(nogil=True, cache=True)
def _draw(degree: int, want: int, drawn: np.ndarray, seen: np.ndarray, state: np.ndarray) -> None:
    """Draws `want` of `degree` positions; all sets are equally likely (Floyd's algorithm, Bentley and Floyd 1987)."""
    for count in range(want):
        last = degree - want + count
        position = _below(state, last + 1)
        if not _is_new(position, drawn, count, seen):
            position = last
            _is_new(position, drawn, count, seen)
        drawn[count] = position
    seen[:] = -1


@numba.njit(nogil=True, cache=True)
def _is_among(values: np.ndarray, value: int) -> bool:
    """Whether a value is among these, which are ascending."""
    place = np.searchsorted(values, value)
    return bool(place < len(values) and values[place] == value)


@numba.njit(nogil=True, cache=True)
def _draw_allowed(
    sources: np.ndarray,
    targets: np.ndarray,
    want: int,
    excluded: np.ndarray,
    drawn: np.ndarray,
    seen: np.ndarray,
    state: np.ndarray,
) -> np.ndarray:
    """Draws up to `want` positions of a row whose other end is not excluded; all sets are equally likely. -1: all.

    The other ends are first those of edges into the node, then those of edges out of it. From a long row, positions are
    drawn until enough are allowed. If that takes too many draws, the row is read whole and drawn from again. This
    depends only on how many are excluded, not on which allowed ones were drawn, so sets stay equally likely.
    """
    inward, degree = len(sources), len(sources) + len(targets)
    if want >= 0 and degree > LIST * want:
        count = 0
        for _ in range(LIST * want):
            position = _below(state, degree)
            other = sources[position] if position < inward else targets[position - inward]
            if not _is_among(excluded, other) and _is_new(position, drawn, count, seen):
                drawn[count] = position
                count += 1
                if count == want:
                    break
        seen[:] = -1
        if count == want:
            return drawn[:want]
    allowed, count = np.empty(degree, np.int64), 0
    for position in range(degree):
        other = sources[position] if position < inward else targets[position - inward]
        if not _is_among(excluded, other):
            allowed[count] = position
            count += 1
    if want < 0 or count <= want:
        return allowed[:count]
    _draw(count, want, drawn, seen, state)
    return allowed[drawn[:want]]


@numba.njit(nogil=True, cache=True)
def _degree_before(rows: Rows, node: int, cut: int) -> int:
    """How many edges in a node's row are before a time. Rows are in order of time."""
    low, high = rows[0][node], rows[0][node + 1]
    while low < high:
        middle = (low + high) >> 1
        if rows[3][rows[1][middle]] < cut:
            low = middle + 1
        else:
            high = middle
    return low - rows[0][node]


@numba.njit(nogil=True, cache=True)
def _degrees(rows: Rows, node: np.ndarray, example: np.ndarray, cut: np.ndarray) -> np.ndarray:
    """How many edges in each node's row may be used: int64 like `node`; 0 if there are no rows."""
    degree = np.zeros(len(node), np.int64)
    if len(rows[0]) == 0:
        return degree
    for row in range(len(node)):
        if len(cut):
            degree[row] = _degree_before(rows, node[row], cut[example[row]])
        else:
            degree[row] = rows[0][node[row] + 1] - rows[0][node[row]]
    return degree


@numba.njit(nogil=True, cache=True)
def _part(ptr: np.ndarray, position: int) -> int:
    """The part that contains a position: the last r with ptr[r] <= position."""
    low, high = 0, len(ptr) - 1
    while high - low > 1:
        middle = (low + high) >> 1
        if ptr[middle] <= position:
            low = middle
        else:
            high = middle
    return low


@numba.njit(nogil=True, cache=True)
def neighborhood(
    seed: np.ndarray,
    seed_example: np.ndarray,
    cut: np.ndarray,
    fanouts: np.ndarray,
    inward: Rows,
    outward: Rows,
    relation_ptr: np.ndarray,
    excluded_ptr: np.ndarray,
    excluded: np.ndarray,
    seed_of_draws: int,
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """The k-hop neighborhoods of seeds: for every node first reached at hop h, fanouts[h] of its neighbors.

    seed: int64 [S], distinct. seed_example: int64 [S], ascending, if every example has its own neighborhood; int64 [0]
    if all share one. cut: int64 [examples], only edges before this time; [0]: all edges. inward, outward: the edges in
    rows by their targets and by their sources; an outward ptr of [0]: inward only. The excluded neighbors of seed s are
    excluded[excluded_ptr[s] : excluded_ptr[s + 1]], ascending.

    Returns node int64 [n], example int64 [n] or [0], the number of nodes after each hop int64 [k + 1], the number of
    edges after each hop int64 [k], ptr int64 [targets + 1], and for each edge the row of its source, its relation and
    its position, int64 [e].
    """
    state = np.array([seed_of_draws], np.uint64)
    apart, both = len(seed_example) > 0, len(outward[0]) > 0
    num_nodes, num_edges = len(inward[0]), len(inward[1])
    node, example, table = seed.copy(), seed_example.copy(), _table(4 * len(seed))
    number = len(seed)
    for local in range(number):
        key = example[local] * num_nodes + node[local] if apart else node[local]
        place = _slot(table, key)
        table[place, 0], table[place, 1] = key, local
    nodes_after, edges_after = np.empty(len(fanouts) + 1, np.int64), np.empty(len(fanouts), np.int64)
    nodes_after[0] = number
    ptr = np.zeros(1, np.int64)
    source = relation = edge = np.empty(0, np.int64)
    first = taken = 0
    for hop in range(len(fanouts)):
        fanout, last = fanouts[hop], number
        in_degree = _degrees(inward, node[first:last], example[first:last], cut)
        out_degree = _degrees(outward, node[first:last], example[first:last], cut)
        most = widest = 0  # most edges of the hop; most edges of a node that is sampled
        for row in range(last - first):
            degree = in_degree[row] + out_degree[row]
            count = degree if fanout < 0 else min(degree, fanout)
            most += count
            widest = max(widest, count if fanout >= 0 else 0)
        source, relation, edge = (
            _grown(source, taken + most),
            _grown(relation, taken + most),
            _grown(edge, taken + most),
        )
        ptr, node = _grown(ptr, last + 1), _grown(node, number + most)
        if apart:
            example = _grown(example, number + most)
        drawn = np.empty(widest, np.int64)
        seen = _table(widest) if widest > SCANNED else np.empty((0, 2), np.int64)
        for row in range(last - first):
            target = first + row
            n, degree = node[target], in_degree[row] + out_degree[row]
            in_start, out_start = inward[0][n], outward[0][n] if both else 0
            banned = excluded[excluded_ptr[target] : excluded_ptr[target + 1]] if hop == 0 else excluded[:0]
            positions, count, whole = drawn, fanout, False
            if len(banned):
                sources = inward[2][in_start : in_start + in_degree[row]]
                targets = outward[2][out_start : out_start + out_degree[row]]
                positions = _draw_allowed(sources, targets, fanout, banned, drawn, seen, state)
                count = len(positions)
            elif fanout < 0 or degree <= fanout:
                count, whole = degree, True
            else:
                _draw(degree, fanout, drawn, seen, state)
            for draw in range(count):
                position = draw if whole else positions[draw]
                if position < in_degree[row]:
                    at = inward[1][in_start + position]
                    neighbor = np.int64(inward[2][in_start + position])
                else:
                    at = num_edges + outward[1][out_start + position - in_degree[row]]
                    neighbor = np.int64(outward[2][out_start + position - in_degree[row]])
                key = example[target] * num_nodes + neighbor if apart else neighbor
                place = _slot(table, key)
                if table[place, 0] == -1:
                    if 2 * number >= len(table):
                        table = _doubled(table)
                        place = _slot(table, key)
                    table[place, 0], table[place, 1], node[number] = key, number, neighbor
                    if apart:
                        example[number] = example[target]
                    number += 1
                source[taken], edge[taken], relation[taken] = table[place, 1], at, _part(relation_ptr, at)
                taken += 1
            ptr[target + 1] = taken
        nodes_after[hop + 1], edges_after[hop], first = number, taken, last
    return (
        node[:number],
        example[: number if apart else 0],
        nodes_after,
        edges_after,
        ptr[: first + 1],
        source[:taken],
        relation[:taken],
        edge[:taken],
    )

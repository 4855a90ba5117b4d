"""Paths from a user over what the user had to an item, along facts or over other users."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from kgrec.paths.path_links import PathLinks, ranges

Through = Literal["facts", "users"]
MOST = 1 << 20  #: paths of one length that are looked at; of more, those over the nodes of fewest links


@dataclass(frozen=True, eq=False)
class FoundPaths:
    """n paths of one length L from a user to an item."""

    node: np.ndarray  #: int64 [n, L + 1], flat: the user, an item that the user had, ..., the item
    link: np.ndarray  #: int64 [n, L], from each node to the next

    def __len__(self) -> int:
        return len(self.node)

    @property
    def length(self) -> int:
        """L, the number of links."""
        return self.link.shape[1]

    def rows(self, index: np.ndarray) -> FoundPaths:
        """Some of them."""
        return FoundPaths(self.node[index], self.link[index])


def find_paths(links: PathLinks, user: int, item: int, through: Through = "facts") -> list[FoundPaths]:
    """All paths from a user to an item, by length. user, item: flat.

    Each begins with something that the user had, other than the item. through: "facts" finds items that are a fact away
    from the item (length 2) or share a node with it (3), and where there are none those whose nodes are a fact apart
    (4); "users" finds items that share another user with it (3). No node is on a path twice.
    """
    had, step = _had(links, user, item)
    place = np.full(links.graph.num_nodes, -1)
    place[had] = np.arange(len(had))  # a node that is had in several ways has several steps; see `_begun`
    if not len(had):
        return []
    if through == "users":
        return _begun(links, user, had, step, _over(links, user, item, place, behaviours=True))
    direct = _next_to(links, item, place)
    shared = _over(links, user, item, place, behaviours=False)
    found = [part for part in (direct, shared) if len(part)] or [_further(links, user, item, place)]
    return [one for part in found for one in _begun(links, user, had, step, part)]


def _had(links: PathLinks, user: int, item: int) -> tuple[np.ndarray, np.ndarray]:
    """What the user had apart from the item, and by which link: int64 [n] each."""
    _, other, link = links.around(np.array([user]))
    kept = links.is_behaviour[links.relation[link]] & (links.head[link] == user) & (other != item)
    return other[kept], link[kept]


def _facts_of(links: PathLinks, node: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The facts of nodes [n]: the position in `node`, the other end and the link of each; int64 [m]."""
    which, other, link = links.around(node)
    kept = ~links.is_behaviour[links.relation[link]]
    return which[kept], other[kept], link[kept]


def _next_to(links: PathLinks, item: int, place: np.ndarray) -> FoundPaths:
    """Items that were had and are a fact away from the item: paths without the user."""
    _, other, link = _facts_of(links, np.array([item]))
    kept = (place[other] >= 0) & (other != item)
    return FoundPaths(np.stack([other[kept], np.full(kept.sum(), item)], 1), link[kept][:, None])


def _over(links: PathLinks, user: int, item: int, place: np.ndarray, *, behaviours: bool) -> FoundPaths:
    """Items that were had and share a node with the item, by facts, or a user by what was done: without the user."""
    around = links.around if behaviours else lambda node: _facts_of(links, node)
    _, middle, last = around(np.array([item]))
    kept = (middle != user) & (middle != item) & (links.is_behaviour[links.relation[last]] == behaviours)
    middle, last = middle[kept], last[kept]
    order = np.argsort(links.degree(middle), kind="stable")  # those of fewest links first
    middle, last = middle[order], last[order]
    middle, last = _few(links, middle, last)
    which, first, link = around(middle)
    kept = (place[first] >= 0) & (links.is_behaviour[links.relation[link]] == behaviours)
    kept &= (first != item) & (first != middle[which])
    which, first, link = which[kept], first[kept], link[kept]
    node = np.stack([first, middle[which], np.full(len(first), item)], 1)
    return FoundPaths(node, np.stack([link, last[which]], 1))


def _few(links: PathLinks, middle: np.ndarray, last: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The first nodes whose links are not too many together."""
    most = int(np.searchsorted(np.cumsum(links.degree(middle)), MOST * 8, side="right")) + 1
    return middle[:most], last[:most]


def _further(links: PathLinks, user: int, item: int, place: np.ndarray) -> FoundPaths:
    """Items that were had, of which a node is a fact away from a node of the item: without the user."""
    users = links.graph.range(links.graph.target[0])
    _, near, last = _facts_of(links, np.array([item]))
    which, middle, between = _facts_of(links, near)
    kept = (middle != item) & (middle != near[which]) & ~((middle >= users.start) & (middle < users.stop))
    which, middle, between = which[kept], middle[kept], between[kept]
    order = np.argsort(links.degree(middle), kind="stable")
    order = order[: int(np.searchsorted(np.cumsum(links.degree(middle[order])), MOST * 4, side="right")) + 1]
    which, middle, between = which[order], middle[order], between[order]
    of, first, link = _facts_of(links, middle)
    kept = (place[first] >= 0) & (first != item) & (first != middle[of]) & (first != near[which[of]])
    of, first, link = of[kept], first[kept], link[kept]
    back = which[of]
    node = np.stack([first, middle[of], near[back], np.full(len(first), item)], 1)
    return FoundPaths(node, np.stack([link, between[of], last[back]], 1))


def _begun(links: PathLinks, user: int, had: np.ndarray, step: np.ndarray, found: FoundPaths) -> list[FoundPaths]:
    """The same paths from the user on: one for each way in which the first item was had."""
    if not len(found):
        return []
    order = np.argsort(had, kind="stable")
    had, step = had[order], step[order]
    first = found.node[:, 0]
    which, place = ranges_of(had, first)
    node = np.concatenate([np.full((len(which), 1), user), found.node[which]], 1)
    link = np.concatenate([step[place][:, None], found.link[which]], 1)
    return [FoundPaths(node[:MOST], link[:MOST])]


def ranges_of(ascending: np.ndarray, value: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where each value stands in ascending values: the position in `value`, and each place of it; int64 [m].

    >>> ranges_of(np.array([1, 1, 4]), np.array([4, 1]))
    (array([0, 1, 1]), array([2, 0, 1]))
    """
    return ranges(np.searchsorted(ascending, value, side="left"), np.searchsorted(ascending, value, side="right"))

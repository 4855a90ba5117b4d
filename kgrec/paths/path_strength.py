"""How strong a path is by the model's weights along it, and random paths that are like it."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from kgrec.model import Recommender
from kgrec.nn.masked_edges import EdgeMasking, Masks
from kgrec.paths.path_links import PathLinks
from kgrec.paths.path_search import FoundPaths

TWICE = 1.0  #: how far apart degrees may be that are alike, as a logarithm to the base of 2


def masks_of(links: PathLinks, found: FoundPaths) -> Masks:
    """For each path the edges that state its links, in whichever direction."""
    return masks_of_links(links, list(found.link))


def masks_of_links(links: PathLinks, sets: Sequence[np.ndarray]) -> Masks:
    """For each set of links the edges that state them."""
    size = [len(one) for one in sets]
    which, edge = links.edges(np.concatenate([np.empty(0, np.int64), *sets]))
    number = np.bincount(np.repeat(np.arange(len(sets)), size)[which], minlength=len(sets))
    ptr = np.concatenate([[0], np.cumsum(number)])
    device = links.graph.device
    return Masks(torch.from_numpy(ptr).to(device), torch.from_numpy(edge).to(device))


def strengths(
    links: PathLinks, found: FoundPaths, masking: EdgeMasking, history: Tensor, steps: Tensor | None
) -> np.ndarray:
    """How much of what both ends of a path receive comes along it from one node: float64 [n].

    For each node of a path, the product of the weights of the links from this node to the user and from it to the item;
    the sum of these products over the nodes from which the model's layers reach both ends. history, steps: of the user,
    LongTensor and FloatTensor [L], the weight of each step where the model reads steps and weighs them."""
    link, place = np.unique(found.link, return_inverse=True)
    which, edge = links.edges(link)
    device = links.graph.device
    at = torch.from_numpy(edge).to(device)
    tail, head = (share.double().cpu().numpy() for share in masking.shares(at))
    forth = links.graph.head[at].cpu().numpy() == links.head[link[which]]
    sides = np.zeros((2, len(link)))
    np.maximum.at(sides[0], which, np.where(forth, tail, head))
    np.maximum.at(sides[1], which, np.where(forth, head, tail))
    into_tail, into_head = (side[place].reshape(found.link.shape) for side in sides)
    onwards = links.head[found.link] == found.node[:, :-1]
    to_next, to_last = np.where(onwards, into_tail, into_head), np.where(onwards, into_head, into_tail)
    begins = 0 if masking.propagates_interactions else 1
    if begins and steps is not None:
        weight = np.zeros(links.graph.num_nodes + 1)
        np.maximum.at(weight, history.cpu().numpy(), steps.double().cpu().numpy())
        to_last[:, 0] = weight[found.node[:, 1]]
    total = np.zeros(len(found))
    for middle in range(begins, found.length + 1):
        if middle - begins <= masking.hops and found.length - middle <= masking.hops:
            total += to_last[:, :middle].prod(1) * to_next[:, middle:].prod(1)
    return total


def first_falls(links: PathLinks, found: FoundPaths, of_edges: Callable[[Tensor], Tensor]) -> np.ndarray:
    """By how much the score falls without each path, to first order: the sum of the falls without its edges, float64
    [n]. of_edges: as `EdgeMasking.slopes` has it."""
    link, place = np.unique(found.link, return_inverse=True)
    which, edge = links.edges(link)
    falls = of_edges(torch.from_numpy(edge).to(links.graph.device)).double().cpu().numpy()
    total = np.bincount(which, falls, minlength=len(link))
    summed: np.ndarray = total[place].reshape(found.link.shape).sum(1)
    return summed


def weighed_by_item(links: PathLinks, found: FoundPaths, model: Recommender) -> np.ndarray:
    """The same for a model whose weights hold the facts: by how much the item that was had counts for the item's score
    (its weight, or the cosine of their vectors), and of those with the same item by how few links the nodes between
    have: float64 [n]."""
    first = links.graph.range(links.graph.target[2]).start
    had, item = found.node[:, 1] - first, found.node[:, -1] - first
    parts = model.linear_scorer()
    if parts is not None and parts.kind == "history_times_weights":
        tie = parts.tensors["weight"][torch.from_numpy(had), torch.from_numpy(item)].double().cpu().numpy()
    elif parts is not None and parts.kind == "history_neighbors":
        neighbor, similarity = parts.tensors["neighbor"], parts.tensors["similarity"]
        is_had = neighbor[torch.from_numpy(item)] == torch.from_numpy(had).to(neighbor.device).unsqueeze(1)
        tie = (similarity[torch.from_numpy(item)] * is_had).sum(1).double().cpu().numpy()
    else:
        vectors = model.node_vectors(links.graph.target[2])
        if vectors is None:
            tie = np.zeros(len(found))
        else:
            one, other = vectors[torch.from_numpy(had)], vectors[torch.from_numpy(item)]
            tie = torch.nn.functional.cosine_similarity(one.double(), other.double(), dim=1).cpu().numpy()
    between = links.degree(found.node[:, 2:-1]).sum(1) if found.length > 2 else np.ones(len(found))
    return np.asarray(tie + 1e-9 / between)


def matched(links: PathLinks, found: FoundPaths, chosen: int, number: int, rng: np.random.Generator) -> np.ndarray:
    """Up to so many random paths of the same user, item, length and relations as one of them, whose nodes between the
    ends have a similar number of links: rows, int64.

    They are drawn from those whose nodes have at most twice and at least half as many links; where there is none, they
    are the most similar ones."""
    relation = links.relation[found.link]
    onwards = links.head[found.link] == found.node[:, :-1]
    alike = (relation == relation[chosen]).all(1) & (onwards == onwards[chosen]).all(1)
    alike[chosen] = False
    row = np.flatnonzero(alike)
    if not len(row):
        return row
    size = np.log2(links.degree(found.node[row, 1:-1]))
    apart = np.abs(size - np.log2(links.degree(found.node[chosen, 1:-1])))
    near = row[(apart <= TWICE).all(1)]
    if not len(near):
        near = row[np.argsort(apart.sum(1), kind="stable")[:number]]
    return rng.permutation(near)[:number]

"""The fitted vectors of new users are kept for those who ask again, and are those that a fit gives."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from torch import Tensor

from kgrec import models
from kgrec.graph.features import Feature
from kgrec.graph.schema import FeatureSchema
from kgrec.model import scoring
from kgrec.nn.added_rows import Holder
from kgrec.nn.fold_in import Folding, NewUsersEdges
from kgrec.run import Run
from kgrec.serving.kept_vectors import KeptVectors, keys_of
from kgrec.serving.list_options import ListOptions
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted

ONE = Holder()


class Sums(Folding):
    """A user's vector is the sum of the items, and how many users were fitted is counted."""

    fitted = 0

    def vectors(self, edges: NewUsersEdges) -> Mapping[Holder, Tensor]:
        self.fitted += len(edges)
        sums = torch.zeros(len(edges)).index_add_(0, edges.row, edges.item.float())
        return {ONE: torch.stack([sums, -sums], 1)}


def edges_of(*users: list[int], weight: list[float] | None = None, **profile: Feature) -> NewUsersEdges:
    ptr = torch.tensor([0, *(len(items) for items in users)]).cumsum(0)
    item = torch.tensor([item for items in users for item in items])
    return NewUsersEdges(ptr, item, None if weight is None else torch.tensor(weight), profile)


def test_only_those_who_are_not_there_are_fitted() -> None:
    folding = Sums()
    kept = KeptVectors(folding, users=3)
    assert kept.vectors(edges_of([1, 2], [5]))[ONE].tolist() == [[3, -3], [5, -5]]
    assert kept.vectors(edges_of([7], [5], [1, 2]))[ONE].tolist() == [[7, -7], [5, -5], [3, -3]]
    assert folding.fitted == 3
    kept.vectors(edges_of([5], [1, 2]))
    kept.vectors(edges_of([8]))  # [7], who was asked for longest ago, makes room
    assert kept.vectors(edges_of([5], [1, 2], [8]))[ONE][:, 0].tolist() == [5, 3, 8]
    assert folding.fitted == 4 and len(kept.place) == 3
    assert kept.vectors(edges_of([7]))[ONE].tolist() == [[7, -7]]
    assert folding.fitted == 5


def test_what_is_kept_is_bounded_by_numbers_too() -> None:
    kept = KeptVectors(Sums(), users=100, numbers=7)  # three users of two numbers
    for item in range(9):
        kept.vectors(edges_of([item]))
    assert len(kept.place) == 3


def test_all_that_makes_a_vector_tells_users_apart() -> None:
    number = Feature(FeatureSchema("numeric"), torch.tensor([1.0]))
    other = Feature(FeatureSchema("numeric"), torch.tensor([2.0]))
    tags = [
        Feature(FeatureSchema("multi", ("a", "b")), torch.tensor(codes), torch.tensor([0, len(codes)]))
        for codes in ([0], [0, 1])
    ]
    users = [
        edges_of([1, 2]),
        edges_of([2, 1]),
        edges_of([1]),
        edges_of([]),
        edges_of([1, 2], weight=[1.0, 1.0]),
        edges_of([1, 2], weight=[1.0, 2.0]),
        edges_of([1, 2], age=number),
        edges_of([1, 2], age=other),
        edges_of([1, 2], size=number),
        edges_of([1, 2], tags=tags[0]),
        edges_of([1, 2], tags=tags[1]),
    ]
    keys = [key for user in users for key in keys_of(user)]
    assert len({*keys}) == len(users)
    assert [key for user in users for key in keys_of(user)] == keys


@pytest.mark.parametrize("name", ["mf", "kgat", "transe"])
def test_lists_are_the_same_with_and_without_what_is_kept(name: str, planted, monkeypatch) -> None:
    torch.manual_seed(7)
    model = models.build(name, planted)
    with scoring(model):
        model.refresh()
    run = Run(name, model, planted)
    service, options = Service(run), ListOptions(k=5)
    asked = [Wanted(history=[f"i{n}", f"i{n + 3}"], options=options) for n in range(4)]
    first = [service.recommend([one])[0] for one in asked]
    monkeypatch.setattr(type(run.folding), "vectors", lambda *_: pytest.fail("fitted again"))
    again = [service.recommend([one])[0] for one in asked]
    assert [one.items for one in again] == [one.items for one in first]
    assert [one.scores for one in again] == [pytest.approx(one.scores, abs=1e-5) for one in first]
    together = service.recommend([asked[2], Wanted("u1", options=options), asked[0]])
    assert [together[0].items, together[2].items] == [first[2].items, first[0].items]
    monkeypatch.undo()
    assert len(service.folding.place) == 4
    service.forget_new_users()
    assert not service.folding.place
    grown = Wanted(history=["i0", "i3", "i7"], options=options)
    assert service.recommend([grown])[0].items == run.recommend(history=["i0", "i3", "i7"], k=5)["item"]


def test_threads_share_what_is_kept() -> None:
    kept = KeptVectors(Sums(), users=5)

    def ask(number: int) -> bool:
        users = [[number % 7], [number % 11, 3]]
        found = kept.vectors(edges_of(*users))[ONE][:, 0].tolist()
        return found == [sum(items) for items in users]

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(ask, range(400)))

"""Predictions of pairs of which each user is known, or new by a history or a profile, and each fails alone."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, field

import torch

from kgrec.errors import KgrecError
from kgrec.nn.fold_in import Folding
from kgrec.serving.in_halves import in_halves
from kgrec.serving.list_options import ListOptions
from kgrec.serving.new_users import NewUsers, side_by_side
from kgrec.serving.prediction import WHENEVER, predict, predict_new
from kgrec.serving.wanted import Wanted
from kgrec.training.trained_model import TrainedModel

Answers = list[float | KgrecError]


@dataclass
class Asked:
    """A new user, and what is asked of this one."""

    new: NewUsers
    places: list[int] = field(default_factory=list)  #: of the pairs
    items: list[int] = field(default_factory=list)  #: their items, local numbers


def predicted_pairs(
    run: TrainedModel,
    pairs: Sequence[tuple[str | Wanted, str]],
    folding: Callable[[], Folding | None],
    fill_weights: bool,
    options: ListOptions = WHENEVER,
) -> Answers:
    """See `Service.predict`. folding: gives what makes vectors of new users; fill_weights: as `Wanted.read` has it.
    options: their `now` says when the predictions are wanted."""
    source, _, target = run.graph.target
    answers: Answers = [0.0] * len(pairs)
    known, new = list[tuple[int, str, str]](), dict[int, Asked | KgrecError]()
    for place, (user, item) in enumerate(pairs):
        try:
            (number,) = run.graph.vocabulary[target].numbers([item], what=target).tolist()
            if isinstance(user, Wanted) and user.is_new and _is_read(user, folding()):
                asked = new[id(user)] if id(user) in new else new.setdefault(id(user), _read(run, user, fill_weights))
                if isinstance(asked, KgrecError):
                    raise asked
                asked.places.append(place)
                asked.items.append(number)
                continue
            name = user if isinstance(user, str) else user.user
            if name is None:
                raise KgrecError("a pair names no user; an id, or a Wanted with a history or a profile is wanted")
            run.graph.vocabulary[source].numbers([name], what=source)
            known.append((place, name, item))
        except KgrecError as error:
            answers[place] = error
    if known:
        found = _of_known(run, [(user, item) for _, user, item in known], options)
        for (place, _, _), value in zip(known, found):
            answers[place] = value
    for group in _alike([one for one in new.values() if isinstance(one, Asked)]):
        for place, answer in _values(run, group, folding(), options):
            answers[place] = answer
    return answers


def _of_known(
    run: TrainedModel, pairs: Sequence[tuple[str, str]], options: ListOptions
) -> Sequence[float | KgrecError]:
    """The predictions of pairs of known users; an error for one that fails, as where `now` is before the user's last
    step."""

    def predicted(pairs: Sequence[tuple[str, str]]) -> Answers:
        users, items = zip(*pairs)
        return [*predict(run, users, items, options)]

    return in_halves(predicted, pairs, lambda _, error: [error])


def _is_read(user: Wanted, folding: Folding | None) -> bool:
    """Whether a model can use what is said of a user who is none of the run's."""
    return folding is None or folding.how is not None or (user.profile is not None and bool(folding.columns))


def _read(run: TrainedModel, user: Wanted, fill_weights: bool) -> Asked | KgrecError:
    try:
        return Asked(user.read(run, fill_weights))
    except KgrecError as error:
        return error


def _alike(asked: Sequence[Asked]) -> list[list[Asked]]:
    """Users who can be asked about together."""
    groups: dict[Hashable, list[Asked]] = {}
    for place, one in enumerate(asked):
        key = (one.new.has_weights, len(one.new.item) > 0, place if one.new.profile else None)
        groups.setdefault(key, []).append(one)
    return [*groups.values()]


def _values(
    run: TrainedModel, asked: Sequence[Asked], folding: Folding | None, options: ListOptions
) -> Sequence[tuple[int, float | KgrecError]]:
    """The place and the prediction of each pair of some users; an error for those of a user for whom it fails."""

    def predicted(group: Sequence[Asked]) -> list[tuple[int, float | KgrecError]]:
        row = torch.tensor([row for row, one in enumerate(group) for _ in one.items])
        item = torch.tensor([item for one in group for item in one.items])
        values = predict_new(run, side_by_side(run, [one.new for one in group]), row, item, folding, options).tolist()
        return list(zip((place for one in group for place in one.places), values))

    return in_halves(predicted, asked, lambda one, error: [(place, error) for place in one.places])

"""When a list is wanted, for models that read it: the moment that a request says, or the clock's."""

from __future__ import annotations

import time
from dataclasses import replace

import torch

from kgrec.errors import KgrecError
from kgrec.model import Query
from kgrec.serving.list_options import ListOptions
from kgrec.serving.moments import moment, said
from kgrec.training.trained_model import TrainedModel


def at_request_time(run: TrainedModel, query: Query, options: ListOptions) -> Query:
    """The same query, wanted at `options.now`, or by the clock where that is None; as it is for models that do not read
    `now`. Where the clock is before a user's last step, the step's time stands for it.

    Raises KgrecError for an `options.now` before the last step of a history."""
    if not run.model.reads_now:
        return query
    now = torch.full_like(query.user, int(time.time()) if options.now is None else moment(options.now))
    if query.time is None or not query.time.shape[1]:
        return replace(query, now=now)
    last = query.time.amax(1)
    early = (now < last).nonzero().squeeze(1)
    if len(early) and options.now is not None:
        row = int(early[0])
        user, users = int(query.user[row]), run.graph.range(run.graph.target[0])
        who = run.graph.vocabulary[run.graph.target[0]].ids([user - users.start])[0] if user in users else "a new user"
        raise KgrecError(
            f"now is {said(int(now[row]))}, before the last step of {who} at {said(int(last[row]))}; say a later "
            "moment, or leave out the steps after it"
        )
    return replace(query, now=torch.maximum(now, last))


def notes_on_now(run: TrainedModel, options: ListOptions) -> tuple[str, ...]:
    """What is said where a request says when, and the model does not read it."""
    if options.now is None or run.model.reads_now:
        return ()
    return (f"now has no effect: {run.name} does not read when a list is wanted",)

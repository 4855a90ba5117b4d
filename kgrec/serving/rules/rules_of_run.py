"""The rules that are asked for, made ready for a run once and kept."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from kgrec.evaluation.ranking import as_edges
from kgrec.graph import Graph
from kgrec.serving.filters.allowed_items import allowed_items
from kgrec.serving.list_options import ListOptions
from kgrec.serving.rules.item_rules import ShownPairs
from kgrec.serving.rules.rule_settings import Rules
from kgrec.serving.rules.ruled_lists import ListRules
from kgrec.training.trained_model import TrainedModel

KEPT = 16  #: rules that a run keeps


def list_rules(run: TrainedModel, options: ListOptions) -> ListRules | None:
    """What lists are chosen by; None where the first that are ranked are the lists. Raises as `ListRules`."""
    rules = options.rules
    if not isinstance(rules, Rules) or not rules.chooses:
        return None
    allowed = allowed_items(run, options)
    mask, k, skip_unknown = None if allowed is None else allowed.mask, int(options.k), options.skip_unknown
    key = rules.key, k, id(mask), skip_unknown  # what is kept holds the mask, so its id stays
    return run.made_once("list rules", key, lambda: ListRules(run, rules, k, mask, skip_unknown=skip_unknown), KEPT)


def depth_for(options: ListOptions) -> int:
    """Items of each user that are to be ranked."""
    return options.rules.depth_for(int(options.k)) if isinstance(options.rules, Rules) else int(options.k)


def shown_pairs(run: TrainedModel, options: ListOptions) -> ShownPairs | None:
    """What users were shown already, where that is asked for. Raises as `ShownPairs.of`."""
    if not isinstance(options.rules, Rules):
        return None
    target = run.graph.target[2]
    return ShownPairs.of(options.rules, run.graph.vocabulary[target], target, skip_unknown=options.skip_unknown)


def with_shown(run: TrainedModel, options: ListOptions, exclude: Graph | None) -> Graph | None:
    """What is left out of the lists of known users: the pairs of `exclude`, and what they were shown already."""
    shown = shown_pairs(run, options)
    if shown is None:
        return exclude
    user, item = (torch.from_numpy(one) for one in shown.among(run.graph.vocabulary[run.graph.target[0]]))
    if exclude is not None:
        before = exclude.edge_index.cpu()
        user, item = torch.cat([before[0], user]), torch.cat([before[1], item])
    return as_edges(run.graph.only(run.graph.target).to("cpu"), user, item)


def shown_to(run: TrainedModel, options: ListOptions, names: Sequence[str]) -> tuple[Tensor, Tensor]:
    """Which of some new users, LongTensor [n], was shown which flat item, LongTensor [n]."""
    shown = shown_pairs(run, options)
    if shown is None:
        nothing = torch.empty(0, dtype=torch.long, device=run.device)
        return nothing, nothing
    number = {name: place for place, name in enumerate(names)}
    rows = np.array([number.get(name, -1) for name in shown.user.to_pylist()], np.int64)
    there, first = rows >= 0, run.graph.range(run.graph.target[2]).start
    return torch.from_numpy(rows[there]).to(run.device), torch.from_numpy(shown.item[there] + first).to(run.device)


def rule_notes(
    run: TrainedModel, options: ListOptions, new: Sequence[str] = (), *, check_users: bool = True
) -> list[str]:
    """What is to be said of how the rules were read. new: the names of new users.

    Raises UnknownName where `check_users` and `recently_shown` names users who are neither known nor new."""
    if not isinstance(options.rules, Rules):
        return []
    rules, shown, source = list_rules(run, options), shown_pairs(run, options), run.graph.target[0]
    if shown is not None and check_users:
        shown.check_users(run.graph.vocabulary[source], source, new, skip_unknown=options.skip_unknown)
    return [*([] if rules is None else rules.notes), *([shown.note] if shown is not None and shown.note else [])]

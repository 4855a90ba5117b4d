"""What rules cost and what they gain: lists of held-out users without and with them, side by side."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.evaluation.evaluation import check_metrics, mean_of
from kgrec.evaluation.list_quality import calibration_error, intra_list_diversity, novelty, rows_of, shares
from kgrec.evaluation.listed_items import ListedItems, item_facts
from kgrec.evaluation.metrics import Metric, metric_names, parse
from kgrec.evaluation.ranking import Ranker, scoring
from kgrec.evaluation.trial import Trial
from kgrec.graph import Graph
from kgrec.progress import counted
from kgrec.serving.filters.allowed_items import allowed_items
from kgrec.serving.list_options import ListOptions
from kgrec.serving.rules.likeness import FACTS, VECTORS, likeness, named_values
from kgrec.serving.rules.rule_settings import Rules
from kgrec.serving.rules.ruled_lists import Did
from kgrec.serving.rules.rules_of_run import depth_for, list_rules, rule_notes, with_shown
from kgrec.splits.split import Split
from kgrec.training.measuring import divided_for, same_ids
from kgrec.training.trained_model import TrainedModel

METRICS = ("ndcg@10", "recall@10", "coverage@10", "gini@10", "popularity@10")


def measure_rules(
    run: TrainedModel,
    graph: Graph | str | Path,
    rules: Rules | Mapping[str, Any] | str | Path,
    *,
    split: str | None = None,
    repeats: str | None = None,
    metrics: Sequence[str] | None = None,
    exclude: Sequence[str] | None = None,
    now: str | None = None,
) -> dict[str, Any]:
    """What rules cost in accuracy, and what they gain: lists of all users with held-out edges, without and with them.

    It is measured on valid, so that weights can be chosen by it; where a split has none, or the run was trained on it,
    on test, which `measured_on` says. metrics: of lists or the catalog; the greatest cut-off is the length of the
    lists. The other arguments are those of `measure`. Beside the metrics there are, at this length, `diversity` by
    facts and by vectors (where there are such), `calibration_error` and `novelty` (`kgrec.evaluation.list_quality`).

    Returns `model`, `protocol`, `measured_on`, `num_users`, `k`, `depth`, `by` (which relations diversity and
    calibration are measured by), the metrics `before` and `after`, those of each rule alone as `each` where there are
    several, `notes` and `evaluation_seconds`. Raises KgrecError for a run of facts, metrics of anything else than
    lists, and for rules that are wrong or leave nothing.
    """
    start, rules = time.perf_counter(), Rules.of(rules)
    if run.model.task == "link":
        raise KgrecError("rules are of users' lists, and this run was trained for task link, whose test is of facts")
    if not rules.names:
        raise KgrecError("there is no rule to measure; name one, such as diversity: {by: facts, weight: 0.3}")
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    same_ids(run, graph)
    excluded = run.exclude if exclude is None else metric_names(exclude)
    divided = divided_for(
        graph.to(run.device),
        run.model.task,
        split or run.split,
        None,
        repeats or run.repeats,
        excluded,
        all_edges=not run.clicks_alone,
        now=now or run.now,
    )
    study = _Study.of(run, divided, [parse(name) for name in metrics or METRICS])
    before = study.measured(None, rules)
    after = study.measured(rules, rules)
    alone = rules.names if len(rules.names) > 1 else []
    options = ListOptions(k=study.k, rules=rules)
    return {
        "model": run.name,
        "protocol": divided.named(refit=run.was_refit),
        "measured_on": study.part,
        "num_users": len(study.trial.user),
        "k": study.k,
        "depth": rules.depth_for(study.k),
        "by": study.by(rules),
        "before": before,
        "after": after,
        "each": {name: study.measured(rules.alone(name), rules) for name in alone},
        "notes": [*study.notes, *rule_notes(study.run, options, check_users=False)],
        "evaluation_seconds": time.perf_counter() - start,
    }


@dataclass(frozen=True, eq=False)
class _Study:
    """Held-out users, whose lists are made by this and by that."""

    run: TrainedModel  #: which knows the edges that come before those held out, and all facts
    trial: Trial
    part: str  #: of the split that is held out
    metrics: list[Metric]
    keep_seen: bool
    notes: list[str]

    @staticmethod
    def of(run: TrainedModel, divided: Split, metrics: list[Metric]) -> _Study:
        is_valid = divided.valid is not None and not run.was_refit
        notes = []
        if not is_valid:
            why = "the run was trained on valid" if run.was_refit else "this split holds out no valid edges"
            notes = [f"{why}, so the rules are measured on test; choose no weights by these figures"]
        known, held = (divided.train, divided.valid) if is_valid else (divided.train_valid, divided.test)
        assert held is not None
        trained = divided.trained_on(refit=run.was_refit)
        trial = Trial(
            run.model,
            known,
            held,
            None,
            2048,
            4_194_304,
            divided.repeats,
            "catalog",
            trained,
            divided.exclude,
            divided.now,
        )
        for metric in metrics:
            if metric.of not in ("lists", "catalog") or metric.depth > metric.k:  # ndcg_kgat looks below the list
                raise KgrecError(f"{metric.name} is no metric of lists of k items; ask for such as ndcg@10 or gini@10")
        check_metrics(run.model, trial.held, [metric.name for metric in metrics], known)
        ready = replace(run, graph=known, has_facts=True)
        return _Study(ready, trial, "valid" if is_valid else "test", metrics, divided.repeats == "recommend", notes)

    @property
    def k(self) -> int:
        """How long the lists are."""
        return min(max(metric.k for metric in self.metrics), len(self.items))

    @property
    def items(self) -> range:
        """Flat numbers of the items."""
        return self.run.graph.range(self.run.graph.target[2])

    def measured(self, rules: Rules | None, wanted: Rules) -> dict[str, float]:
        """The metrics of lists by rules, or without any. wanted: by whose relations diversity is measured."""
        item = self._lists(rules)
        return self._metrics(item) | self._qualities(item, wanted)

    def by(self, rules: Rules) -> dict[str, list[str]]:
        """By which relations lists are diverse and calibrated: those of the rules, and else what there is."""
        named = [rules.diversity.by] if rules.diversity else []
        facts = [FACTS] if self._has_facts else []
        with scoring(self.run.model):
            vectors = [VECTORS] if self.run.model.node_vectors(self.run.graph.target[2]) is not None else []
        of_names = [one for one in named if one != VECTORS]
        calibrated = [rules.calibration.by] if rules.calibration else [*of_names, *facts][:1]
        return {"diversity": list(dict.fromkeys([*named, *facts, *vectors])), "calibration": calibrated}

    @cached_property
    def _has_facts(self) -> bool:
        facts, items = self.run.graph.facts(), self.items
        ends = torch.cat([facts.head, facts.tail])
        return bool(((ends >= items.start) & (ends < items.stop)).any())

    def _lists(self, rules: Rules | None) -> Tensor:
        """The list of each user of the trial: LongTensor [U, k], flat, the graph's pad behind the end."""
        options, trial, scorer = ListOptions(k=self.k, rules=rules), self.trial, self.trial.scorer
        allowed = allowed_items(self.run, options)
        items = self.run.graph.nodes(self.run.graph.target[2]).to(scorer.device) if allowed is None else allowed.items
        ranker = Ranker(
            scorer,
            {"all": items},
            depth_for(options),
            keep_seen=self.keep_seen,
            exclude=with_shown(self.run, options, trial.exclude),
            trained=trial.trained,
        )
        chosen = list_rules(self.run, options)
        found = torch.full((len(trial.user), self.k), trial.pad, device=scorer.device)
        with scoring(scorer.model):
            for row in counted("making lists", ranker.batches(trial.user), len(trial.user), "users", len):
                user = trial.user[row]
                query, left_out = scorer.query(user, trial.asked_at(row)), ranker.left_out(user)
                if chosen is None:
                    found[row] = ranker.best_of(query, *left_out)["all"].item
                else:
                    past = scorer.had.flattened(user)
                    found[row] = chosen.best_of(ranker, query, Did(left_out, past)).item
        return found

    def _metrics(self, item: Tensor) -> dict[str, float]:
        """The metrics of lists [U, k]."""
        trial = self.trial
        hit = trial.find(trial.user[:, None], item) >= 0
        item = functional.pad(item, (0, max(metric.k for metric in self.metrics) - item.shape[1]), value=trial.pad)
        hit = functional.pad(hit, (0, item.shape[1] - hit.shape[1]))
        facts = item_facts(self.run.graph, self.metrics)
        listed = ListedItems(trial, trial.ranker(item.shape[1], 0), "all", self.metrics, facts)
        lists = listed.ranking(torch.arange(len(item), device=item.device), item, hit)
        found = {}
        for metric in self.metrics:
            if metric.of == "lists":
                found[metric.name] = mean_of(metric.values(lists))
            else:
                count = torch.bincount(item[:, : metric.k].flatten(), minlength=trial.pad + 1)
                found[metric.name] = listed.catalog_value(metric, count)
        return found

    def _qualities(self, item: Tensor, rules: Rules) -> dict[str, float]:
        """What lists [U, k] are beside accurate, by name."""
        local = np.where((item == self.trial.pad).cpu(), -1, item.cpu() - self.items.start)
        lists, found = rows_of(local, len(self.items)), {}
        by = self.by(rules)
        for one in by["diversity"]:
            found[f"diversity by {one}@{self.k}"] = _mean(intra_list_diversity(lists, likeness(self.run, one).unit))
        for one in by["calibration"]:
            run = self.run
            values = likeness(run, FACTS).values if one == FACTS else named_values(run, one, "calibration")
            had = self.trial.scorer.had.flattened(self.trial.user)
            own = Did(had, had).shares(values, len(lists.indptr) - 1, self.items)
            error = calibration_error(own, shares(lists, values.ptr, values.value, values.number))
            found[f"calibration_error@{self.k}"] = _mean(error)
        users = len(self.run.graph.range(self.run.graph.target[0]))
        num_users = self.trial.trained.num_users[self.items.start : self.items.stop].cpu().numpy()
        found[f"novelty@{self.k}"] = _mean(novelty(local, num_users, users))
        return found


def _mean(values: np.ndarray) -> float:
    """The mean of what is a number; 0 where nothing is."""
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else 0.0

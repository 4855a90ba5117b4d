"""A run that answers many at once: what it takes to answer is made once and kept, and each request has options of its
own."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from time import monotonic
from typing import Any, Literal

import torch

from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.ranking import Ranker
from kgrec.evaluation.trained_nodes import reads_all_edges
from kgrec.graph import NO_TIME
from kgrec.nn.embedding import NodeEmbedding
from kgrec.nn.fold_in import Folding
from kgrec.serving.described_items import DescribedItem, NamedNode, described_item, found_nodes
from kgrec.serving.explanation import Explanation, explain, must_have_paths
from kgrec.serving.few_users import FewUsers
from kgrec.serving.filters.allowed_items import allowed_items
from kgrec.serving.filters.sparql_filter import SparqlFilter
from kgrec.serving.in_halves import in_halves
from kgrec.serving.item_index import ItemIndex, index_advice
from kgrec.serving.kept_vectors import KeptVectors
from kgrec.serving.list_options import ListOptions
from kgrec.serving.list_tables import Recommendations
from kgrec.serving.named_lists import Names, named_lists
from kgrec.serving.new_users import NewUsers, side_by_side, without_history
from kgrec.serving.predicted_pairs import predicted_pairs
from kgrec.serving.prediction import PREDICTED
from kgrec.serving.ranked_lists import check_options, ranked_known, ranked_new, ranker_for
from kgrec.serving.request_times import notes_on_now
from kgrec.serving.rules.rule_settings import Rules
from kgrec.serving.rules.rules_of_run import rule_notes
from kgrec.serving.similar_items import SimilarItems, by_item, similar_items
from kgrec.serving.wanted import ORDINARY, Wanted
from kgrec.training.trained_model import TrainedModel

PAGE = 4096  #: bytes of memory that are mapped at once
KEPT = 64  #: options whose rankers are kept
NODES = 50_000_000  #: and nodes of all these rankers together
MOST = 64  #: known users that are ranked at once
CELLS = 1 << 24  #: and their scores
NEW_USERS = "vectors of new users"  #: under what name a run keeps them
READ_AHEAD = 10.0  #: seconds that `warm` takes at most to read histories


ONE = ListOptions(k=1)


@dataclass(frozen=True, eq=False)
class Prepared:
    """What answers requests with the same options."""

    options: ListOptions
    ranker: Ranker
    notes: tuple[str, ...]  #: what is said of each answer
    few: FewUsers | None  #: for known users; None: these options need more

    def at(self, options: ListOptions, run: TrainedModel) -> Prepared:
        """The same for when these options want lists."""
        if options.now == self.options.now:
            return self
        notes = (*self.notes, *notes_on_now(run, options))
        return replace(self, options=replace(self.options, now=options.now), notes=notes)


class Service:
    """Answers of one run, each as `run.recommend` gives it. Many threads may ask at once.

    run: a Run, or another trained model with its ids. unknown: what a user gets whom the run does not know and of whom
    the request says nothing: "error", as `run.recommend` has it, or "popularity", the most popular items, with the
    reason. index: finds about the best items of known users where no filter or rule says which may be shown (see `kgrec
    index`); all others are answered exactly. Raises KgrecError for an index of another run.

    >>> import kgrec
    >>> import pandas as pd
    >>> rows = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("bob", "y"), ("bob", "z"), ("cem", "x")]
    >>> rated = pd.DataFrame(rows, columns=["source", "target"])
    >>> graph = kgrec.Graph.from_frames(edges={("user", "rated", "item"): rated})
    >>> service = kgrec.Service(kgrec.Run("ease", kgrec.models.build("ease", graph, {"l2": 1.0}), graph))
    >>> two = kgrec.ListOptions(k=2)
    >>> asked = [Wanted("cem", options=two), Wanted(history=["z"], options=two), Wanted("dan", options=two)]
    >>> answers = service.recommend(asked)
    >>> [answer.items for answer in answers[:2]]
    [['y', 'z'], ['y', 'x']]
    >>> answers[2]
    UnknownName("no user 'dan' among the 3 known; known are such as 'ann', 'bob', 'cem'")
    """

    def __init__(
        self,
        run: TrainedModel,
        *,
        unknown: Literal["error", "popularity"] = "error",
        index: ItemIndex | str | Path | None = None,
    ) -> None:
        if unknown not in ("error", "popularity"):
            raise KgrecError(f"unknown is {unknown!r}; error or popularity is wanted")
        self.run, self.unknown = run, unknown
        for module in run.model.eval().modules():
            if isinstance(module, NodeEmbedding):
                module.keeps_table = True
        self.index = index if isinstance(index, ItemIndex) or index is None else ItemIndex.load(index, run)
        self.names = Names(run)
        self._prepared: OrderedDict[Hashable, Prepared] = OrderedDict()
        self._lock = threading.RLock()

    @property
    def folding(self) -> Folding | None:
        """What makes vectors of new users, and keeps those of whoever was asked for last; None for a model that reads
        histories. Raises KgrecError if the model needs the whole graph, and the run has none."""
        folding = self.run.folding
        if folding is None:
            return None
        return self.run.made_once(NEW_USERS, None, lambda: KeptVectors(folding))

    def forget_new_users(self) -> None:
        """Keep no vector of any new user from before. Their names are not kept in any case."""
        self.run.kept.pop(NEW_USERS, None)

    # ------------------------------------------------------------------ lists

    def recommend(self, wanted: Sequence[Wanted]) -> list[Recommendations | KgrecError]:
        """The answer to each request, in their order; an error for one that cannot be answered, whatever the others
        are."""
        answers: list[Recommendations | KgrecError | None] = [None] * len(wanted)
        groups: dict[Hashable, list[tuple[int, Wanted, int | NewUsers]]] = {}
        prepared: dict[Hashable, Prepared] = {}
        for place, one in enumerate(wanted):
            try:
                found = self._prepare(one.options)
                user = self._user(one, found)
            except KgrecError as error:
                answers[place] = error
                continue
            kind: Hashable = "known" if isinstance(user, int) else self._kind(user, one, place)
            key: Hashable = (id(found), kind, one.options.now)
            prepared[key] = found.at(one.options, self.run)
            groups.setdefault(key, []).append((place, one, user))
        for key, group in groups.items():
            for (place, _, _), answer in zip(group, self._answers(prepared[key], group)):
                answers[place] = answer
        return answers  # type: ignore[return-value]

    def is_quick(self, one: Wanted) -> bool:
        """Whether an answer takes about a millisecond: a list of a known user with options that were asked for before,
        of a catalog that is not large, by a model whose vectors are there."""
        found = None if one.is_new or one.user is None else self._prepared.get(_key(one.options))
        if found is None or found.few is None:
            return False
        user = self.names.user(str(one.user))
        return user is not None and found.few.is_quick(user)

    def _user(self, one: Wanted, prepared: Prepared) -> int | NewUsers:
        """The local number of a known user, or a new one. Raises KgrecError."""
        run = self.run
        if one.is_new:
            user: int | NewUsers = one.read(run, self.weighs_nothing)
        elif one.user is None:
            raise KgrecError("a request names no user; user=..., history=... or profile=... is wanted")
        else:
            number = self.names.user(one.user)
            if number is None and self.unknown == "error":
                run.graph.vocabulary[run.graph.target[0]].numbers([one.user], what=run.graph.target[0])
            user = without_history(run, [one.user]) if number is None else number
        options = prepared.options
        if isinstance(options.rules, Rules) and options.rules.recently_shown is not None:
            rule_notes(run, options, [one.name] if isinstance(user, NewUsers) else ())
        return user

    def _kind(self, new: NewUsers, one: Wanted, place: int) -> Hashable:
        """New users of the same kind are answered together."""
        rules = one.options.rules
        alone = one.profile is not None or (isinstance(rules, Rules) and rules.recently_shown is not None)
        return (new.has_weights, len(new.item) > 0, place if alone else None)

    def _answers(
        self, prepared: Prepared, group: Sequence[tuple[int, Wanted, int | NewUsers]]
    ) -> Sequence[Recommendations | KgrecError]:
        """The answers to some requests of the same kind; an error for one that fails."""

        def listed(part: Sequence[tuple[int, Wanted, int | NewUsers]]) -> Sequence[Recommendations | KgrecError]:
            return self._listed(prepared, part)

        return in_halves(listed, group, lambda _, error: [error])

    def _listed(self, prepared: Prepared, group: Sequence[tuple[int, Wanted, int | NewUsers]]) -> list[Recommendations]:
        run, ranker, options = self.run, prepared.ranker, prepared.options
        known = [user for _, _, user in group if isinstance(user, int)]
        if known:
            names = [one.name for _, one, _ in group]
            return self._known_lists(prepared, known, names)
        parts = [user for _, _, user in group if isinstance(user, NewUsers)]
        new, found = side_by_side(run, parts), list[Recommendations]()
        notes = [part.notes for part in parts]
        for rows, ranked in ranked_new(run, ranker, new, options, folding=self.folding):
            names = [new.names[row] for row in rows.tolist()]
            found += named_lists(self.names, names, ranked, prepared, [notes[row] for row in rows.tolist()])
        return found

    def _known_lists(self, prepared: Prepared, users: Sequence[int], names: Sequence[str]) -> list[Recommendations]:
        run, ranker, options, few = self.run, prepared.ranker, prepared.options, prepared.few
        most = MOST if few is None else max(1, min(MOST, CELLS // len(ranker.catalog)))
        if few is None:
            return named_lists(self.names, names, ranked_known(run, ranker, torch.tensor(users), options), prepared)
        found = list[Recommendations]()
        for start in range(0, len(users), most):
            part, called = users[start : start + most], names[start : start + most]
            ranked, left = few.ranked(part, options)
            lists = named_lists(self.names, called, ranked, prepared)
            if left:
                again = ranked_known(run, ranker, torch.tensor([part[row] for row in left]), options)
                named = named_lists(self.names, [called[row] for row in left], again, prepared)
                for row, one in zip(left, named):
                    lists[row] = one
            found += lists
        return found

    def _prepare(self, options: ListOptions) -> Prepared:
        """What answers requests with these options at any time, made once. Raises KgrecError for options that cannot be
        had."""
        key, options = _key(options), options if options.now is None else replace(options, now=None)
        with self._lock:
            found = self._prepared.get(key)
            if found is None:
                run = self.run
                check_options(run, options)
                ranker, allowed = ranker_for(run, options), allowed_items(run, options)
                notes = allowed.notes_on(options.k) if allowed else ()
                few = FewUsers(run, ranker, options, self.index) if FewUsers.serves(run, options) else None
                said = (*notes, *rule_notes(run, options, check_users=False))
                found = self._prepared[key] = Prepared(options, ranker, said, few)
                most = max(1, min(KEPT, NODES // (run.graph.num_nodes + 1)))
                while len(self._prepared) > most:
                    self._prepared.popitem(last=False)
            self._prepared.move_to_end(key)
        return found

    # ------------------------------------------------------------------ other questions

    def similar(self, item: str, options: ListOptions = ORDINARY) -> SimilarItems:
        """The items most like an item. options: k, where, not_ and where_sparql. Raises as `Run.similar`."""
        return by_item(self.run, similar_items(self.run, [item], options))[0]

    def predict(self, pairs: Sequence[tuple[str | Wanted, str]], now: Any = None) -> list[float | KgrecError]:
        """What the model predicts of each pair of a user and an item, in their order: a rating, a probability or a
        score, as `predicted` says; an error for a pair of an unknown id.

        A user is an id, or a Wanted, whose history or profile takes the place of what the run knows. A model that
        cannot use the history of a new user goes by the id. now: when they are wanted, as ListOptions has it."""
        options = ListOptions(k=1, now=now)
        return predicted_pairs(self.run, pairs, lambda: self.folding, self.weighs_nothing, options)

    @property
    def predicted(self) -> str:
        """What `predict` gives: rating, probability or score."""
        return PREDICTED[self.run.model.task]

    def item(self, item: str) -> DescribedItem:
        """An item with its label, columns and facts. Raises UnknownName."""
        return described_item(self.run, item)

    def explain(self, user: str, item: str, paths: int = 5, *, by: str | None = None) -> Explanation:
        """Why an item is recommended to a user that the run knows, by what the run knows of the user, as `Run.explain`;
        other users are not named. Raises as it does."""
        return explain(self.run, user, item, paths, by=by, name_users=False)

    @property
    def explains(self) -> bool:
        """Whether `explain` has paths for this run's model."""
        try:
            must_have_paths(self.run)
        except KgrecError:
            return False
        return self.run.keeps_facts or not (reads_all_edges(self.run.model) or self.run.model.learns_facts)

    def search(self, text: str, kind: Literal["user", "item"] = "item", most: int = 20) -> list[NamedNode]:
        """Users or items whose id or label holds a text, in upper or lower case: first the one of this id, then those
        that begin with the text. most: how many at most; a text without a letter finds the first."""
        ends = {"user": self.run.graph.target[0], "item": self.run.graph.target[2]}
        if kind not in ends:
            raise unknown_name("kind", kind, ends, "to search for")
        return found_nodes(self.run, text, ends[kind], most)

    def with_items(self, items: Any, *, skip_unknown: bool = False) -> Service:
        """A service of the same weights that knows new items too, as `Run.with_items`; this one stays as it is."""
        from kgrec.serving.added_items import run_with_items

        return Service(run_with_items(self.run, items, skip_unknown=skip_unknown), unknown=self.unknown)

    def warm(self) -> None:
        """Answer some requests of known and new users and read all weights once, so that the first requests of others
        are as fast as the tenth."""
        for weight in self.run.model.state_dict().values():
            if weight.device.type == "cpu":
                weight.reshape(-1)[:: PAGE // weight.element_size()].sum()  # what is mapped is there from now on
        source, _, target = self.run.graph.target
        users, items = (self.run.graph.vocabulary[end].ids(range(1)) for end in (source, target))
        asked = [*(Wanted(user, options=options) for user in users for options in (ONE, ORDINARY))]
        if items:  # rules have a compiled loop of their own
            asked += [Wanted(user, options=ListOptions(k=1, rules={"pinned": items})) for user in users]
        asked += [Wanted(history=items, options=ONE)] if items else []
        for number in range(1, len(asked) + 1):
            self.recommend(asked[:number])
        until = monotonic() + READ_AHEAD
        while monotonic() < until and self.read_ahead():
            pass

    def read_ahead(self) -> bool:
        """Do a little of what requests of known users would do later: for a model of sequences, read some histories. It
        takes some milliseconds. Returns whether there is more to do."""
        few = self._prepare(ONE).few
        return few is not None and few.read_ahead()

    def history_of(self, user: str) -> list[dict[str, Any]]:
        """What the run knows that a user did, oldest first: steps with `item`, and `time`, `weight` and `behaviour`
        where they say anything, as `Wanted.history` takes them. Raises UnknownName."""
        run, known = self.run, self._known(self.run.graph.target[0], user)
        scorer = ranker_for(run, ONE).scorer
        histories = scorer.histories
        head = torch.tensor([known + run.graph.range(run.graph.target[0]).start], device=scorer.device)
        place = histories.places(head)
        items = (histories.tails(place)[0] - run.graph.range(run.graph.target[2]).start).tolist()
        times, weights = histories.times(place)[0].tolist(), histories.weights(place)[0].tolist()
        behaviours = [edge_type[1] for edge_type in histories.graph.edge_types]
        relations = histories.relations(place)[0].tolist()
        steps = []
        for item, time, weight, relation in zip(items, times, weights, relations):
            step: dict[str, Any] = {"item": self.names.item_id(item)}
            if time != NO_TIME:
                step["time"] = time
            if not self.weighs_nothing:
                step["weight"] = weight
            if len(behaviours) > 1:
                step["behaviour"] = behaviours[relation]
            steps.append(step)
        return steps

    @property
    def advice(self) -> str | None:
        """What to say of a catalog so large that an index would pay; None: it would not, or there is one."""
        return index_advice(self.run) if self.index is None else None

    @property
    def weighs_nothing(self) -> bool:
        """Whether all that the run knows that users did weighs 1."""
        found: bool = self.names.weighs_nothing
        return found

    def _known(self, node_type: str, name: str) -> int:
        """The local number of a node. Raises UnknownName."""
        return int(self.run.graph.vocabulary[node_type].numbers([name], what=node_type)[0])


def _key(options: ListOptions) -> Hashable:
    """What two options have in common that ask for the same."""
    sparql = None if options.where_sparql is None else SparqlFilter.of(options.where_sparql)
    rules = options.rules.key if isinstance(options.rules, Rules) else None
    return (
        options.k,
        options.include_seen,
        tuple(options.exclude),
        options.why,
        tuple(options.where or ()),
        tuple(options.not_ or ()),
        sparql,
        rules,
        options.skip_unknown,
    )

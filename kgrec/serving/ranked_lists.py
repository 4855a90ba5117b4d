"""The best items of known and new users as tables, chunk by chunk in bounded memory."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise

import pyarrow as pa
import pyarrow.compute as pc
import torch
from torch import Tensor

from kgrec.errors import KgrecError, some
from kgrec.evaluation.excluded_edges import excluded_edges
from kgrec.evaluation.ranking import Best, Ranker, Scorer, scoring
from kgrec.evaluation.served_by import ServedBy
from kgrec.graph.behaviours import check_excluded
from kgrec.in_threads import in_threads
from kgrec.model import Query, goes_with_score
from kgrec.nn.fold_in import Folding
from kgrec.serving.answers import Table
from kgrec.serving.evidence import PastItems, kind_of, past_items, sentence
from kgrec.serving.evidence_kinds import Kind
from kgrec.serving.exact_scores import product_of, with_exact_scores
from kgrec.serving.filters.allowed_items import allowed_items
from kgrec.serving.list_options import ListOptions
from kgrec.serving.list_tables import LISTS, STEPS, item_names, list_arrow, must_fit, reasons_of
from kgrec.serving.new_users import NewUsers
from kgrec.serving.request_times import at_request_time
from kgrec.serving.rules.rule_settings import Rules
from kgrec.serving.rules.ruled_lists import Did
from kgrec.serving.rules.rules_of_run import depth_for, list_rules, shown_to, with_shown
from kgrec.serving.served_new_users import Asking, asking
from kgrec.training.run_folder import read_schema
from kgrec.training.trained_model import TrainedModel

CHUNK = 4096  #: users that are answered at once
LEAST_CHUNK = 256  #: users at least, where threads share them
CELLS = 4_194_304  #: rows of a chunk at most

STEP = ("row", "item", "strength")  #: what is kept of a past item


@dataclass(frozen=True, eq=False)
class RankedUsers:
    """The best items of some users, best first, before they are named. U users, K items."""

    item: Tensor  #: LongTensor [U, K], flat, filled up with the graph's pad
    score: Tensor  #: FloatTensor [U, K]
    served: Tensor  #: CharTensor [U], a ServedBy each
    kind: Kind | None = None  #: by what the past items behind the lists are known; None: they are not asked for
    steps: tuple[PastItems, ...] = ()  #: those, whose rows are places among the U users


def check_options(run: TrainedModel, options: ListOptions) -> None:
    """Raise KgrecError for options that the run has no lists for: a wrong k."""
    check_k(run, options.k)


def check_k(run: TrainedModel, k: int, name: str = "k") -> None:
    """Raise KgrecError for a number of items that no list can have. name: what to call it."""
    must_fit(k, len(run.graph.range(run.graph.target[2])), name)


def ranker_for(run: TrainedModel, options: ListOptions) -> Ranker:
    """What ranks the items that may be shown for the users of a run.

    Raises UnknownName for a behaviour that the run's graph does not have, KgrecError where its edges are not kept, and
    as `allowed_items` and `must_know_interactions`."""
    must_know_interactions(run)
    graph, exclude = run.graph, tuple(options.exclude)
    if exclude and not run.has_facts:
        assert run.path is not None
        wanted = check_excluded(read_schema(run.path), exclude, keep_seen=options.include_seen)
        if any(edge_type not in graph.edge_types for edge_type in wanted):
            graph = run.whole_graph()
    allowed = allowed_items(run, options)
    return run.made_once("ranker", None, lambda: _ranker(run)).with_options(
        None if allowed is None else allowed.items,
        depth_for(options),
        keep_seen=options.include_seen,
        exclude=with_shown(run, options, excluded_edges(graph, exclude, keep_seen=options.include_seen)),
    )


def _ranker(run: TrainedModel) -> Ranker:
    """What ranks all items, made once for a run."""
    scorer = Scorer(run.model, run.graph)
    return Ranker(scorer, {"all": run.graph.nodes(run.graph.target[2]).to(scorer.device)}, 1, trained=run.trained)


def must_know_interactions(run: TrainedModel) -> None:
    """Raise KgrecError where a run was trained on facts alone, so that it knows nothing of what users like."""
    if run.facts_only:
        raise KgrecError(
            "this run was trained on facts alone (--facts-only), so it knows nothing of what users like; train it "
            "again without --facts-only"
        )


def known_lists(run: TrainedModel, ranker: Ranker, local: Tensor, options: ListOptions) -> Iterator[Table]:
    """The best items for users that the run knows, a chunk at a time. local: LongTensor [U], their numbers."""
    ids = run.graph.vocabulary[run.graph.target[0]].id_array
    threads, size = _threads(run, ranker, options, len(local)), _chunk(ranker)
    if threads > 1:
        size = min(size, max(LEAST_CHUNK, -(-len(local) // (4 * threads))))

    def lists(part: Tensor) -> Table:
        found = ranked_known(run, ranker, part, options)
        return _lists(run, ranker, ids.take(pa.array(part.numpy())), found, options)

    yield from in_threads(lists, local.split(size), threads)


def _threads(run: TrainedModel, ranker: Ranker, options: ListOptions, number: int) -> int:
    """In how many threads lists of so many users are made: in torch's, where scores are sums or products. Models whose
    scores take a network use all threads for one chunk after the other."""
    threads = torch.get_num_threads()
    if number <= LEAST_CHUNK or threads == 1 or run.device.type != "cpu" or options.why or options.rules is not None:
        return 1
    if not run.made_once("scores that are sums", None, lambda: _scores_by_sums(run)):
        return 1
    _ = product_of(run), ranker.served.of_users  # made before, not in each
    return threads


def _scores_by_sums(run: TrainedModel) -> bool:
    with scoring(run.model):
        return goes_with_score(type(run.model)) and run.model.linear_scorer() is not None


def ranked_known(run: TrainedModel, ranker: Ranker, local: Tensor, options: ListOptions) -> RankedUsers:
    """The best items for users that the run knows, all at once. local: LongTensor [U], their numbers."""
    scorer, rules = ranker.scorer, list_rules(run, options)
    user = local.to(scorer.device) + run.graph.range(run.graph.target[0]).start

    def best(rows: Tensor) -> tuple[Query, Best]:
        query = at_request_time(run, scorer.query(user[rows]), options)
        left_out = ranker.left_out(user[rows])
        if rules is None:
            return query, ranker.best_of(query, *left_out)["all"]
        return query, rules.best_of(ranker, query, Did(left_out, scorer.had.flattened(user[rows])))

    def had(rows: Tensor) -> Tensor:
        return scorer.had.last(user[rows])

    return _ranked(run, ranker, len(local), ranker.batches(user), best, had, options)


def new_lists(
    run: TrainedModel, ranker: Ranker, new: NewUsers, options: ListOptions, rows: range | None = None
) -> Iterator[Table]:
    """The best items for new users, or for some of them (rows), a chunk at a time.

    Left out is what each did by the target relation, unless the ranker keeps it, and by the behaviours that `exclude`
    names. Where users are items too, one whose name the run knows is not on the list, as of a known user."""
    for part, found in ranked_new(run, ranker, new, options, rows):
        names = pa.array([new.names[row] for row in part.tolist()], pa.string())
        yield _lists(run, ranker, names, found, options)


def ranked_new(
    run: TrainedModel,
    ranker: Ranker,
    new: NewUsers,
    options: ListOptions,
    rows: range | None = None,
    folding: Folding | None = None,
) -> Iterator[tuple[Tensor, RankedUsers]]:
    """The best items for new users, a chunk at a time: which of them, LongTensor [U], and theirs; see `new_lists`.
    folding: what makes their vectors; None: the run's own.

    Vectors are fitted to a whole chunk, also where only some of its users are wanted: their last digits hang on who is
    fitted beside them."""
    wanted = range(len(new)) if rows is None else rows
    behaviours, target = run.model.behaviours or (run.graph.target[1],), run.graph.target[1]
    dropped = [*options.exclude, *([] if ranker.keep_seen else [target])]
    left_out = [number for number, name in enumerate(behaviours) if name in dropped]
    is_target, own = behaviours.index(target), _nodes_named(run, new.names)
    rules, shown = list_rules(run, options), shown_to(run, options, new.names)
    for whole in torch.arange(len(new), device=run.device).split(_chunk(ranker)):
        first = int(whole[0])
        inside = range(max(first, wanted.start) - first, min(first + len(whole), wanted.stop) - first)
        if not inside:
            continue
        part = whole[inside.start : inside.stop]
        with asking(run, ranker, new, whole, folding) as asked:

            def best(
                rows: Tensor, part: Tensor = part, asked: Asking = asked, start: int = inside.start
            ) -> tuple[Query, Best]:
                query = at_request_time(run, asked.query(rows + start), options)
                past = new.did(part[rows], [is_target], is_target)
                did = Did(new.did(part[rows], left_out, is_target), past).beside(shown, part[rows], len(new))
                if rules is None:
                    return query, asked.ranker.best_of(query, *did.left_out, own[part[rows]])["all"]
                return query, rules.best_of(asked.ranker, query, did, own[part[rows]])

            def had(rows: Tensor, part: Tensor = part) -> Tensor:
                did = new.query(part[rows], run.graph.pad)
                is_other = False if did.behaviour is None else did.behaviour != is_target
                return did.history.masked_fill(torch.as_tensor(is_other, device=run.device), run.graph.pad)

            batches = ranker.scorer.batches(new.length[part], ranker.most)
            found = _ranked(run, asked.ranker, len(part), batches, best, had, options)
        yield part.cpu(), found


def _nodes_named(run: TrainedModel, names: list[str]) -> Tensor:
    """Where users are items, the flat user that each name is of, LongTensor [n], the graph's pad where it is of
    none."""
    source = run.graph.target[0]
    if not run.graph.same_ends:  # nobody is an item
        return torch.full((len(names),), run.graph.pad, device=run.device)
    found = torch.from_numpy(run.graph.vocabulary[source].find(names)).to(run.device)
    return torch.where(found < 0, run.graph.pad, found + run.graph.range(source).start)


def no_lists() -> Table:
    """The answer to nobody."""
    return Table(LISTS.empty_table(), [])


def _chunk(ranker: Ranker) -> int:
    return max(1, min(CHUNK, CELLS // ranker.depth))


def _ranked(
    run: TrainedModel,
    ranker: Ranker,
    number: int,
    batches: Iterable[Tensor],
    best: Callable[[Tensor], tuple[Query, Best]],
    had: Callable[[Tensor], Tensor],
    options: ListOptions,
) -> RankedUsers:
    """The best items of so many users, whose rows come in batches. best: rows, LongTensor [B] -> their queries and best
    items; had: rows -> what they had by the target relation, LongTensor [B, L], padded."""
    served = torch.zeros(number, dtype=torch.int8)
    item = torch.full((number, options.k), run.graph.pad)
    score = torch.full((number, options.k), -torch.inf)
    kind, steps = kind_of(ranker.scorer) if options.why else None, list[PastItems]()
    with scoring(run.model):
        for rows in batches:
            query, found = best(rows)
            place, by = rows.cpu(), ranker.served.of(query)
            by_model = torch.ones_like(by) > 0 if run.model.serves_everybody else by < ServedBy.POPULARITY
            found = with_exact_scores(run, found, query.user, by_model, keep_order=options.rules is not None)
            item[place], score[place] = found.item.cpu(), found.score.float().cpu()
            served[place] = by.cpu()
            if kind is not None:
                known = (by < ServedBy.POPULARITY).nonzero().squeeze(1)
                asked = query.rows(known)
                past = had(rows[known]) if len(known) else asked.history
                behind = past_items(ranker.scorer, kind, asked, found.item[known], past)
                steps.append(replace(behind, row=place[known.cpu()][behind.row.cpu()]))
    return RankedUsers(item, score, served, kind, tuple(steps))


def _lists(run: TrainedModel, ranker: Ranker, users: pa.Array, ranked: RankedUsers, options: ListOptions) -> Table:
    """The lists of users [U] as a table."""
    pad, start, score = run.graph.pad, run.graph.range(run.graph.target[2]).start, ranked.score
    there = ranked.item != pad  # a user who has seen nearly all gets fewer
    row, rank = there.nonzero(as_tuple=True)
    reason = pa.nulls(len(users), pa.string())
    behind_all = None
    if ranked.kind is not None:
        behind_all, reason = _why(run, users, ranked.kind, ranked.steps)
    otherwise = reasons_of(ranked.served.numpy())
    is_history = pa.array((ranked.served <= ServedBy.HISTORY).numpy())  # then the past items say more
    reason = pc.if_else(is_history, pc.coalesce(reason, otherwise), pc.coalesce(otherwise, reason))
    items = run.graph.vocabulary[run.graph.target[2]]
    rows = (row.numpy(), rank.numpy(), (ranked.item[there] - start).numpy(), score[there].numpy())
    return Table(
        list_arrow(users, items, *rows, reason),
        users.to_pylist(),
        behind_all,
        short_lists(ranker, there.sum(1), options),
    )


def short_lists(ranker: Ranker, length: Tensor, options: ListOptions) -> tuple[str, ...]:
    """What is said of users who get less than was asked for since the rest of what they lack is filtered out, or is
    more than a rule allows.

    length: LongTensor [U], of their lists."""
    k, left, short = int(options.k), len(ranker.catalog), int((length < options.k).sum())
    rules = options.rules if isinstance(options.rules, Rules) else Rules()
    reasons = [f"the filters leave {left:,}"] if left < ranker.num_items else []
    reasons += [f"at_most allows no more by {some(rules.at_most)}"] if rules.at_most else []
    if not short or left < k or not (reasons or rules.recently_shown):
        return ()
    left_out = f"what a user has{' or was shown' if rules.recently_shown else ''} is left out"
    why = " and ".join([", ".join(reasons) + "," if reasons else "", left_out]) if reasons else left_out
    who = "the user gets" if len(length) == 1 else f"{short:,} of {len(length):,} users get"
    return (f"{who} fewer than k = {k} items: {why}",)


def behind_lists(steps: Sequence[PastItems], number: int) -> tuple[Tensor, Tensor, Tensor, list[int]]:
    """The past items behind the lists of so many users, user by user: of whom each is, LongTensor [n], its flat number,
    LongTensor [n], and strength, FloatTensor [n], on the CPU; user u has those from place u of the bounds to u + 1."""
    row, item, strength = (torch.cat([getattr(one, name).cpu() for one in steps]) for name in STEP)
    order = row.argsort(stable=True)
    return row[order], item[order], strength[order], [0, *torch.bincount(row, minlength=number).cumsum(0).tolist()]


def _why(run: TrainedModel, users: pa.Array, kind: Kind, steps: Sequence[PastItems]) -> tuple[Table, pa.Array]:
    """The table of the past items behind the lists, and a sentence a user, null for one of whom nothing is to be
    said."""
    row, item, strength, bounds = behind_lists(steps, len(users))
    ids, labels = named_items(run, item - run.graph.range(run.graph.target[2]).start)
    numbers = pa.array(strength.numpy())
    attention = numbers if kind is Kind.ATTENTION else pa.nulls(len(row), pa.float32())
    evidence = pa.repeat(pa.scalar(kind.value), len(row))
    table = pa.table([users.take(pa.array(row.numpy())), ids, labels, attention, evidence, numbers], schema=STEPS)
    text, values = labels.to_pylist(), strength.tolist()
    sentences = [sentence(kind, text[a:b], values[a:b], run.name) for a, b in pairwise(bounds)]
    return Table(table), pa.array(sentences, pa.string())


def named_items(run: TrainedModel, local: Tensor) -> tuple[pa.Array, pa.Array]:
    """Ids and labels of items [n], the id where one has no label."""
    return item_names(run.graph.vocabulary[run.graph.target[2]], local.numpy())

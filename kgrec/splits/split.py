"""Divide a graph by a SPEC into train, validation and test."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from kgrec._deprecation import renamed
from kgrec.errors import KgrecError, some, unknown_name
from kgrec.graph import NO_TIME, Candidates, Graph
from kgrec.graph.behaviours import check_candidates, check_excluded
from kgrec.graph.mapped_files import blocks
from kgrec.splits.answer_times import Now, check_now
from kgrec.splits.protocol_name import protocol_name
from kgrec.splits.repeats import Repeats, check_repeats, repeated
from kgrec.splits.spec import OF_FACTS, SPECS, Spec, shares_of

TRAIN, VALID, TEST = 0, 1, 2
NODES = 1 << 18  #: nodes whose edges are divided at once


@dataclass(frozen=True, eq=False)
class Split:
    """A graph divided into train, validation and test. Facts without a time stay in every training graph."""

    spec: str  #: the SPEC as written; the protocol's name begins with it
    train: Graph  #: everything that training may see
    train_valid: Graph  #: train with the validation edges: known at test time, and what --refit trains on
    valid: Graph | None  #: target edges that choose epochs and settings
    test: Graph  #: target edges that are measured once
    candidates: Candidates | None = None  #: items to rank at test; None: all items that the user has not seen
    candidates_name: str | None = None  #: name of `candidates` in the graph
    whole: Graph | None = None  #: only if facts are held out: the whole graph, with train, valid and test
    repeats: Repeats = "miss"  #: how held-out pairs are treated that the user already had
    left_out: int = 0  #: number of target edges that are no clicks and are in no part; 0 if all edges are positives
    exclude: tuple[str, ...] = ()  #: behaviours whose items are left out of lists, in addition to the target relation
    facts_only: bool = False  #: only if facts are held out: whether the training graphs are without interactions
    num_self_edges: int = 0  #: number of target edges from a node to itself; they are in no part
    now: Now = "unknown"  #: whether models are told when each list is wanted

    @property
    def protocol(self) -> str:
        """The protocol's name. Only results with the same name may be compared. See `named`."""
        return self.named()

    def named(self, *, refit: bool = False) -> str:
        """The protocol's name. refit: whether the model was trained again on train + valid.

        It names the behaviours that are left out of the lists. It names `repeats` if it is not the default, or if test
        has repeats that are missed. It also says whether test has users without a target edge in training; for them, a
        model that knows nothing else about them ranks by popularity."""
        again = ", refit on train + valid" if refit else ""
        if self.whole is not None:
            alone = ", trained on facts alone" if self.facts_only else ", clicks alone" if self.left_out else ""
            return f"{self.spec} of facts{alone}; filtered ranks{again}"
        trained = self.trained_on(refit=refit)
        is_said = self.repeats != "miss" or (self.candidates is None and self._test_has_repeats)
        name = protocol_name(
            self.spec,
            f"candidates {self.candidates_name}" if self.candidates_name else "full ranking",
            clicks_alone=self.left_out > 0,
            exclude=self.exclude,
            repeats=self.repeats if is_said else None,
            without_history=not (trained.only(trained.target).index.num_out[self.test.head] > 0).all(),
            now=self.now,
        )
        return name + again

    def trained_on(self, *, refit: bool = False) -> Graph:
        """The graph that a model was trained on. refit: whether it was trained again on train + valid."""
        return self.train_valid if refit else self.train

    @cached_property
    def _test_has_repeats(self) -> bool:
        known = self.train_valid.only(self.train_valid.target)
        return bool(repeated(known, self.test)[1].any())


def split(
    graph: Graph,
    spec: str | None = None,
    candidates: str | None = None,
    repeats: str = "miss",
    exclude: Sequence[str] = (),
    now: str = "unknown",
) -> Split:
    """Divide a graph's target edges by a SPEC. By default it is the split that the graph's recipe names.

    A SPEC is one of:

    - `NAME`: a split stored in the graph. `NAME,valid=M` also holds out the last M train edges of each user for
      validation, `NAME,valid=F` a share F of the train edges. With `users=F` the share is drawn only from the edges of
      a share of the users, for test sets that have many edges of few users.
    - `last_n:N[,valid=M]`: the last N edges of each user by time, then by file order. Users keep at least one edge in
      train.
    - `ratio:F[,valid=F][,per_user][,seed=S]`: test has the rows where `numpy.random.default_rng(seed).random(n) < F`.
    - `by_time:T1,T2`: valid begins at T1 and test at T2. Times are unix seconds, ISO dates, or shares of the target
      edges such as 80%,90%.
    - `cold_items:F[,valid=F][,warm=F][,seed=S]`: all edges of a share of the items. `valid=F` holds out all edges of
      another share of the items for validation, and `warm=F` also a share of the edges of all other items for test.

    candidates: the name of a candidate list stored in the graph. repeats: how held-out pairs are treated that the user
    already had, see `kgrec.splits.repeats`. exclude: behaviours whose items are left out of users' lists, in addition
    to the target relation.

    Other behaviours do not leak held-out edges. Under `by_time` they end where train ends. Under `last_n` they end for
    each user at the first held-out edge. If there is no time to compare, and under every other SPEC, their edges are
    removed for the held-out pairs.

    If the target joins nodes of one type, as in user follows user, edges from a node to itself are left out first:
    nobody is recommended to themselves. Other relations of these nodes lose held-out pairs in both directions.

    Raises KgrecError for a SPEC that cannot be read or that leaves train or test empty, and for `exclude` together with
    published candidate lists; UnknownName for an unknown name.
    """
    choice = check_repeats(repeats)
    check_excluded(graph.schema, exclude, keep_seen=choice == "recommend")
    spec = spec or graph.schema.standard.get("split")
    if not spec:
        raise KgrecError("this graph names no standard split; choose one with --split, such as last_n:1,valid=1")
    listed = candidates or (
        graph.schema.standard.get("candidates") if spec == graph.schema.standard.get("split") else None
    )
    lists = None
    if listed and listed != "all":
        if listed not in graph.candidates:
            raise unknown_name("candidates", listed, graph.candidates, "in this graph")
        lists = graph.candidates[listed]
    else:
        listed = None
    check_candidates(lists, exclude)
    others = without_self_edges(graph)
    divided = _divide(others, Spec(spec))
    number = graph.num_edges - others.num_edges
    chosen: dict[str, Any] = {"repeats": choice, "exclude": tuple(exclude), "num_self_edges": number}
    return replace(divided, spec=spec, candidates=lists, candidates_name=listed, now=check_now(now), **chosen)


def without_self_edges(graph: Graph) -> Graph:
    """The graph without target edges from a node to itself, if the target joins nodes of one type. Candidate lists
    stay, and stored splits for the edges that stay."""
    if not graph.same_ends:
        return graph
    target = graph.only(graph.target)
    apart = graph.room(target.num_edges, torch.bool)
    for rows in blocks(target.num_edges):
        apart[rows] = target.edge_index[0, rows] != target.edge_index[1, rows]
    return graph if bool(apart.all()) else graph.where_target(apart)


def split_facts(graph: Graph, spec: str | None = None, *, facts_only: bool = False) -> Split:
    """Divide a graph's facts for link prediction. All interactions stay in train, or none with `facts_only`; the
    held-out facts are the same in both cases.

    SPEC: `ratio:F[,valid=F][,seed=S]` (default `ratio:0.1,valid=0.05,seed=0`). Pairs of nodes are divided: all facts
    about a pair, of any relation and in both directions, are in one part. So neither an inverse nor a repeated fact
    gives a held-out fact away. Test has the pairs, sorted by their flat numbers, where
    `numpy.random.default_rng(seed).random(n) < F`. If a relation would have no fact left in train, as one with a single
    fact, its first fact stays there. Target edges from a node to itself are left out, as in `split`.

    Raises KgrecError for a SPEC that cannot be read or that leaves test empty, and for a graph without facts.
    """
    words = Spec(spec or OF_FACTS)
    if words.kind != "ratio" or len(words.positional) != 1 or not {"valid", "seed"}.issuperset(words.options):
        raise KgrecError(
            f"split {words.spec!r}: facts can only be held out with ratio:F[,valid=F][,seed=S], such as {OF_FACTS}"
        )
    given, graph = graph, without_self_edges(graph)
    is_fact = ~torch.tensor(_is_behaviour(graph), device=graph.device)[graph.relation]
    if not is_fact.any():
        found = some(dict.fromkeys(edge[1] for edge in graph.edge_types))
        raise KgrecError(
            f"this graph has no facts to hold out: all its relations ({found}) join users and items; add tables or "
            "triples with facts to the recipe, or leave out --task link"
        )
    part = torch.full((graph.num_edges,), TRAIN, dtype=torch.int8, device=graph.device)
    part[is_fact] = _parts_of_facts(graph.where(is_fact), words)
    valid, test = graph.where(part == VALID), graph.where(part == TEST)
    if not test.num_edges:
        raise KgrecError(
            f"split {words.spec!r} holds out none of the {int(is_fact.sum()):,} facts for test; hold out a larger share"
        )
    learned = is_fact if facts_only else torch.ones_like(is_fact)
    return Split(
        words.spec,
        train=graph.where(learned & (part == TRAIN)),
        train_valid=graph.where(learned & (part != TEST)),
        valid=valid if valid.num_edges else None,
        test=test,
        whole=graph,
        facts_only=facts_only,
        num_self_edges=given.num_edges - graph.num_edges,
    )


def _parts_of_facts(facts: Graph, words: Spec) -> Tensor:
    """The part of each fact, CharTensor [facts]."""
    low, high = torch.minimum(facts.head, facts.tail), torch.maximum(facts.head, facts.tail)
    pairs, pair = torch.unique(low * (facts.num_nodes + 1) + high, return_inverse=True)
    draw = np.random.default_rng(words.seed).random(len(pairs))
    part = torch.from_numpy(_cut(draw, *shares_of(words))).to(facts.device)
    ptr = torch.tensor(facts.relation_ptr, device=facts.device)
    trained = torch.bincount(facts.relation[part[pair] == TRAIN], minlength=len(facts.edge_types))
    part[pair[ptr[:-1][(trained == 0) & (ptr.diff() > 0)]]] = TRAIN
    return part[pair]


def _divide(graph: Graph, words: Spec) -> Split:
    target = graph.only(graph.target)
    if words.kind == "by_time":
        return _by_time(graph, target, words)
    if words.kind == "last_n":
        words.allow("valid")
        if len(words.positional) != 1:
            raise words.wrong("write exactly one number after last_n:")
        number = words.whole_number(words.positional[0], "N", 1)
        part = _last_of_each(target, number, words.whole_number(words.options.get("valid", "0"), "valid", 0))
        return _of_parts(graph, part, words, cut_by_time=True)
    if words.kind == "ratio":
        words.allow("valid", "seed")
        return _of_parts(graph, _ratio(target, words), words)
    if words.kind == "cold_items":
        return _cold_items(graph, target, words)
    if words.kind not in graph.splits:
        raise unknown_name("split", words.kind, [*graph.splits, *(k for k in SPECS if k != "NAME")])
    return _named(graph, target, words)


def _named(graph: Graph, target: Graph, words: Spec) -> Split:
    words.allow("valid", "users", "seed")
    if words.positional:
        raise words.wrong(f"{words.positional[0]!r} is not one of valid=, users=, seed=")
    part = _room(target)
    part[:] = graph.splits[words.kind].cpu().numpy()
    wanted = words.options.get("valid", "0")
    if "users" in words.options and (wanted == "0" or wanted.isdecimal()):
        raise words.wrong("users= needs valid= as a share, such as valid=0.1,users=0.2")
    if wanted != "0":
        if (part == VALID).any():
            raise words.wrong("this split has its own validation edges, so leave valid= out")
        rows = np.flatnonzero(part == TRAIN)
        if wanted.isdecimal():
            train = target.where(torch.from_numpy(part == TRAIN).to(target.device))
            inner = _last_of_each(train, words.whole_number(wanted, "valid", 1), 0)
            part[rows[inner == TEST]] = VALID
        else:
            part[rows[_drawn(target.head.cpu().numpy()[rows], wanted, words)]] = VALID
    return _of_parts(graph, part, words)


def _drawn(head: np.ndarray, wanted: str, words: Spec) -> np.ndarray:
    """Which train edges are drawn for valid. With `users`, the users are drawn after the edges. head: the user of each
    edge."""
    share, random = words.share(wanted, "valid"), np.random.default_rng(words.seed)
    draw = random.random(len(head))
    if "users" not in words.options:
        return draw < share
    of_users = words.share(words.options["users"], "users")
    if share >= of_users:
        raise words.wrong(f"valid={share:g} must be less than users={of_users:g}")
    users = np.unique(head)
    return (draw < share / of_users) & np.isin(head, users[random.random(len(users)) < of_users])


def _last_of_each(target: Graph, number: int, valid: int) -> np.ndarray:
    """The part of each edge by its user's order in time: the last `number` are test, the `valid` edges before them are
    valid. A user's first edge is always train."""
    csr = target.csr
    degree, part = csr.degree(), torch.from_numpy(_room(target)).to(target.device)
    for nodes in blocks(len(degree), NODES):
        size, start = degree[nodes], csr.ptr[nodes]
        row = torch.arange(len(size), device=target.device).repeat_interleave(size)
        at = torch.arange(len(row), device=target.device) + start[:1]  # places in the CSR
        place = at - start[row]  # 0 for a user's first
        from_end = size[row] - place  # 1 for a user's last
        part[csr.edge[at[(from_end <= number + valid) & (place > 0)]]] = VALID
        part[csr.edge[at[(from_end <= number) & (place > 0)]]] = TEST
    return part.cpu().numpy()


def _ratio(target: Graph, words: Spec) -> np.ndarray:
    test, valid = shares_of(words)
    random, part = np.random.default_rng(words.seed), _room(target)
    if "per_user" in words.positional:
        return _per_user(target, random, part, test, valid)
    for rows in blocks(target.num_edges):
        part[rows] = _cut(random.random(rows.stop - rows.start), test, valid)
    return part


def _per_user(target: Graph, random: np.random.Generator, part: np.ndarray, test: float, valid: float) -> np.ndarray:
    """The same with exact shares: the edges of each user are cut in the order of their draws. Fills `part`."""
    draw = target.room(target.num_edges, torch.float64).cpu().numpy()
    for rows in blocks(target.num_edges):
        draw[rows] = random.random(rows.stop - rows.start)
    ptr, edge = target.csr.ptr.cpu().numpy(), target.csr.edge.cpu().numpy()
    for nodes in blocks(len(ptr) - 1, NODES):
        counts = np.diff(ptr[nodes.start : nodes.stop + 1])
        edges = np.sort(edge[ptr[nodes.start] : ptr[nodes.stop]])  # ties are cut in file order
        head = target.edge_index[0, torch.from_numpy(edges)].cpu().numpy()
        order = np.lexsort((draw[edges], head))
        sizes = np.repeat(counts, counts)
        place = np.arange(len(edges)) - np.repeat(np.cumsum(counts) - counts, counts)
        part[edges[order]] = _cut((place + 0.5) / sizes, test, valid)
    return part


def _room(target: Graph) -> np.ndarray:
    """The part of each target edge, int8, all in train at first; in a file if the graph is mapped from files."""
    room: np.ndarray = target.room(target.num_edges, torch.int8).cpu().numpy()
    return room


def _cut(draw: np.ndarray, test: float, valid: float) -> np.ndarray:
    """The part of each edge by its draw between 0 and 1: int8 like `draw`."""
    return np.where(draw < test, TEST, np.where(draw < test + valid, VALID, TRAIN)).astype(np.int8)


def _cold_items(graph: Graph, target: Graph, words: Spec) -> Split:
    words.allow("valid", "warm", "seed")
    if len(words.positional) != 1:
        raise words.wrong("write exactly one share after cold_items:")
    test = words.share(words.positional[0], "F")
    valid = words.share(words.options["valid"], "valid") if "valid" in words.options else 0.0
    items = graph.range(graph.target[2])
    random = np.random.default_rng(words.seed)
    draw = random.random(len(items))
    part_of_item = _cut(draw, test, valid)
    part = part_of_item[target.tail.cpu().numpy() - items.start]
    for name, code, share in (("test", TEST, test), ("valid", VALID, valid)):
        if share and not (part == code).any():
            drawn = int((part_of_item == code).sum())
            why = f", and none of these has a {graph.target[1]!r} edge" if drawn else ""
            raise words.wrong(
                f"of {len(items):,} {graph.target[2]} nodes {drawn or 'none'} {'are' if drawn > 1 else 'is'} drawn for "
                f"{name}{why}; hold out a larger share, or try another seed"
            )
    if "warm" in words.options:
        part[(part == TRAIN) & (random.random(len(part)) < words.share(words.options["warm"], "warm"))] = TEST
    result = _of_parts(graph, part, words)

    def without(known: Graph, parts: tuple[int, ...]) -> Graph:
        cold = np.flatnonzero(np.isin(part_of_item, parts)) + items.start
        withheld = torch.from_numpy(cold).to(graph.device)
        touches = torch.isin(known.tail, withheld) | torch.isin(known.head, withheld)
        if known.same_ends:  # edges of a withheld node in the user's place say nothing about it as an item
            turned = torch.tensor(_is_turned(known), device=graph.device)[known.relation]
            touches = torch.isin(torch.where(turned, known.head, known.tail), withheld)
        behaviour = torch.tensor(_is_behaviour(known), device=graph.device)[known.relation]
        return replace(known.where(~(touches & behaviour)), withheld=withheld)

    return replace(result, train=without(result.train, (TEST, VALID)), train_valid=without(result.train_valid, (TEST,)))


def _by_time(graph: Graph, target: Graph, words: Spec) -> Split:
    words.allow()
    if len(words.positional) != 2:
        raise words.wrong("write exactly two times after by_time:")
    if any(bool((target.time[rows] == NO_TIME).any()) for rows in blocks(target.num_edges)):
        raise KgrecError(
            f"split {words.spec!r} needs times, but some {graph.target[1]!r} edges have none; use another split, such "
            "as last_n or ratio"
        )
    first, second = (_as_time(word, target, words) for word in words.positional)
    if first > second:
        raise words.wrong("the first time is after the second")
    part = _room(target)
    for rows in blocks(target.num_edges):
        time = target.time[rows].cpu().numpy()
        part[rows] = np.where(time < first, TRAIN, np.where(time < second, VALID, TEST))
    for empty, what in ((TRAIN, "train"), (TEST, "test")):
        if len(part) and not (part == empty).any():
            least, most = (np.datetime64(int(one), "s") for one in (target.time.min(), target.time.max()))
            raise KgrecError(
                f"split {words.spec!r} leaves no {target.target[1]!r} edge to {what} on; the times are from {least} to "
                f"{most}: name times between these"
            )
    result = _of_parts(graph, part, words, cut_by_time=True)
    return replace(result, train=result.train.before(first), train_valid=result.train_valid.before(second))


def _as_time(text: str, target: Graph, words: Spec) -> int:
    if text.endswith("%"):
        share = words.share(str(float(text[:-1]) / 100) if text[:-1].replace(".", "", 1).isdecimal() else text, "time")
        return _time_at(target, int(share * target.num_edges + 1e-9))
    if len(text) == 4 and text.isdecimal():
        raise words.wrong(
            f"time {text!r} may be a year or seconds; write {text}-01-01 for the year, 0{text} for seconds"
        )
    if text.removeprefix("-").isdecimal():
        if len(text) > 20 or abs(int(text)) >= 2**62:
            raise words.wrong(f"time {text!r} must be between {-(2**62):,} and {2**62:,} seconds")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise words.wrong(f"time {text!r} must be unix seconds, an ISO date or a share such as 80%") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _time_at(target: Graph, place: int) -> int:
    """The time at a place in the order of times. A mapped graph's times are not sorted, but counted several times."""
    if target.mapped is None:
        return int(target.time.sort().values[place])
    times = target.time.numpy()
    low, high = int(times.min()), int(times.max())
    while low < high:
        middle = (low + high) // 2
        if sum(int(np.count_nonzero(times[rows] <= middle)) for rows in blocks(len(times))) > place:
            high = middle
        else:
            low = middle + 1
    return low


def _is_behaviour(graph: Graph) -> list[bool]:
    """For each edge type, whether it joins the same two node types as the target does, in either direction."""
    return [graph.schema.is_behaviour(edge) for edge in graph.edge_types]


def _is_turned(graph: Graph) -> list[bool]:
    """For each behaviour, whether its sources are the items. Its node types say so; if users and items have one type,
    it is so for the inverse of the target."""
    source, target, _ = graph.target
    if not graph.same_ends:
        return [edge[0] != source for edge in graph.edge_types]
    backwards = graph.schema.edges[graph.target].inverse_of
    return [
        (schema.inverse_of == target or edge[1] == backwards) and edge != graph.target
        for edge, schema in graph.schema.edges.items()
    ]


def _of_parts(graph: Graph, part: np.ndarray, words: Spec, *, cut_by_time: bool = False) -> Split:
    parts = torch.from_numpy(np.ascontiguousarray(part)).to(graph.device)
    target = graph.only(graph.target)
    number = graph.edge_types.index(graph.target)
    rows = slice(graph.relation_ptr[number], graph.relation_ptr[number + 1])

    def known(hidden: tuple[int, ...]) -> Graph:
        held, keep = graph.room(len(parts), torch.bool), graph.room(graph.num_edges, torch.bool)
        for part in blocks(len(parts)):
            for code in hidden:
                held[part] |= parts[part] == code
        for part in blocks(graph.num_edges):
            keep[part] = True
        for part in blocks(len(parts)):
            keep[rows][part] = ~held[part]
        _leave_out_revealing(graph, replace(target, edge_features={}).where(held), number, cut_by_time, keep)
        return graph.where(keep)

    valid, test = (target.where(_where(target, parts, code)) for code in (VALID, TEST))
    return _checked(
        Split(
            words.spec,
            train=known((VALID, TEST)),
            train_valid=known((TEST,)),
            valid=valid if valid.num_edges else None,
            test=test,
        ),
        words,
    )


def _where(target: Graph, parts: Tensor, code: int) -> Tensor:
    """Which target edges are in a part: BoolTensor [target edges]."""
    found = target.room(len(parts), torch.bool)
    for rows in blocks(len(parts)):
        found[rows] = parts[rows] == code
    return found


def _leave_out_revealing(graph: Graph, held: Graph, target_number: int, cut_by_time: bool, keep: Tensor) -> None:
    """Set `keep`, BoolTensor [E], to false for edges of other behaviours that would give held-out edges away.

    These are edges between held-out pairs. With `cut_by_time`, if both have times, they are all edges of a user from
    the user's first held-out edge on.
    """
    behaviours, turned = _is_behaviour(graph), _is_turned(graph)
    behaviours[target_number] = False
    if not any(behaviours) or not held.num_edges:
        return
    never = torch.iinfo(torch.int64).max
    first = torch.full((graph.num_nodes,), never, device=graph.device)  #: LongTensor [N]
    for rows in blocks(held.num_edges):
        has_time = held.time[rows] != NO_TIME
        first.scatter_reduce_(0, held.index.ends_of(rows)[0][has_time], held.time[rows][has_time], "amin")
    for number in (n for n, is_behaviour in enumerate(behaviours) if is_behaviour):
        start, stop = graph.relation_ptr[number], graph.relation_ptr[number + 1]
        for part in blocks(stop - start):
            rows = slice(start + part.start, start + part.stop)
            user, item = graph.index.ends_of(rows)
            if turned[number]:
                user, item = item, user
            reveals = held.is_edge(user, item[:, None]).squeeze(1)
            back = held.is_edge(item, user[:, None]).squeeze(1)  # all false if users and items have different types
            if cut_by_time:
                time = graph.time[rows]
                comparable = (time != NO_TIME) & (first[user] != never)
                reveals = torch.where(comparable, time >= first[user], reveals)
                back &= (time == NO_TIME) | (time >= first[item])
            keep[rows] &= ~(reveals | back)


def _checked(result: Split, words: Spec) -> Split:
    name = result.train.target[1]
    if result.train.only(result.train.target).num_edges == 0:
        raise KgrecError(f"split {words.spec!r} leaves no {name!r} edge to train on; hold out fewer edges")
    if result.test.num_edges == 0:
        raise KgrecError(
            f"split {words.spec!r} leaves no {name!r} edge to test on; hold out more edges (with last_n, a user with "
            "one edge keeps it in train)"
        )
    return result


__getattr__ = renamed(
    __name__, {"spec_of_parts": "kgrec.splits.spec:spec_of_parts", "spec_of_test": "kgrec.splits.spec:spec_of_test"}
)

"""A graph and a SPEC to what training sees, what chooses, and what is measured at the end."""

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
from kgrec.splits.protocol_name import protocol_name
from kgrec.splits.repeats import Repeats, check_repeats, repeated
from kgrec.splits.spec import OF_FACTS, SPECS, Spec, shares_of

TRAIN, VALID, TEST = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Split:
    """What a model may learn from, and what it is held against. Facts without a time stay in every training graph."""

    spec: str  #: as given, which names the protocol together with the candidates
    train: Graph  #: all that training sees
    train_valid: Graph  #: the same with the validation edges: what is known at test, and what --refit trains on
    valid: Graph | None  #: target edges that choose epochs and settings
    test: Graph  #: target edges that are measured once
    candidates: Candidates | None = None  #: items to rank at test; None: all that a user has not seen
    candidates_name: str | None = None  #: what `candidates` is called in the graph
    whole: Graph | None = None  #: where facts are held out: the graph, with train, valid and test
    repeats: Repeats = "miss"  #: what becomes of held-out pairs that the user had already
    left_out: int = 0  #: target edges that are no clicks, and so are not in any part; 0 where all are positives
    exclude: tuple[str, ...] = ()  #: behaviours whose items lists lack too, beside those of the target relation
    facts_only: bool = False  #: where facts are held out: whether the training graphs have no interactions
    num_self_edges: int = 0  #: target edges from a node to itself, which are in no part

    @property
    def protocol(self) -> str:
        """The name under which results may be compared: see `named`."""
        return self.named()

    def named(self, *, refit: bool = False) -> str:
        """The same of what was trained anew on train + valid, where `refit`. It says which behaviours are left out of
        the lists; what becomes of repeats, where that is not the default, and where test has any that are missed; and,
        whatever the model, where test has users without a target edge in what trained, of whom a model that knows
        nothing else ranks by popularity."""
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
            without_history=not torch.isin(self.test.head, trained.only(trained.target).head).all(),
        )
        return name + again

    def trained_on(self, *, refit: bool = False) -> Graph:
        """What a model that is measured on the test learned from. refit: it was trained anew on train + valid."""
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
) -> Split:
    """Divide a graph's target edges by a SPEC, or by the split that its recipe names as standard.

    SPEC: `NAME` (stored in the graph; `NAME,valid=M` holds out each user's last M train edges, `NAME,valid=F` a share,
    with `users=F` all of it of a share F of the users, as a test set is that has many edges of few users),
    `last_n:N[,valid=M]` (each user's last N by time, then file order; users keep at least one edge in train),
    `ratio:F[,valid=F][,per_user][,seed=S]` (test are the rows where `numpy.random.default_rng(seed).random(n) < F`),
    `by_time:T1,T2` (unix seconds or ISO dates, or shares such as 80%,90% of the target edges: valid from T1, test from
    T2) and `cold_items:F[,valid=F][,seed=S]` (all edges of a share of the items). candidates: a list stored in the
    graph. repeats: what becomes of held-out pairs that the user had already, see `kgrec.splits.repeats`. exclude:
    behaviours whose items are left out of users' lists, beside those of the target relation.

    Other behaviours leak as little as target edges do: under `by_time` they end where train ends, under `last_n` they
    end for each user where the first held-out edge is, and where there is no time to compare, and under every other
    SPEC, they lose the held-out pairs.

    Where the target joins nodes of one type, as user follows user, edges from a node to itself are left out first:
    nobody is recommended to themselves. Other relations of these nodes lose held-out pairs in either direction.

    Raises KgrecError for a SPEC that cannot be read or leaves train or test empty, and for `exclude` where lists are
    ranked as they were published; UnknownName for a name not there.
    """
    choice = check_repeats(repeats)
    check_excluded(graph.schema, exclude, keep_seen=choice == "recommend")
    spec = spec or graph.schema.standard.get("split")
    if not spec:
        raise KgrecError("this graph names no standard split; give --split SPEC, such as last_n:1,valid=1")
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
    return replace(divided, spec=spec, candidates=lists, candidates_name=listed, **chosen)


def without_self_edges(graph: Graph) -> Graph:
    """The graph without target edges from a node to itself, where the target joins nodes of one type; its lists of
    candidates stay, and its stored splits for the edges that do."""
    if not graph.same_ends:
        return graph
    target = graph.only(graph.target)
    apart = target.edge_index[0] != target.edge_index[1]
    return graph if bool(apart.all()) else graph.where_target(apart)


def split_facts(graph: Graph, spec: str | None = None, *, facts_only: bool = False) -> Split:
    """Divide a graph's facts, and leave all interactions in train, or none with `facts_only`: for link prediction. The
    facts that are held out are the same.

    SPEC: `ratio:F[,valid=F][,seed=S]` (default `ratio:0.1,valid=0.05,seed=0`). What is divided are pairs of nodes: all
    that is said of a pair, by whatever relation and in either direction, is in one part, so that neither a stated
    inverse nor a repetition gives a held-out fact away. Test are the pairs, in order of their flat numbers, where
    `numpy.random.default_rng(seed).random(n) < F`; a relation that would have no fact left in train, such as one with a
    single fact, keeps its first there. Target edges from a node to itself are left out, as by `split`.

    Raises KgrecError for a SPEC that cannot be read or leaves test empty, and for a graph without facts.
    """
    words = Spec(spec or OF_FACTS)
    if words.kind != "ratio" or len(words.positional) != 1 or not {"valid", "seed"}.issuperset(words.options):
        raise KgrecError(f"split {words.spec!r}: facts are held out by ratio:F[,valid=F][,seed=S]; say {OF_FACTS!r}")
    given, graph = graph, without_self_edges(graph)
    is_fact = ~torch.tensor(_is_behaviour(graph), device=graph.device)[graph.relation]
    if not is_fact.any():
        found = some(dict.fromkeys(edge[1] for edge in graph.edge_types))
        raise KgrecError(
            f"this graph has no facts to hold out; all its relations, {found}, join users and items: add tables or "
            "triples to the recipe, or leave out --task link"
        )
    part = torch.full((graph.num_edges,), TRAIN, dtype=torch.int8, device=graph.device)
    part[is_fact] = _parts_of_facts(graph.where(is_fact), words)
    valid, test = graph.where(part == VALID), graph.where(part == TEST)
    if not test.num_edges:
        raise KgrecError(f"split {words.spec!r} leaves none of {int(is_fact.sum()):,} facts to test on; hold out more")
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
            raise words.wrong("one number is wanted after last_n:")
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
        raise words.wrong(f"{words.positional[0]!r} is none of valid=, users=, seed=")
    part = graph.splits[words.kind].cpu().numpy().copy()
    wanted = words.options.get("valid", "0")
    if "users" in words.options and (wanted == "0" or wanted.isdecimal()):
        raise words.wrong("users= is of a share, such as valid=0.1,users=0.2")
    if wanted != "0":
        if (part == VALID).any():
            raise words.wrong("it has validation edges of its own")
        rows = np.flatnonzero(part == TRAIN)
        if wanted.isdecimal():
            train = target.where(torch.from_numpy(part == TRAIN).to(target.device))
            inner = _last_of_each(train, words.whole_number(wanted, "valid", 1), 0)
            part[rows[inner == TEST]] = VALID
        else:
            part[rows[_drawn(target.head.cpu().numpy()[rows], wanted, words)]] = VALID
    return _of_parts(graph, part, words)


def _drawn(head: np.ndarray, wanted: str, words: Spec) -> np.ndarray:
    """Which train edges a share of them takes for valid; with `users`, the users are drawn after the edges. head: the
    edges' users."""
    share, random = words.share(wanted, "valid"), np.random.default_rng(words.seed)
    draw = random.random(len(head))
    if "users" not in words.options:
        return draw < share
    of_users = words.share(words.options["users"], "users")
    if share >= of_users:
        raise words.wrong(f"{of_users:g} of the users have no {share:g} of the edges to spare")
    users = np.unique(head)
    return (draw < share / of_users) & np.isin(head, users[random.random(len(users)) < of_users])


def _last_of_each(target: Graph, number: int, valid: int) -> np.ndarray:
    """Parts by each user's order in time: the last `number` test, the `valid` before them valid; the first is train."""
    csr = target.csr
    degree = csr.degree()
    row = torch.arange(len(degree), device=target.device).repeat_interleave(degree)
    place = torch.arange(target.num_edges, device=target.device) - csr.ptr[row]  # 0 for a user's first
    from_end = degree[row] - place  # 1 for a user's last
    part = torch.full((target.num_edges,), TRAIN, dtype=torch.int8, device=target.device)
    part[csr.edge[(from_end <= number + valid) & (place > 0)]] = VALID
    part[csr.edge[(from_end <= number) & (place > 0)]] = TEST
    return part.cpu().numpy()


def _ratio(target: Graph, words: Spec) -> np.ndarray:
    test, valid = shares_of(words)
    draw = np.random.default_rng(words.seed).random(target.num_edges)
    if "per_user" in words.positional:  # a user's rows in the order of their draws, cut at exact shares
        head = target.head.cpu().numpy()
        order = np.lexsort((draw, head))
        counts = np.bincount(head, minlength=target.num_nodes)
        place = np.arange(len(head)) - np.repeat(np.cumsum(counts) - counts, counts)
        draw = np.empty(len(head))
        draw[order] = (place + 0.5) / counts[head[order]]
    return _cut(draw, test, valid)


def _cut(draw: np.ndarray, test: float, valid: float) -> np.ndarray:
    """Parts by draws between 0 and 1: int8 like `draw`."""
    return np.where(draw < test, TEST, np.where(draw < test + valid, VALID, TRAIN)).astype(np.int8)


def _cold_items(graph: Graph, target: Graph, words: Spec) -> Split:
    words.allow("valid", "seed")
    if len(words.positional) != 1:
        raise words.wrong("one share is wanted after cold_items:")
    test = words.share(words.positional[0], "F")
    valid = words.share(words.options["valid"], "valid") if "valid" in words.options else 0.0
    items = graph.range(graph.target[2])
    draw = np.random.default_rng(words.seed).random(len(items))
    part_of_item = _cut(draw, test, valid)
    result = _of_parts(graph, part_of_item[target.tail.cpu().numpy() - items.start], words)

    def without(known: Graph, parts: tuple[int, ...]) -> Graph:
        cold = np.flatnonzero(np.isin(part_of_item, parts)) + items.start
        withheld = torch.from_numpy(cold).to(graph.device)
        touches = torch.isin(known.tail, withheld) | torch.isin(known.head, withheld)
        if known.same_ends:  # what a withheld node does as a user says nothing of it as an item
            turned = torch.tensor(_is_turned(known), device=graph.device)[known.relation]
            touches = torch.isin(torch.where(turned, known.head, known.tail), withheld)
        behaviour = torch.tensor(_is_behaviour(known), device=graph.device)[known.relation]
        return replace(known.where(~(touches & behaviour)), withheld=withheld)

    return replace(result, train=without(result.train, (TEST, VALID)), train_valid=without(result.train_valid, (TEST,)))


def _by_time(graph: Graph, target: Graph, words: Spec) -> Split:
    words.allow()
    if len(words.positional) != 2:
        raise words.wrong("two times are wanted after by_time:")
    if (target.time == NO_TIME).any():
        raise KgrecError(f"split {words.spec!r} needs times, and some {graph.target[1]!r} edges have none")
    first, second = (_as_time(word, target, words) for word in words.positional)
    if first > second:
        raise words.wrong("the first time is after the second")
    part = torch.where(target.time < first, TRAIN, torch.where(target.time < second, VALID, TEST))
    result = _of_parts(graph, part.cpu().numpy(), words, cut_by_time=True)
    return replace(result, train=result.train.before(first), train_valid=result.train_valid.before(second))


def _as_time(text: str, target: Graph, words: Spec) -> int:
    if text.endswith("%"):
        share = words.share(str(float(text[:-1]) / 100) if text[:-1].replace(".", "", 1).isdecimal() else text, "time")
        times = target.time.sort().values
        return int(times[int(share * len(times) + 1e-9)])
    if len(text) == 4 and text.isdecimal():
        raise words.wrong(f"time {text!r} is a year or seconds; write {text}-01-01 for a year, 0{text} for seconds")
    if text.removeprefix("-").isdecimal():
        if len(text) > 20 or abs(int(text)) >= 2**62:
            raise words.wrong(f"time {text!r} is no time in seconds, from {-(2**62):,} to {2**62:,}")
        return int(text)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise words.wrong(f"time {text!r} is neither unix seconds, an ISO date nor a share such as 80%") from None
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())


def _is_behaviour(graph: Graph) -> list[bool]:
    """For each edge type, whether it joins the same two node types as the target does, in either direction."""
    return [graph.schema.is_behaviour(edge) for edge in graph.edge_types]


def _is_turned(graph: Graph) -> list[bool]:
    """For each behaviour, whether its sources are the items: by its types, or, where both are one, where it states the
    target backwards."""
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
        held = torch.zeros_like(parts, dtype=torch.bool)
        for code in hidden:
            held |= parts == code
        keep = torch.ones(graph.num_edges, dtype=torch.bool, device=graph.device)
        keep[rows] = ~held
        keep &= ~_revealing(graph, replace(target, edge_features={}).where(held), number, cut_by_time)
        return graph.where(keep)

    valid = target.where(parts == VALID)
    return _checked(
        Split(
            words.spec,
            train=known((VALID, TEST)),
            train_valid=known((TEST,)),
            valid=valid if valid.num_edges else None,
            test=target.where(parts == TEST),
        ),
        words,
    )


def _revealing(graph: Graph, held: Graph, target_number: int, cut_by_time: bool) -> Tensor:
    """Which edges of other behaviours would give held-out edges away: BoolTensor [E].

    These are the held-out pairs; with `cut_by_time`, where both have times, a user's edges from the first held-out on.
    """
    behaviours, turned = _is_behaviour(graph), _is_turned(graph)
    behaviours[target_number] = False
    reveals = torch.zeros(graph.num_edges, dtype=torch.bool, device=graph.device)
    if not any(behaviours) or not held.num_edges:
        return reveals
    never = torch.iinfo(torch.int64).max
    first = torch.full((graph.num_nodes,), never, device=graph.device)  #: LongTensor [N]
    has_time = held.time != NO_TIME
    first.scatter_reduce_(0, held.head[has_time], held.time[has_time], "amin")
    for number in (n for n, is_behaviour in enumerate(behaviours) if is_behaviour):
        rows = slice(graph.relation_ptr[number], graph.relation_ptr[number + 1])
        user, item = graph.head[rows], graph.tail[rows]
        if turned[number]:
            user, item = item, user
        reveals[rows] = held.is_edge(user, item[:, None]).squeeze(1)
        back = held.is_edge(item, user[:, None]).squeeze(1)  # where types differ nothing is
        if cut_by_time:
            time = graph.time[rows]
            comparable = (time != NO_TIME) & (first[user] != never)
            reveals[rows] = torch.where(comparable, time >= first[user], reveals[rows])
            back &= (time == NO_TIME) | (time >= first[item])
        reveals[rows] |= back
    return reveals


def _checked(result: Split, words: Spec) -> Split:
    name = result.train.target[1]
    if result.train.only(result.train.target).num_edges == 0:
        raise KgrecError(f"split {words.spec!r} leaves no {name!r} edge to train on")
    if result.test.num_edges == 0:
        raise KgrecError(
            f"split {words.spec!r} leaves no {name!r} edge to test on (users with one edge keep it in train)"
        )
    return result


__getattr__ = renamed(
    __name__, {"spec_of_parts": "kgrec.splits.spec:spec_of_parts", "spec_of_test": "kgrec.splits.spec:spec_of_test"}
)

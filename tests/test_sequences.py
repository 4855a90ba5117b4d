"""Paths and histories by hand, and against plain loops over lists of edges."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import NO_TIME, Graph
from kgrec.samplers import Edges, History, Loader, Masked, Negatives, Nodes, Sequences

RATED, VIEWED = ("user", "rated", "item"), ("user", "viewed", "item")
USERS = 8
FIRST = USERS  # flat number of the first item
Rows = list[tuple[int, int, int | None]]  # (user, item, time), in the order of the file


def graph_of(items: int = 6, **relations: Rows) -> Graph:
    """A graph of 8 users and so many items; an edge without time has None."""
    frames = {}
    for name, rows in relations.items():
        frame = pd.DataFrame({"source": [f"u{u}" for u, _, _ in rows], "target": [f"i{i}" for _, i, _ in rows]})
        if any(time is not None for _, _, time in rows):
            frame["time"] = pd.array([time for _, _, time in rows], dtype="Int64")
        frames["user", name, "item"] = frame
    nodes = {
        "user": pd.DataFrame({"id": [f"u{u}" for u in range(USERS)]}),
        "item": pd.DataFrame({"id": [f"i{i}" for i in range(items)]}),
    }
    return Graph.from_frames(edges=frames, nodes=nodes, target=("user", next(iter(relations)), "item"))


def shown(nodes: Tensor, pad: int) -> list[list[int | str]]:
    """Rows of local item numbers; `.` is no node."""
    return [["." if node == pad else node - FIRST for node in row] for row in nodes.tolist()]


def rows_of(sequences: Sequences) -> list[tuple[int, list, list]]:
    """(head, history, tail) of every row."""
    batch, pad = sequences[torch.arange(len(sequences))], sequences.graph.pad
    return list(zip(batch.head.tolist(), shown(batch.history, pad), shown(batch.tail, pad)))


ONE = [(0, item, item) for item in range(6)]  # items 0 to 5 at times 0 to 5


# ---------------------------------------------------------------- rows


def test_windows_are_counted_from_the_end_and_the_first_is_what_is_left():
    assert rows_of(Sequences(graph_of(rated=ONE), length=2)) == [
        (0, [3, 4], [4, 5]),
        (0, [1, 2], [2, 3]),
        (0, [".", 0], [".", 1]),
    ]
    assert rows_of(Sequences(graph_of(rated=ONE), length=5)) == [(0, [0, 1, 2, 3, 4], [1, 2, 3, 4, 5])]


def test_without_windows_only_the_end_is_a_row():
    assert rows_of(Sequences(graph_of(rated=ONE), length=2, windows=False)) == [(0, [3, 4], [4, 5])]


def test_a_batch_is_as_wide_as_its_longest_path_and_padded_on_the_left():
    graph = graph_of(rated=[*ONE[:4], (3, 5, 1), (3, 0, 2)])
    assert rows_of(Sequences(graph, length=50)) == [
        (0, [0, 1, 2], [1, 2, 3]),
        (3, [".", ".", 5], [".", ".", 0]),
    ]
    short = Sequences(graph, length=50)[torch.tensor([1])]
    assert short.history.tolist() == [[FIRST + 5]] and short.tail.tolist() == [[FIRST + 0]]


def test_edges_of_one_time_follow_in_the_order_of_the_file():
    graph = graph_of(rated=[(0, 4, 9), (0, 2, 9), (0, 3, 9), (0, 1, 3)])
    assert rows_of(Sequences(graph, length=9)) == [(0, [1, 4, 2], [4, 2, 3])]


def test_a_gap_ends_a_path_and_a_lone_edge_is_none():
    times = [0, 10, 21, 31, 99]  # steps of 10, 11, 10 and 68 seconds
    graph = graph_of(rated=[(1, item, time) for item, time in enumerate(times)])
    assert rows_of(Sequences(graph, length=9, gap=10)) == [(1, [0], [1]), (1, [2], [3])]
    assert rows_of(Sequences(graph, length=9, gap=11)) == [(1, [0, 1, 2], [1, 2, 3])]


@pytest.mark.parametrize("time", [-5, 0, 5])
def test_an_edge_without_time_is_before_all_others_and_any_gap_lies_between(time: int):
    graph = graph_of(rated=[(1, 0, None), (1, 1, None), (1, 2, time), (1, 3, time + 1)])
    assert rows_of(Sequences(graph, length=9)) == [(1, [0, 1, 2], [1, 2, 3])]
    assert rows_of(Sequences(graph, length=9, gap=100)) == [(1, [0], [1]), (1, [2], [3])]


def test_other_behaviours_are_steps_and_no_targets():
    graph = graph_of(
        rated=[(0, 1, 2), (0, 3, 4), (1, 5, 1), (2, 0, 1), (2, 1, 2)],
        viewed=[(0, 0, 1), (0, 2, 3), (0, 4, 5), (1, 4, 2), (1, 3, 3)],
    )
    sequences = Sequences(graph, length=9, targets=("rated",))
    # user 1 rates only its first item, of which nothing is before: it has no row
    assert rows_of(sequences) == [(0, [0, 1, 2, 3], [1, ".", 3, "."]), (2, [".", ".", ".", 0], [".", ".", ".", 1])]
    assert sequences[torch.tensor([0, 1])].behaviour.tolist() == [[1, 0, 1, 0], [-1, -1, -1, 0]]
    assert Sequences(graph.only("rated"), length=9)[torch.tensor([0])].behaviour is None
    assert len(Sequences(graph, length=9)) == 3  # without `targets` all are


def test_windows_without_a_target_are_left_out():
    graph = graph_of(rated=[(0, 1, 2)], viewed=[(0, item, time) for item, time in [(0, 1), (2, 3), (3, 4), (4, 5)]])
    assert rows_of(Sequences(graph, length=2, targets=("rated",))) == [(0, [0, 1], [1, "."])]


# ---------------------------------------------------------------- without the shift


def test_without_the_shift_tails_are_the_steps_themselves():
    graph = graph_of(rated=[*ONE, (3, 5, 1), (3, 0, 2)])
    assert rows_of(Sequences(graph, length=4, shift=False)) == [
        (0, [2, 3, 4, 5], [2, 3, 4, 5]),
        (0, [".", ".", 0, 1], [".", ".", 0, 1]),
        (3, [".", ".", 5, 0], [".", ".", 5, 0]),
    ]
    assert rows_of(Sequences(graph, length=4, shift=False, windows=False)) == [
        (0, [2, 3, 4, 5], [2, 3, 4, 5]),
        (3, [".", ".", 5, 0], [".", ".", 5, 0]),
    ]


def test_without_the_shift_a_gap_ends_a_path_and_other_behaviours_are_no_targets():
    times = [0, 10, 21, 31, 99]
    graph = graph_of(rated=[(1, item, time) for item, time in enumerate(times)])
    assert rows_of(Sequences(graph, length=9, gap=10, shift=False)) == [(1, [0, 1], [0, 1]), (1, [2, 3], [2, 3])]
    graph = graph_of(rated=[(0, 1, 2), (1, 5, 1)], viewed=[(0, 0, 1), (1, 4, 2), (2, 3, 3), (2, 4, 4)])
    sequences = Sequences(graph, length=9, targets=("rated",), shift=False)
    # the first step may be a target here, so user 1 has a row; user 2 rates nothing
    assert rows_of(sequences) == [(0, [0, 1], [".", 1]), (1, [5, 4], [5, "."])]
    assert sequences[torch.tensor([0, 1])].behaviour.tolist() == [[1, 0], [0, 1]]


@pytest.mark.parametrize("length", [1, 2, 3, 50])
def test_without_the_shift_every_step_is_in_one_row(length: int):
    for seed in range(6):
        rows = random_rows(np.random.default_rng(seed), 40)
        sequences = Sequences(graph_of(rated=rows), length, shift=False)
        found: dict[int, list] = {}
        for head, history, tail in reversed(rows_of(sequences)):  # windows are counted from the end
            assert history == tail and 1 <= sum(step != "." for step in history) <= length
            found.setdefault(head, []).extend(step for step in history if step != ".")
        paths = paths_of([(*row, "rated") for row in rows], None)
        assert found == {path[0][0]: [row[1] for row in path] for path in paths if len(path) > 1}


def masked_rows(graph: Graph, count: int, stage: Masked, **options):
    """The same row so many times, masked."""
    sequences = Sequences(graph, 9, shift=False, **options)
    batch = sequences[torch.zeros(count, dtype=torch.long)]
    return batch, stage(batch, torch.Generator().manual_seed(3))


def test_masked_hides_the_item_and_leaves_it_as_the_only_target():
    graph = graph_of(rated=[*ONE[:5], (3, 5, 1), (3, 0, 2)])
    sequences, stage = Sequences(graph, 9, shift=False), Masked(graph, 0.4)
    batch = sequences[torch.tensor([0, 1])]
    found = stage(batch, torch.Generator().manual_seed(0))
    masked = found.masked
    assert masked.any(1).all() and not masked.all() and not masked[1, :3].any()  # a pad is never hidden
    assert (found.history[masked] == graph.pad).all() and (found.tail[~masked] == graph.pad).all()
    assert torch.equal(found.history[~masked], batch.history[~masked])
    assert torch.equal(found.tail[masked], batch.history[masked])
    again = stage(batch, torch.Generator().manual_seed(0))
    assert torch.equal(again.masked, masked)


def test_masked_steps_are_as_many_as_asked_and_one_at_least():
    """Of five steps none would be hidden with .8^5 = .328, and then one is: each place is hidden with .2 + .328 / 5."""
    graph, count = graph_of(rated=ONE[:5]), 20_000
    _, found = masked_rows(graph, count, Masked(graph, 0.2))
    assert found.masked.any(1).all()
    error = 4 * (0.2656 * 0.7344 / count) ** 0.5
    torch.testing.assert_close(found.masked.float().mean(0), torch.full((5,), 0.2656), rtol=0, atol=error)
    alone = (found.masked.sum(1) == 1).float().mean().item()  # 5 * .2 * .8^4 + .8^5
    assert alone == pytest.approx(0.7373, abs=4 * (0.7373 * 0.2627 / count) ** 0.5)


def test_masked_hides_the_last_target_alone_in_a_share_of_paths():
    graph = graph_of(rated=[(0, 1, 1), (0, 2, 3)], viewed=[(0, 0, 0), (0, 3, 2), (0, 4, 4)])
    assert [row[1:] for row in rows_of(Sequences(graph, 9, targets=("rated",), shift=False))] == [
        ([0, 1, 3, 2, 4], [".", 1, ".", 2, "."])
    ]
    _, always = masked_rows(graph, 50, Masked(graph, 0.9, last_only=1.0), targets=("rated",))
    assert always.masked.tolist() == [[False, False, False, True, False]] * 50
    _, often = masked_rows(graph, 20_000, Masked(graph, 0.5, last_only=0.25), targets=("rated",))
    assert not often.masked[:, [0, 2, 4]].any()  # what is viewed is no target
    # one alone: each of (10, 01) with 1/4 and 00, which goes to either, with 1/4; both with 1/4
    share = [0.75 * (0.25 + 0.125), 0.75 * (0.25 + 0.125) + 0.25, 0.75 * 0.25]
    first, last = often.masked[:, 1], often.masked[:, 3]
    found = [(first & ~last), (last & ~first), (first & last)]
    assert [one.float().mean().item() for one in found] == pytest.approx(share, abs=4 * 0.5 / 20_000**0.5)


@pytest.mark.parametrize("probability", [0.0, 1.0, -0.5])
def test_masked_refuses_what_it_cannot_hide(probability: float):
    graph = graph_of(rated=ONE)
    with pytest.raises(KgrecError, match=f"probability is {probability}; a number between 0 and 1"):
        Masked(graph, probability)
    with pytest.raises(KgrecError, match="last_only is 2; a share from 0 to 1"):
        Masked(graph, last_only=2)
    for seeds in (Sequences(graph, 9), Edges(graph)):
        with pytest.raises(KgrecError, match=r"Sequences\(\.\.\., shift=False\)"):
            next(iter(Loader(seeds, Masked(graph), batch_size=2)))


# ---------------------------------------------------------------- against plain loops


def random_rows(rng: np.random.Generator, number: int) -> Rows:
    """Edges of few times, so that many tie, and some of the users have none."""
    return [(int(u), int(i), int(t)) for u, i, t in rng.integers(0, (USERS - 1, 6, 12), (number, 3))]


def paths_of(rows: list[tuple[int, int, int, str]], gap: int | None) -> list[list[tuple[int, int, int, str]]]:
    """Sorted by time (Python's sort keeps the file's order), cut at the gaps; rows are (user, item, time, relation)."""
    paths: list[list[tuple[int, int, int, str]]] = []
    for user in range(USERS):
        mine, last = sorted((row for row in rows if row[0] == user), key=lambda row: row[2]), None
        for row in mine:
            if last is None or (gap is not None and row[2] - last > gap):
                paths.append([])
            paths[-1].append(row)
            last = row[2]
    return paths


@pytest.mark.parametrize("gap", [None, 1, 2])
@pytest.mark.parametrize("length", [1, 2, 3, 50])
def test_every_step_but_the_first_is_a_target_once(length: int, gap: int | None):
    for seed in range(12):
        rows = random_rows(np.random.default_rng(seed), 40)
        sequences = Sequences(graph_of(rated=rows), length, gap=gap)
        found: Counter = Counter()
        for head, history, tail in rows_of(sequences):
            assert len(history) == len(tail) <= length and sum(step != "." for step in tail) >= 1
            found.update((head, a, b) for a, b in zip(history, tail) if b != ".")
            assert [step == "." for step in history] == [step == "." for step in tail]
        paths = paths_of([(*row, "rated") for row in rows], gap)
        assert found == Counter((a[0], a[1], b[1]) for path in paths for a, b in pairwise(path))


@pytest.mark.parametrize("length", [1, 3, 50])
def test_whole_rows_equal_a_plain_cut_with_several_behaviours(length: int):
    """Rows as (user, steps, their relations, targets), where a step that is no target is left out of the last."""
    for seed in range(12):
        rng = np.random.default_rng(seed)
        rated, viewed = random_rows(rng, 20), random_rows(rng, 25)
        sequences = Sequences(graph_of(rated=rated, viewed=viewed), length, gap=4, targets=("rated",))
        rows = [(*row, "rated") for row in rated] + [(*row, "viewed") for row in viewed]
        wanted = Counter()
        for path in paths_of(rows, 4):
            for end in range(len(path), 1, -length):  # windows of `length` targets, from the path's end
                window = path[max(0, end - 1 - length) : end]
                if any(step[3] == "rated" for step in window[1:]):
                    wanted[tuple(window)] += 1
        batch = sequences[torch.arange(len(sequences))]
        found = Counter()
        for index, (head, history, tail) in enumerate(rows_of(sequences)):
            first = next(place for place, node in enumerate(history) if node != ".")
            kinds = tuple(("rated", "viewed")[kind] for kind in batch.behaviour[index, first:].tolist())
            found[head, tuple(history[first:]), kinds, tuple(tail[first:])] += 1
            assert tail[:first] == ["."] * first and (batch.behaviour[index, :first] == -1).all()
        assert found == Counter(
            {
                (
                    window[0][0],
                    tuple(step[1] for step in window[:-1]),
                    tuple(step[3] for step in window[:-1]),
                    tuple(step[1] if step[3] == "rated" else "." for step in window[1:]),
                ): times
                for window, times in wanted.items()
            }
        )


def test_rows_are_two_numbers_each_and_no_path_is_copied():
    """One user's path of 20,000 steps: as many rows of 50, each with all of its 50 steps, would be 50 E numbers."""
    rows = [(0, step % 6, step) for step in range(20_000)]
    graph = graph_of(rated=rows)
    for length, number in ((50, 400), (1, 19_999)):
        sequences = Sequences(graph, length)
        held = [value for value in vars(sequences).values() if isinstance(value, Tensor)]
        assert len(sequences) == number and sequences.start.shape == sequences.stop.shape == (number,)
        assert sum(value.numel() for value in held) <= 3 * number  # first, last and head
        assert sequences.histories.csr is graph.csr  # and the graph's own index of 3 numbers an edge
    graph = graph_of(rated=rows[:2], viewed=rows)
    assert Sequences(graph, 50, targets=("rated",)).is_target.shape == (20_002,)


# ---------------------------------------------------------------- what is refused


def test_what_has_no_order_or_no_next_step_is_refused():
    with pytest.raises(KgrecError, match="no user has two edges in a row, so there is no next step"):
        Sequences(graph_of(rated=[(0, 1, 1), (1, 1, 2), (2, 1, 3)]), length=5)
    with pytest.raises(KgrecError, match="no user has two edges in a row"):
        Sequences(graph_of(rated=[(0, 1, 0), (0, 2, 9)]), length=5, gap=1)
    with pytest.raises(KgrecError, match="rated has the same time, 7, for all edges, so there is no order"):
        Sequences(graph_of(rated=[(0, 1, 7), (0, 2, 7)]), length=5)
    with pytest.raises(KgrecError, match=r"rated has no times, .*name the column of times in the recipe \(`time:`\)"):
        Sequences(graph_of(rated=[(0, 1, None), (0, 2, None)]), length=5)
    with pytest.raises(KgrecError, match="no path has a target edge after its first step"):
        Sequences(graph_of(rated=[(0, 1, 1)], viewed=[(0, 2, 2)]), length=5, targets=("rated",))
    with pytest.raises(KgrecError, match="no user has two edges in a row"):
        Sequences(Graph.empty(graph_of(rated=ONE).schema), length=5)


def test_wrong_settings_are_refused():
    graph = graph_of(rated=ONE)
    with pytest.raises(KgrecError, match="sequences: length is 0; 1 step or more"):
        Sequences(graph, length=0)
    with pytest.raises(KgrecError, match="sequences: gap is 0; 1 second or more"):
        Sequences(graph, length=1, gap=0)
    with pytest.raises(UnknownName, match="no relation 'watched'"):
        Sequences(graph, length=1, targets=("watched",))
    with pytest.raises(KgrecError, match="history: length is 0; 1 step or more"):
        History(graph, 0)


# ---------------------------------------------------------------- in a loader


def test_a_loader_gives_every_row_once_with_negatives_for_every_target():
    rows = random_rows(np.random.default_rng(3), 60)
    graph = graph_of(rated=rows)
    sequences = Sequences(graph, 3)
    batches = list(Loader(sequences, Negatives(graph, 4), batch_size=5))
    assert len(batches) == -(-len(sequences) // 5) and not sequences.by_example
    assert all(batch.negative.shape == (*batch.tail.shape, 4) for batch in batches)
    targets = sum(int((batch.tail != graph.pad).sum()) for batch in batches)
    assert targets == sum(count - 1 for count in Counter(user for user, _, _ in rows).values())
    shared = next(iter(Loader(sequences, Negatives(graph, 4, shared=True), batch_size=5)))
    assert shared.negative.shape == (4,)


# ---------------------------------------------------------------- History


def histories(graph: Graph, seeds: Graph, length: int) -> list[list]:
    """The history of each edge of `seeds`, in their order."""
    stage = History(graph, length) if seeds is graph else History(graph, length, seeds=seeds)
    (batch,) = Loader(Edges(seeds), stage, batch_size=1000, shuffle=False)
    assert batch.history.shape == (seeds.num_edges, length)
    return shown(batch.history, graph.pad)


def test_a_history_is_strictly_before_its_edge():
    graph = graph_of(rated=[(0, 3, 7), (0, 1, 5), (0, 2, 7), (1, 0, 6), (0, 4, 9)])
    # of the two edges at 7 the one earlier in the file is before the other, and not the other way round
    assert histories(graph, graph, 3) == [[".", ".", 1], [".", ".", "."], [".", 1, 3], [".", ".", "."], [1, 3, 2]]
    assert histories(graph, graph, 2)[4] == [3, 2]


def test_of_another_graph_only_earlier_times_are_seen():
    graph = graph_of(rated=[(0, 0, 5), (0, 1, 6), (0, 5, None)], viewed=[(0, 2, 4), (0, 3, 5), (0, 4, None)])
    rated, viewed = graph.only("rated"), graph.only("viewed")
    assert histories(viewed, rated, 3) == [[".", 4, 2], [4, 2, 3], [".", ".", "."]]
    both = History(graph, 4, seeds=rated)
    (batch,) = Loader(Edges(rated), both, batch_size=9, shuffle=False)
    assert shown(batch.history, graph.pad) == [[".", 5, 4, 2], [4, 2, 0, 3], [".", ".", ".", "."]]
    assert batch.behaviour.tolist() == [[-1, 0, 1, 1], [1, 1, 0, 1], [-1] * 4]


def test_histories_equal_plain_loops():
    for seed in range(15):
        rng = np.random.default_rng(seed)
        rated, viewed = random_rows(rng, 30), random_rows(rng, 30)
        graph = graph_of(rated=rated, viewed=viewed)
        own, other = graph.only("rated"), graph.only("viewed")
        for length in (1, 4, 40):
            for edge, history in enumerate(histories(own, own, length)):
                user, _, time = rated[edge]
                before = [(t, e, i) for e, (u, i, t) in enumerate(rated) if u == user and (t, e) < (time, edge)]
                steps = [item for _, _, item in sorted(before)][-length:]
                assert history == ["."] * (length - len(steps)) + steps
            for edge, history in enumerate(histories(other, own, length)):
                user, _, time = rated[edge]
                before = [(t, e, i) for e, (u, i, t) in enumerate(viewed) if u == user and t < time]
                steps = [item for _, _, item in sorted(before)][-length:]
                assert history == ["."] * (length - len(steps)) + steps


def test_histories_and_negatives_of_several_batches_are_drawn_at_once():
    graph = graph_of(rated=random_rows(np.random.default_rng(5), 50))
    stage = History(graph, 3)
    batches = list(Loader(Edges(graph), stage, Negatives(graph, 2), batch_size=8))
    assert stage.by_example and [len(batch) for batch in batches] == [8] * 6 + [2]
    whole = stage(Edges(graph)[torch.arange(50)], torch.Generator()).history
    for batch in batches:
        assert torch.equal(batch.history, whole[batch.edge]) and batch.negative.shape == (len(batch), 2)


def test_a_history_of_what_is_no_edge_is_refused():
    graph = graph_of(rated=ONE)
    with pytest.raises(KgrecError, match="the seeds of this loader are not edges; use Edges"):
        next(iter(Loader(Nodes(graph, "user"), History(graph, 2), batch_size=2)))


def test_an_edge_without_time_is_known_by_its_number():
    assert int(graph_of(rated=[(0, 1, None), (0, 2, 3)]).time[0]) == NO_TIME

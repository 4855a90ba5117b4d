"""Races to quality: curves and thresholds, the evaluator, contestants that fail, and a whole race of kgrec alone."""

import importlib
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest

import kgrec
from kgrec.errors import KgrecError
from kgrec.graph import Graph

ROOT = Path(__file__).parents[1]


def module(name: str) -> ModuleType:
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(str(ROOT / "scripts"))


race, contestants, curves, results = map(module, ("race", "racing.contestants", "racing.curves", "racing.results"))
course, held_out = module("racing.course"), module("racing.held_out")
Contestant, Entry, Point, Training = contestants.Contestant, results.Entry, curves.Point, contestants.Training


def curve(*points: tuple[float, float]) -> list:
    """Points of (seconds, score), one an epoch."""
    return [Point(epoch, *point) for epoch, point in enumerate(points, 1)]


def training(*points: tuple[float, float], ended: str = "all epochs"):
    return Training({"lr": 0.1}, 1, curve(*points), 2.0, ended)


# ---------------------------------------------------------------------- curves


def test_the_first_point_at_a_share_of_the_best_counts_even_if_the_score_falls_again():
    found = curve((1.0, 0.10), (2.0, 0.19), (3.0, 0.15), (4.0, 0.20))
    assert curves.reached(found, 0.95 * 0.20) == Point(2, 2.0, 0.19)
    assert curves.reached(found, 0.99 * 0.20) == Point(4, 4.0, 0.20)
    assert curves.reached(found, 0.21) is None
    assert curves.best_of(found) == 0.20
    assert curves.best_of([]) == 0.0


def test_the_mean_of_trainings_is_over_the_epochs_that_all_have():
    both = [curve((1.0, 0.1), (2.0, 0.3), (3.0, 0.2)), curve((2.0, 0.2), (4.0, 0.4))]
    assert curves.mean_curve(both) == [Point(1, 1.5, pytest.approx(0.15)), Point(2, 3.0, pytest.approx(0.35))]
    assert curves.mean_curve([]) == []


def test_a_training_is_over_when_the_last_points_bring_nothing_better():
    found = curve((1, 0.1), (2, 0.3), (3, 0.3), (4, 0.2))
    assert curves.is_over(found, 2)
    assert not curves.is_over(found, 3)  # of the last three one is above the first
    assert not curves.is_over(found, 4)


def test_epochs_that_are_scored():
    assert [epoch for epoch in range(1, 72) if course.is_scored(epoch, 71)] == [
        *range(1, 21),
        *range(22, 61, 2),
        65,
        70,
        71,
    ]


def of_two(**more) -> object:
    """A race in which one is faster and the other better, with 1.0 as the best score."""
    fast = Entry("fast", tuned=[training((1.0, 0.5), (2.0, 0.96), (3.0, 0.97))], defaults=[training((1.0, 0.4))])
    good = Entry("good", tuned=[training((4.0, 0.94), (8.0, 1.0))], defaults=[training((4.0, 0.2), ended="time")])
    return results.Results("race-a", "A model", [fast, good], {}, **more)


def test_who_is_first_to_each_share_of_the_best_of_all():
    found = of_two()
    assert found.best == 1.0
    assert (found.first("tuned", 0.95), found.first("tuned", 0.99)) == ("fast", "good")
    assert found.first("defaults", 0.95) is None
    assert found.figures() == {
        "best": 1.0,
        "fast_tuned_95_seconds": 2.0,
        "good_tuned_95_seconds": 8.0,
        "good_tuned_99_seconds": 8.0,
    }


def test_the_table_says_what_was_not_reached_and_what_was_not_run():
    found = of_two()
    found.entries.append(Entry("absent", not_run="absent is not run: there is no Python"))
    failed = Training({}, 1, (), 0.0, "failed: ImportError: a | b")
    found.entries.append(Entry("broken", tuned=[failed], defaults=[failed]))
    table = found.tables()
    assert "| fast | 0.9700 | 2.00 (epoch 2) | not reached | 1.00 | 2.0 | `lr` 0.1 |" in table
    assert "| good | 1.0000 | 8.00 (epoch 2) | 8.00 (epoch 2) | 4.00 | 2.0 | `lr` 0.1 |" in table
    assert "| good | 0.2000 | not in its time | not in its time | 4.00 | 2.0 | `lr` 0.1 |" in table
    assert "| absent | not run |" in table
    assert "absent: absent is not run: there is no Python" in table
    assert "| broken | failed: ImportError: a / b |" in table
    assert "First to 95%: fast, to 99%: good." in table
    assert "First to 95%: nobody, to 99%: nobody." in table


def test_the_range_over_seeds_is_said_where_all_seeds_come_there():
    entry = Entry("a", tuned=[training((1.0, 0.5), (2.0, 1.0)), training((3.0, 0.7), (4.0, 1.0))])
    table = results.Results("race-a", "A", [entry], {}).tables()
    assert "| a | 1.0000 | 3.00 (epoch 2, 2.00 to 4.00) | 3.00 (epoch 2, 2.00 to 4.00) | 1.50 |" in table


def test_a_race_is_saved_and_drawn_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    found = of_two()
    found.save(tmp_path / "race-a.json")
    again = results.Results.load(tmp_path / "race-a.json")
    assert again.tables() == found.tables()
    assert race.main([str(tmp_path / "race-a.json"), "--plot", str(tmp_path / "race-a.svg")]) == 0
    assert capsys.readouterr().out == found.tables()
    drawn = (tmp_path / "race-a.svg").read_text()
    assert drawn.startswith("<svg") and "A model: equal tuning" in drawn
    assert race.main([str(tmp_path / "other.json")]) == 1
    assert "run a race first" in capsys.readouterr().err


# ---------------------------------------------------------------------- one evaluator for all


def small(tmp_path: Path):
    """Users 0 and 2 have something held out, of the items 0 to 11 of train; user 1 has not."""
    known = np.sort(np.array([0 * 12 + 0, 0 * 12 + 1, 1 * 12 + 2, 2 * 12 + 3]))
    relevant = np.array([0 * 12 + 5, 2 * 12 + 6, 2 * 12 + 7])
    return held_out.HeldOut(tmp_path / "train.csv", tmp_path / "users.txt", known, relevant, np.array([0, 2]), 12, 0)


def listed(*rows: list[int]) -> np.ndarray:
    return np.array([row + [-1] * (10 - len(row)) for row in rows], np.int32)


def test_lists_are_scored_by_hand(tmp_path: Path):
    """User 0 has the one hit at rank 2; user 2 has one of two at rank 1."""
    gains = 1 / np.log2([2, 3])
    wanted = (gains[1] / gains[0] + gains[0] / gains.sum()) / 2
    assert small(tmp_path).score(listed([4, 5], [6, 8, 9])) == pytest.approx(wanted)
    assert small(tmp_path).score(listed([], [])) == 0.0


@pytest.mark.parametrize(
    ("lists", "said"),
    [
        (listed([0], [6]), "has in train"),
        (listed([4, 4], [6]), "twice in a user's list"),
        (listed([12], [6]), "there are 0 to 11"),
        (listed([4]), "must have"),
    ],
)
def test_lists_that_no_contestant_may_hand_in(lists: np.ndarray, said: str, tmp_path: Path):
    with pytest.raises(KgrecError, match=said):
        small(tmp_path).score(lists)


def test_a_split_as_plain_files(tmp_path: Path):
    """bob's second item and cem are in nobody's train, so no contestant could rank them."""
    rows = [("ann", "x", 1), ("ann", "y", 2), ("ann", "z", 3), ("ann", "w", 4)]
    rows += [("bob", "z", 9), ("bob", "x", 7), ("bob", "only", 10), ("bob", "y", 11)]
    frame = pd.DataFrame(rows, columns=["source", "target", "time"])
    graph = Graph.from_frames(edges={("user", "had", "item"): frame})
    found = held_out.hold_out(graph, "last_n:1,valid=1", tmp_path / "split")
    assert found.train.read_text() == "user,item,time\n0,0,1\n0,1,2\n1,0,7\n1,2,9\n"
    assert found.users.read_text() == "0\n"
    assert (found.num_items, found.num_left_out, found.relevant.tolist()) == (3, 1, [2])
    with pytest.raises(KgrecError, match="has no valid"):
        held_out.hold_out(graph, "last_n:1", tmp_path / "split")


# ---------------------------------------------------------------------- contestants


def conditions(tmp_path: Path, **more):
    known = np.array([0, 1, 5, 7])  # of 2 users and 4 items
    (tmp_path / "train.csv").write_text("user,item,time\n0,0,1\n0,1,2\n1,1,3\n1,3,4\n")
    (tmp_path / "users.txt").write_text("0\n1\n")
    files = tmp_path / "train.csv", tmp_path / "users.txt"
    data = held_out.HeldOut(*files, known, np.array([2, 4]), np.array([0, 1]), 4, 0)
    return contestants.Conditions(data, **{"epochs": 9, "seconds": 60.0, "patience": 3, "threads": 1, **more})


def peer(tmp_path: Path, code: str) -> Path:
    """A folder of environments in which Python, of RecBole, runs this in place of the program. The job is `job`."""
    (tmp_path / "fake.py").write_text(f"import sys\nfrom racing.course import Course\njob = sys.argv[1]\n{code}")
    python = tmp_path / "peers/recbole/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec {sys.executable} {tmp_path / "fake.py"} "$3"\n')
    python.chmod(0o755)
    return tmp_path / "peers"


TOGETHER = """
import numpy as np
course = Course(job)
print("what a library prints goes to standard error")
course.ready({"fake": "1"})
for epoch in range(1, 100):
    scores = np.tile([0.0, 0.0, 1.0 + epoch, 3.0], (2, 1))
    if epoch > 2:
        scores[:, 3] = 9
    if not course.after_epoch(epoch, lambda users: scores[users], seconds=float(epoch)):
        break
"""


def test_a_contestants_lists_are_scored_until_nothing_better_comes(tmp_path: Path):
    """User 0 wants item 2, user 1 item 0. Epoch 1 puts item 3 before 2, epoch 2 has a tie, which the first number
    wins; later epochs are as the first."""
    on = conditions(tmp_path, peers=peer(tmp_path, TOGETHER))
    found = contestants.run_training(Contestant("A", "recbole", "BPR"), {"lr": 1}, 5, on)
    of_one, second = 1 / np.log2(3), 1 / np.log2(3)
    scores = [(of_one + second) / 2, (1 + second) / 2, (of_one + second) / 2]
    assert [point.score for point in found.points[:3]] == pytest.approx(scores)
    assert [point.seconds for point in found.points] == [1.0, 2.0, 3.0, 4.0, 5.0]
    assert (found.ended, found.seed, dict(found.versions)) == ("no better", 5, {"fake": "1"})
    assert found.setup > 0


@pytest.mark.parametrize(("clock", "counted"), [("wall", 1.0), ("cpu", 2.0)])
def test_what_the_clock_counts(clock: str, counted: float, tmp_path: Path):
    """The program is given a clock of each kind that stands still, so only its own steps count."""
    frozen = "import time\ntime.perf_counter = iter(range(100)).__next__\n"
    frozen += "time.process_time = iter(range(0, 200, 2)).__next__\n"
    code = frozen + TOGETHER.replace(", seconds=float(epoch)", "")
    on = conditions(tmp_path, peers=peer(tmp_path, code), clock=clock, epochs=2)
    found = contestants.run_training(Contestant("A", "recbole", "BPR"), {}, 0, on)
    assert [point.seconds for point in found.points] == [counted, 2 * counted]
    table = results.Results("a", "A", [Entry("A", tuned=[found])], {"clock": clock}).tables()
    assert f"| {'CPU seconds' if clock == 'cpu' else 'Seconds'} to 95% |" in table


def test_a_contestant_is_stopped_when_its_seconds_are_over(tmp_path: Path):
    on = conditions(tmp_path, peers=peer(tmp_path, TOGETHER), seconds=2.0)
    found = contestants.run_training(Contestant("A", "recbole", "BPR"), {}, 0, on)
    assert (len(found.points), found.ended) == (2, "time")


def test_a_contestant_that_crashes_keeps_what_it_has(tmp_path: Path):
    code = TOGETHER.replace("scores = np", "if epoch == 2: raise SystemExit('out of luck')\n    scores = np")
    on = conditions(tmp_path, peers=peer(tmp_path, code))
    found = contestants.run_training(Contestant("A", "recbole", "BPR"), {}, 0, on)
    assert (len(found.points), found.ended, found.failed) == (1, "failed: out of luck", True)


def test_scores_that_are_not_finite_are_no_lists(tmp_path: Path):
    on = conditions(tmp_path, peers=peer(tmp_path, TOGETHER.replace("3.0]", "np.nan]")))
    found = contestants.run_training(Contestant("A", "recbole", "BPR"), {}, 0, on)
    assert found.ended == "failed: ValueError: 2 of 8 scores are not finite"
    assert not found.points


def test_a_contestant_that_does_not_answer_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(contestants, "SET_UP", 1.0)
    on = conditions(tmp_path, peers=peer(tmp_path, "import time\ntime.sleep(1000)\n"))
    found = contestants.run_training(Contestant("A", "recbole", "BPR"), {}, 0, on)
    assert found.ended == "failed: no answer in 1 s"


def test_a_setting_that_kgrec_does_not_have_is_a_failure_that_is_said(tmp_path: Path):
    found = contestants.run_training(Contestant("kgrec", "kgrec", "mf"), {"rl": 0.1}, 0, conditions(tmp_path))
    assert found.failed and "rl" in found.ended


def test_a_peer_without_an_environment_says_how_to_make_one(tmp_path: Path):
    with pytest.raises(contestants.NotInstalled, match=r"there is no .*/lenskit/bin/python; .*pip install"):
        contestants.python_of("lenskit", tmp_path)
    with pytest.raises(contestants.NotInstalled, match="KGREC_PEERS"):
        contestants.python_of("rectools", None)
    with pytest.raises(KgrecError, match="recboel"):
        contestants.python_of("recboel", tmp_path)


def test_trials_are_drawn_from_all_combinations_without_repeats():
    both = Contestant("a", "kgrec", "mf", {"dim": 8}, {"lr": [1, 2, 3], "l2": [4, 5]})
    found = both.trials(4)
    assert len({(one["lr"], one["l2"]) for one in found}) == 4
    assert all(one["dim"] == 8 for one in found)
    assert found == both.trials(4)
    assert len(both.trials(100)) == 6


# ---------------------------------------------------------------------- a whole race


def test_a_race_of_kgrec_alone_on_the_sample(tmp_path: Path, capsys: pytest.CaptureFixture[str]):
    graph, _ = kgrec.build(ROOT / "graphs/shop/shop.yaml")
    alone = Contestant("kgrec", "kgrec", "mf", {"dim": 8}, {"lr": [0.1, 0.01]}, {"dim": 4})
    absent = Contestant("LensKit", "lenskit", "ALS", {}, {"weight": [1.0, 2.0]})
    plan = race.Plan(
        name="race-shop",
        title="MF, the sample shop",
        split="last_n:1,valid=1",
        contestants=[alone, absent],
        epochs=2,
        seconds=60.0,
        trials=1,
        repeats=1,
        threads=1,
    )
    found = race.run_race(plan, graph)
    entry, other = found.entries
    assert "LensKit: lenskit is not run: no --peers DIR" in capsys.readouterr().err
    assert other.not_run and not other.trials
    assert [dict(one.settings) for one in (*entry.defaults, *entry.trials, *entry.tuned)] == [
        {"dim": 4},
        {"dim": 8, "lr": 0.1},
        {"dim": 8, "lr": 0.1},
    ]
    assert [len(one.points) for one in (*entry.defaults, *entry.trials, *entry.tuned)] == [2, 2, 2]
    assert not any(one.failed for one in (*entry.defaults, *entry.trials, *entry.tuned))
    assert found.best == max(curves.best_of(entry.curve("tuned")), curves.best_of(entry.curve("defaults"))) > 0
    assert (found.conditions["trials"], found.conditions["repeats"]) == (1, 1)
    table = found.tables()
    assert table.count("| LensKit | not run |") == 2
    assert table.count("First to 95%: kgrec") == 1 + (found.first("defaults", 0.95) == found.first("tuned", 0.95))


def test_a_race_goes_on_where_it_was_ended(tmp_path: Path):
    """A second start trains what the first did not; other conditions are refused."""
    code = "course = Course(job)\ncourse.ready({'fake': '1'})\n"
    code += "course.after_epoch(1, lambda users: [[0.0] * course.num_items] * len(users))\n"
    peers, kept = peer(tmp_path, code), tmp_path / "race.json"
    rows = [("ann", "x", 1), ("ann", "y", 2), ("ann", "z", 3), ("bob", "z", 1), ("bob", "y", 2), ("bob", "x", 3)]
    rows += [("cem", "z", 1), ("cem", "x", 2), ("cem", "y", 3), ("dan", "y", 1), ("dan", "z", 2), ("dan", "x", 3)]
    frame = pd.DataFrame(rows, columns=["source", "target", "time"])
    graph = Graph.from_frames(edges={("user", "had", "item"): frame})
    one = Contestant("A", "recbole", "BPR", {}, {"lr": [1, 2]})
    fields = {"name": "race", "title": "A", "contestants": [one], "epochs": 1, "seconds": 60.0, "peers": peers}
    plan = race.Plan(split="last_n:1,valid=1", repeats=1, trials=2, **fields)
    first = race.run_race(plan, graph, kept)
    found = results.Results.load(kept)
    found.entries[0].trials.pop()
    found.entries[0].tuned.clear()
    found.save(kept)
    (tmp_path / "fake.py").write_text((tmp_path / "fake.py").read_text().replace("'1'", "'2'"))
    again = race.run_race(plan, graph, kept, resume=True)
    (entry,) = again.entries
    versions = [dict(one.versions)["fake"] for one in (*entry.defaults, *entry.trials, *entry.tuned)]
    assert versions == ["1", "1", "2", "2"]
    assert [one.settings for one in entry.trials] == [one.settings for one in first.entries[0].trials]
    with pytest.raises(KgrecError, match=r"other conditions \(epochs\).*leave out --resume"):
        race.run_race(race.Plan(split=plan.split, repeats=1, trials=2, **{**fields, "epochs": 2}), graph, kept, True)


def test_ials_is_trained_anew_for_each_number_of_iterations(tmp_path: Path):
    on = conditions(tmp_path, epochs=2, patience=9)
    found = contestants.run_training(Contestant("kgrec", "kgrec", "ials"), {"dim": 2}, 0, on)
    assert ([point.epoch for point in found.points], found.ended) == ([1, 2], "all epochs")

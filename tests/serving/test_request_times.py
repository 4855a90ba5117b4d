"""When a list is wanted: what requests and evaluations tell models, and what is refused."""

from collections.abc import Sequence
from pathlib import Path

import pandas as pd
import pytest
import torch

import kgrec
from kgrec import ListOptions, Run, Service, Wanted, models
from kgrec.errors import KgrecError, UnknownName
from kgrec.evaluation.user_groups import gap_groups
from kgrec.graph import NO_TIME, Graph
from kgrec.model import Query
from kgrec.server.bodies import ListQuery, UserBody
from kgrec.serving import predicted_pairs
from kgrec.serving.listed_groups import listed_groups
from kgrec.serving.moments import moment
from kgrec.splits.split import split

MINUTE, DAY = 60, 86_400
ROWS = [
    ("ann", "x", 0), ("bob", "y", 10 * DAY), ("bob", "x", 11 * DAY), ("cem", "y", 20 * DAY), ("cem", "z", 20 * DAY),
    ("ann", "w", 21 * DAY), ("dan", "w", 30 * DAY), ("dan", "z", 30 * DAY + 20),
]  # fmt: skip


def graph() -> Graph:
    nodes = {"item": pd.DataFrame({"id": list("wxyz")})}
    rated = pd.DataFrame(ROWS, columns=["source", "target", "time"])
    return Graph.from_frames(edges={("user", "rated", "item"): rated}, nodes=nodes)


def popular(window: int) -> Run:
    known = graph()
    return Run("popularity", models.build("popularity", known, {"window": window}), known)


def sequence_run(name: str = "hstu", **settings) -> Run:
    torch.manual_seed(0)
    known = graph()
    model = models.build(name, known, {"dim": 8, "length": 4, "dropout": 0.0, "init_std": 0.5, **settings})
    return Run(name, model.eval(), known)


# ---------------------------------------------------------------- popularity in a window


def test_popularity_counts_what_was_taken_in_the_window_before_now():
    run = popular(DAY)
    asked = torch.tensor([11 * DAY, 11 * DAY + 1, 20 * DAY + 1, 99 * DAY, NO_TIME])
    query = Query(torch.zeros(5, dtype=torch.long), torch.empty(5, 0, dtype=torch.long), now=asked)
    counts = run.model.score(query, run.graph.nodes("item"))  # of w, x, y, z
    assert counts.tolist() == [[0, 0, 1, 0], [0, 1, 0, 0], [0, 0, 1, 1], [0, 0, 0, 0], [1, 0, 0, 1]]
    with pytest.raises(KgrecError, match="window counts interactions, but of=facts counts facts"):
        models.build("popularity", run.graph, {"window": 5, "of": "facts"})


def test_a_run_of_popularity_in_a_window_is_saved_and_loaded(tmp_path: Path):
    found = kgrec.train(
        "popularity", graph(), split="last_n:1", config={"window": 2 * DAY}, now="edge", out=tmp_path / "r"
    )
    assert found.metrics["protocol"] == "last_n:1; full ranking, now=edge"
    run = Run.load(tmp_path / "r")
    assert run.now == "edge" and run.recommend(["dan"], k=1, now=31 * DAY)["item"] == ["z"]
    assert run.recommend(["dan"], k=3, now=31 * DAY)["score"] == found.recommend(["dan"], k=3, now=31 * DAY)["score"]
    assert run.measure(graph(), metrics=["ndcg@2"], now="unknown")["protocol"] == "last_n:1; full ranking"


# ---------------------------------------------------------------- requests


def test_a_request_says_when_or_the_clock_does(monkeypatch: pytest.MonkeyPatch):
    run = popular(DAY)
    service = Service(run)
    monkeypatch.setattr("kgrec.serving.request_times.time.time", lambda: 7.5)
    assert run.recommend(["ann"], k=2)["score"] == [1.0, 1.0]  # by ann's last step, as the clock is before it
    assert run.recommend(history=["w"], k=1)["score"] == [1.0]  # x at 0 s; nothing says when the history was
    for now in (30 * DAY + 30, "1970-01-31T00:00:30", f"{30 * DAY + 30}"):
        assert run.recommend(["ann"], k=1, now=now)["item"] == ["z"]
        (answer,) = service.recommend([Wanted("ann", options=ListOptions(k=1, now=now))])
        assert answer.items == ["z"] and answer.scores == [1.0]
    asked = [Wanted("ann", options=ListOptions(k=1, now=now)) for now in (30 * DAY + 30, 50 * DAY, None)]
    assert [answer.scores for answer in service.recommend(asked)] == [[1.0], [0.0], [1.0]]


def test_now_before_the_last_step_is_refused_for_this_request_alone():
    run = popular(DAY)
    early = Wanted("ann", options=ListOptions(k=1, now=5))
    wrong = "now is 1970-01-01T00:00:05Z, before the last step of ann at 1970-01-22T00:00:00Z; say a later moment"
    failed, answer = Service(run).recommend([early, Wanted("ann", options=ListOptions(k=1, now=22 * DAY))])
    assert isinstance(failed, KgrecError) and wrong in str(failed) and answer.items
    with pytest.raises(KgrecError, match=wrong):
        run.recommend(["ann"], k=1, now=5)
    with pytest.raises(KgrecError, match="before the last step of a new user"):
        run.recommend(history=pd.DataFrame({"item": ["x"], "time": [9]}), k=1, now=5)
    assert run.recommend(history=pd.DataFrame({"item": ["x"], "time": [9]}), k=1, now=9)[
        "item"
    ]  # at once is not before


def test_a_pair_that_fails_among_many_costs_few_predictions_more(monkeypatch: pytest.MonkeyPatch):
    """At this moment dan has not done what is known of him."""
    counted, predict = list[int](), predicted_pairs.predict

    def counting(run: Run, users: Sequence[str], *rest: object) -> object:
        counted.append(len(users))
        return predict(run, users, *rest)

    monkeypatch.setattr(predicted_pairs, "predict", counting)
    pairs = [("dan" if place == 37 else "cem", "x") for place in range(64)]
    found = Service(popular(DAY)).predict(pairs, now=25 * DAY)
    assert [place for place, one in enumerate(found) if isinstance(one, KgrecError)] == [37]
    assert len(set(found) - {found[37]}) == 1
    assert len(counted) == 13  # all of them, then both halves of what fails, six times


def test_a_request_that_fails_among_many_costs_few_lists_more(monkeypatch: pytest.MonkeyPatch):
    counted, listed = list[int](), Service._listed

    def counting(service: Service, prepared: object, group: Sequence[object]) -> object:
        counted.append(len(group))
        return listed(service, prepared, group)

    monkeypatch.setattr(Service, "_listed", counting)
    options = ListOptions(k=1, now=25 * DAY)
    found = Service(popular(DAY)).recommend(
        [Wanted("dan" if place == 5 else "cem", options=options) for place in range(16)]
    )
    assert [place for place, one in enumerate(found) if isinstance(one, KgrecError)] == [5]
    assert len(counted) == 9 and counted[0] == 16


@pytest.mark.parametrize("name", ["hstu", "sasrec"])
def test_a_service_answers_at_each_moment_as_a_run_does(name: str):
    run = sequence_run(name, times="now")
    service, scores = Service(run), set()
    for now in (31 * DAY, 40 * DAY, 400 * DAY):
        options = ListOptions(k=2, now=now)
        for user in ("ann", "dan"):
            (answer,) = service.recommend([Wanted(user, options=options)])
            listed = run.recommend([user], k=2, now=now)
            assert answer.items == listed["item"] and answer.scores == listed["score"]
            scores.add((user, *answer.scores))
    assert sum(user == "ann" for user, *_ in scores) == 3  # nothing is kept of another moment
    assert not service.is_quick(Wanted("ann", options=options))
    why = run.recommend(["ann"], k=2, now=400 * DAY, why=True).why
    assert why is not None and set(why["evidence"]) <= {"scores without it"}
    steps = sequence_run(name, times="steps")
    kept = Service(steps)
    kept.recommend([Wanted("ann", options=options)])
    assert kept.is_quick(Wanted("ann", options=options))  # what does not hang on the moment is kept


def test_what_is_said_of_now_and_of_times():
    run = sequence_run(times="steps")
    assert run.recommend(["ann"], k=1, now=9).notes == ("now has no effect: hstu does not read when a list is wanted",)
    (answer,) = Service(run).recommend([Wanted("ann", options=ListOptions(k=1, now=9))])
    assert answer.notes == ("now has no effect: hstu does not read when a list is wanted",)
    (note,) = run.recommend(history=["x", "y"], k=1).notes
    assert note == "history has no times, which hstu reads; how long ago each step was is not known"
    ordered = pd.DataFrame(
        {"item": ["x", "y"], "time": [5, 2]}
    )  # out of order, which is said; and equal times, which may be
    assert run.recommend(history=ordered, k=1).notes == (
        "the history's rows are not in order of time; they are read in that order",
    )
    assert run.recommend(history=ordered.assign(time=5), k=1).notes == ()
    for wrong in ("soon", True, float("nan"), [1]):
        with pytest.raises(KgrecError, match="unix seconds, or a moment such as"):
            moment(wrong)


def test_what_a_server_reads_of_now():
    assert ListQuery.model_validate({"now": "1970-01-02T00:00:00Z"}).options(10).now == DAY
    assert UserBody.model_validate({"user": "ann", "now": 7.9}).wanted({}, 10, 10).options.now == 7


# ---------------------------------------------------------------- evaluation


def test_an_evaluation_that_tells_when_asks_for_no_moment_before_the_history_ends():
    with pytest.raises(KgrecError, match=r"now=edge: for 2 of 4 users the first held-out edge is before"):
        kgrec.train("popularity", graph(), split="ratio:0.5,seed=2", config={"window": DAY}, now="edge")
    kgrec.train("popularity", graph(), split="ratio:0.5,seed=2", now="edge")  # who does not read it does not mind
    with pytest.raises(UnknownName, match="no now 'later'"):
        split(graph(), "last_n:1", now="later")


def test_users_are_grouped_by_how_long_they_paused():
    divided = split(graph(), "last_n:1")
    groups = gap_groups(divided.train_valid, divided.test)
    assert dict(groups) == {"ann": "1 day or more", "bob": "1 day or more", "cem": "0 s", "dan": "under 60 s"}
    run = popular(DAY)
    run = kgrec.train("popularity", graph(), split="last_n:1", now="edge", config={"window": 2 * DAY})
    found = run.measure(graph(), metrics=["hit_rate@1"], groups="gap")["groups"]
    assert list(found["metrics"]["hit_rate@1"]["groups"]) == ["0 s", "under 60 s", "1 day or more"]


def test_groups_may_be_listed(tmp_path: Path):
    run = kgrec.train("popularity", graph(), split="last_n:1")
    file = tmp_path / "groups.csv"
    file.write_text("user,group\nann,true\nbob,true\ncem,doubtful\n")
    of_file = run.measure(graph(), metrics=["ndcg@4"], groups=file)["groups"]
    assert of_file["column"] == str(file)
    listed = {"ann": "true", "bob": "true", "cem": "doubtful"}
    of_mapping = run.measure(graph(), metrics=["ndcg@4"], groups=listed)["groups"]
    assert of_mapping["metrics"] == of_file["metrics"]
    assert {name: one["users"] for name, one in of_file["metrics"]["ndcg@4"]["groups"].items()} == {
        "doubtful": 1,
        "true": 2,
    }
    with pytest.raises(UnknownName, match="no user 'eve'"):
        listed_groups(graph(), {"ann": "a", "eve": "b"})
    file.write_text("user,group\nann,a\nann,b\n")
    with pytest.raises(KgrecError, match="lists user 'ann' twice; each has one group"):
        listed_groups(graph(), file)

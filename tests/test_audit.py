"""What the facts of a graph are worth: permutations, arms and statistics in sums on paper, and audits that go on."""

import io
import json
import sys
from contextlib import redirect_stderr, redirect_stdout
from math import sqrt
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

import kgrec
from kgrec import cli
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.studies import audit_study, audit_trials
from kgrec.studies.audit_jobs import trained_in_processes
from kgrec.studies.audit_results import sentence_of
from kgrec.studies.audit_trials import TrialResult
from kgrec.studies.fact_arms import FactArms, with_facts
from kgrec.studies.fact_shuffling import can_be_shuffled, shuffled
from kgrec.studies.paired_seeds import paired_difference
from kgrec.training.config import TrainingConfig
from kgrec.training.job import TrainingJob

TARGET = ("user", "rated", "item")
MADE, MAKES = ("item", "made_by", "studio"), ("studio", "makes", "item")
GENRE, LAND = ("item", "has_genre", "genre"), ("studio", "in_land", "land")
LIKE, ONE = ("item", "like", "item"), ("item", "prize", "prize")
HOW = {"config": {"facts": 1, "l2": 10}, "split": "ratio:0.2", "cold": "cold_items:0.4", "metrics": ["ndcg@10"]}


def frame(*rows: tuple[str, str]) -> pd.DataFrame:
    return pd.DataFrame(list(rows), columns=["source", "target"])


@pytest.fixture(scope="module")
def graph() -> Graph:
    """Forty users like one of four genres each. Studios are drawn, makes states some of what made_by states, and a
    prize is one fact alone."""
    rng, users, items = np.random.default_rng(0), 40, 40
    of_item, of_user, studio = rng.integers(0, 4, items), rng.integers(0, 4, users), rng.integers(0, 8, items)
    rated = [
        (f"u{u}", f"i{i}")
        for u in range(users)
        for i in range(items)
        if rng.random() < (0.7 if of_item[i] == of_user[u] else 0.05)
    ]
    edges = {
        TARGET: frame(*rated).assign(time=range(len(rated))),
        GENRE: frame(*((f"i{i}", f"g{of_item[i]}") for i in range(items))),
        MADE: frame(*((f"i{i}", f"s{studio[i]}") for i in range(items))),
        MAKES: frame(*((f"s{studio[i]}", f"i{i}") for i in range(0, items, 2))),
        LAND: frame(*((f"s{s}", f"l{s % 3}") for s in range(8))),
        ONE: frame(("i0", "best")),
    }
    nodes = {"item": pd.DataFrame({"id": [f"i{i}" for i in range(items)], "price": rng.random(items)})}
    made = Graph.from_frames(edges=edges, nodes=nodes, target=TARGET)
    return with_inverse(made, MAKES, "made_by")


def with_inverse(graph: Graph, edge: tuple[str, str, str], inverse_of: str) -> Graph:
    from dataclasses import replace

    edges = dict(graph.schema.edges)
    edges[edge] = replace(edges[edge], inverse_of=inverse_of)
    return replace(graph, schema=replace(graph.schema, edges=edges))


def facts_of(graph: Graph, edge: tuple[str, str, str]) -> list[tuple[int, int]]:
    return [tuple(pair) for pair in graph.only(edge).edge_index.T.tolist()]


# ---------------------------------------------------------------------- shuffled facts


def test_a_shuffle_keeps_counts_and_inverses(graph):
    arms = FactArms(graph)
    other = shuffled(graph, arms.edge_types, 3)
    for edge in arms.edge_types:
        before, after = facts_of(graph, edge), facts_of(other.graph, edge)
        assert len(before) == len(after)
        if edge not in (MADE, MAKES):  # each head and each tail is stated as often as before
            for end in (0, 1):
                assert sorted(pair[end] for pair in before) == sorted(pair[end] for pair in after)
    assert facts_of(graph, TARGET) == facts_of(other.graph, TARGET)
    made = facts_of(other.graph, MADE)
    assert facts_of(other.graph, MAKES) == [(studio, item) for item, studio in made[::2]]
    assert [item for item, _ in made] == [item for item, _ in facts_of(graph, MADE)]
    assert sorted(s for _, s in made) == sorted(s for _, s in facts_of(graph, MADE))


def test_a_shuffle_moves_facts_anew_for_each_seed(graph):
    edge_types = FactArms(graph).edge_types
    first, again, other = (shuffled(graph, edge_types, seed) for seed in (0, 0, 1))
    assert facts_of(first.graph, GENRE) == facts_of(again.graph, GENRE) != facts_of(other.graph, GENRE)
    before, after = facts_of(graph, GENRE), facts_of(first.graph, GENRE)
    assert first.kept[GENRE] == sum(pair in set(after) for pair in before) / 40
    assert first.kept[ONE] == 1


def test_what_holds_both_ways_still_does():
    pairs = [("i0", "i1"), ("i2", "i3"), ("i4", "i5")]
    edges = {TARGET: frame(("u", "i0")), LIKE: frame(*pairs, *((b, a) for a, b in pairs))}
    graph = with_inverse(Graph.from_frames(edges=edges, target=TARGET), LIKE, "like")
    after = facts_of(shuffled(graph, [LIKE], 1).graph, LIKE)
    assert {(b, a) for a, b in after} == set(after) != set(facts_of(graph, LIKE))
    assert after[3:] == [(b, a) for a, b in after[:3]]


@pytest.mark.parametrize(
    ("facts", "can"),
    [
        ([("i0", "g0")], False),
        ([("i0", "g0"), ("i0", "g0")], False),  # one fact, stated twice
        ([("i0", "g0"), ("i1", "g0")], False),  # one tail
        ([("i0", "g0"), ("i0", "g1")], False),  # one head
        ([("i0", "g0"), ("i1", "g1")], True),
    ],
)
def test_which_relations_can_be_shuffled(facts, can):
    graph = Graph.from_frames(edges={TARGET: frame(("u", "i0")), GENRE: frame(*facts)}, target=TARGET)
    assert can_be_shuffled(graph, [GENRE]) is can
    changed = facts_of(shuffled(graph, [GENRE], 0).graph, GENRE) != facts_of(graph, GENRE)
    assert changed is can


# ---------------------------------------------------------------------- arms


def test_parts_and_arms(graph):
    arms = FactArms(graph)
    assert {name: (part.facts, part.about_items) for name, part in arms.relations.items()} == {
        "has_genre": (40, 40), "made_by": (60, 60), "in_land": (8, 0), "prize": (1, 1)
    }  # fmt: skip
    assert arms.relations["made_by"].inverses == ("makes",)
    assert [part.name for part in arms.chosen(["makes", "made_by"], None)] == ["made_by"]
    parts = arms.chosen(None, None)
    assert [part.name for part in parts if part.kind == "type"] == ["studio"]  # the others have one relation
    listed = {arm.name: arm for arm in arms.arms(parts)}
    assert listed["only in_land"].skipped == "none of its facts is about an item, so alone it reaches none"
    assert (listed["whole"].facts, listed["removed"].facts) == (109, 0)
    assert listed["without made_by"].facts == 49 and listed["only made_by"].facts == 60
    assert listed["without type studio"].edge_types == {GENRE, ONE}


def test_all_arms_have_the_same_nodes_interactions_and_parameters(graph):
    arms = FactArms(graph)
    for arm in arms.arms(arms.chosen(["has_genre"], None)):
        found = arms.graph_of(arm, 0)
        assert found.schema == graph.schema and facts_of(found, TARGET) == facts_of(graph, TARGET)
        assert found.num_edges == graph.only(TARGET).num_edges + arm.facts
    assert with_facts(graph, [LAND]).only(LAND).num_edges == 8
    alone = FactArms(with_facts(graph, [GENRE]))
    listed = {arm.name: arm for arm in alone.arms(alone.chosen(["has_genre"], None))}
    assert (listed["only has_genre"].same_as, listed["without has_genre"].same_as) == ("whole", "removed")


def test_a_note_says_what_a_shuffle_leaves_as_it_is():
    """All but one of ten facts of `kind` have one tail, so at most one of five is changed; `like` changes as a whole,
    but for one fact between genres alone."""
    kinds = frame(*((f"i{n}", "same") for n in range(9)), ("i9", "other"))
    likes = frame(*((f"i{n}", f"i{n + 1}") for n in range(9)))
    edges = {TARGET: frame(("u", "i0")), ("item", "kind", "genre"): kinds, LIKE: likes}
    edges |= {("genre", "like", "genre"): frame(("same", "other"))}
    notes = list(FactArms(Graph.from_frames(edges=edges, target=TARGET)).notes(0))
    assert notes == ["relation 'kind' has few different ends: 80% of its facts are true after the shuffle too"]


def test_facts_that_reach_no_item_are_no_arm_of_their_own():
    edges = {TARGET: frame(("u", "i0")), GENRE: frame(("i0", "g0"), ("i1", "g1")), LAND: frame(("s0", "l0"))}
    arms = FactArms(Graph.from_frames(edges=edges, target=TARGET))
    listed = {arm.name: arm for arm in arms.arms(arms.chosen(["has_genre"], None))}
    assert listed["without has_genre"].same_as == "removed"


# ---------------------------------------------------------------------- statistics


def test_an_interval_over_users_on_paper():
    found = paired_difference([np.array([7, 8, 9])], [np.array([0.1, 0.2, 0.6])])
    error = sqrt((0.2**2 + 0.1**2 + 0.3**2) / 2) / sqrt(3)
    half = student.ppf(0.975, 2) * error
    assert found.mean == pytest.approx(0.3) and found.interval == pytest.approx((0.3 - half, 0.3 + half))
    assert found.p == pytest.approx(2 * student.sf(0.3 / error, 2)) and found.num_users == 3


def test_seeds_widen_an_interval_by_what_they_differ_beyond_users():
    users = [np.arange(2)] * 2
    same = paired_difference(users, [np.array([0.0, 0.4])] * 2)  # the same users under both seeds say it once
    once = paired_difference(users[:1], [np.array([0.0, 0.4])])
    assert same.interval == pytest.approx(once.interval) and same.by_seed == pytest.approx([0.2, 0.2])
    apart = paired_difference(users, [np.array([0.1, 0.1]), np.array([0.3, 0.3])])  # users agree, seeds do not
    half = student.ppf(0.975, 1) * sqrt(((0.1**2 + 0.1**2) / 1) / 2)
    assert apart.interval == pytest.approx((0.2 - half, 0.2 + half))


def test_users_who_differ_by_chance_under_each_seed_do_not_count_as_seeds():
    """Two users, two seeds: 0 and .2, then .2 and .1. Users: (.1 - .125)/2 and (.15 - .125)/2; within users .02."""
    found = paired_difference([np.arange(2)] * 2, [np.array([0.0, 0.2]), np.array([0.2, 0.1])])
    over_users = 2 * ((-0.025 / 2) ** 2 + (0.025 / 2) ** 2)
    within = sum((a - b) ** 2 / 2 for a, b in ((-0.1, 0.05), (0.1, -0.05))) / 2
    over_seeds = max(0.0, (0.1 - 0.15) ** 2 / 2 / 2 - 2 * within / 2 / 4)
    assert over_seeds == 0
    half = student.ppf(0.975, 1) * sqrt(over_users)
    assert found.interval == pytest.approx((0.125 - half, 0.125 + half))


def test_equal_differences_have_no_width_and_one_user_no_interval():
    zero = paired_difference([np.arange(3)], [np.zeros(3)])
    assert (zero.interval, zero.p) == ((0.0, 0.0), 1.0)
    assert paired_difference([np.arange(3)], [np.full(3, 0.5)]).p == 0.0
    assert paired_difference([np.array([1])], [np.array([0.5])]).interval is None


# ---------------------------------------------------------------------- an audit


@pytest.fixture(scope="module")
def folder(graph, tmp_path_factory) -> Path:
    path = tmp_path_factory.mktemp("audit") / "some.graph"
    graph.save(path)
    return path


@pytest.fixture(scope="module")
def done(folder, tmp_path_factory) -> tuple[Path, kgrec.studies.audit_results.Audit]:  # type: ignore[name-defined]
    out = tmp_path_factory.mktemp("audit") / "done"
    return out, audit_study.audit("ease", folder, seeds=2, relations=["has_genre", "made_by"], out=out, **HOW)


def test_the_relation_that_users_follow_is_on_top_for_cold_items(done):
    _, found = done
    rows = {(row.scope, row.what, row.part): row for row in found.worth}
    graph, genre = rows["cold", "graph", None], rows["cold", "alone", "has_genre"]
    assert graph.difference > 0.2 and graph.is_seen and genre.is_seen
    assert genre.difference > 5 * abs(rows["cold", "alone", "made_by"].difference)
    assert rows["cold", "left out", "has_genre"].is_seen and not rows["cold", "shuffled facts", None].is_seen
    assert "on cold items the graph is worth +0." in found.sentence and "mostly `has_genre`" in found.sentence
    assert found.sentence == sentence_of(found.worth, "ndcg@10", ["warm", "cold", "cold among all"])


def test_differences_are_those_of_the_arms_and_p_values_are_corrected(done):
    _, found = done
    arms = {arm.arm: arm.by_seed for arm in found.arms}
    for row in found.worth:
        pairs = zip(arms[row.arm][row.scope][row.metric], arms[row.against][row.scope][row.metric])
        assert row.by_seed == pytest.approx([more - fewer for more, fewer in pairs])
        assert row.difference == pytest.approx(np.mean(row.by_seed))
    warm = found.of("warm")
    assert len(warm) == 3 + 2 * 2  # all facts, less shuffled, shuffled; and each relation alone and left out
    least = min(warm, key=lambda row: row.p_alone)
    assert least.p == pytest.approx(min(1, len(warm) * least.p_alone))
    assert any("'prize' cannot be shuffled: it has a single fact" in note for note in found.notes)


def test_files_of_an_audit(done):
    out, found = done
    assert json.loads((out / "audit.json").read_text())["sentence"] == found.sentence
    page = (out / "audit.md").read_text()
    assert found.sentence in page and "| has_genre | +0." in page
    worth = pd.read_csv(out / "worth.csv")
    assert len(worth) == len(found.worth) and worth["difference"].tolist() == [row.difference for row in found.worth]
    arms = pd.read_csv(out / "arms.csv")
    whole = arms[(arms.arm == "whole") & (arms.scope == "cold")]
    assert whole["value"].tolist() == found.arms[0].by_seed["cold"]["ndcg@10"]
    assert (out / "audit.png").read_bytes()[1:4] == b"PNG"


def test_it_goes_on_where_it_was_stopped(done, folder, tmp_path, monkeypatch):
    _, whole = done
    how = {"relations": ["has_genre", "made_by"], "out": tmp_path / "half", **HOW}
    stop = {"left": 7}

    def stopped(result: TrialResult, number: int, total: int) -> None:
        stop["left"] -= 1
        if not stop["left"]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        audit_study.audit("ease", folder, seeds=1, notify=stopped, **how)
    assert len(list((tmp_path / "half/trials").glob("*.parquet"))) == 7
    ran = list[int]()
    again = audit_study.audit("ease", folder, seeds=2, notify=lambda _, number, total: ran.append(number), **how)
    assert ran == list(range(8, 29))  # seven arms, two splits, two seeds
    assert again.worth == whole.worth and again.sentence == whole.sentence
    monkeypatch.setattr(audit_trials.Laboratory, "run", None)  # nothing is trained when all is there
    assert audit_study.audit("ease", folder, seeds=2, **how).worth == whole.worth


def test_another_audit_and_one_at_work_are_refused(done, folder):
    out, _ = done
    how = {"seeds": 2, "relations": ["has_genre", "made_by"], "out": out, **HOW}
    with pytest.raises(KgrecError, match=r'settings: its config is \{"facts": 1.0, .*"l2": 10.0, .*\}, not'):
        audit_study.audit("ease", folder, **{**how, "config": {"facts": 2, "l2": 10}})
    with pytest.raises(KgrecError, match=r"its splits is .* use the same settings to go on"):
        audit_study.audit("ease", folder, **{**how, "split": "ratio:0.3"})
    with pytest.raises(KgrecError, match=r"its seeds is \[0, 1\], not \[0\]"):
        audit_study.audit("ease", folder, **{**how, "seeds": 1})
    with audit_study.held(out), pytest.raises(KgrecError, match="is in use by another audit"):
        audit_study.audit("ease", folder, **how)


def test_trials_in_a_process_of_their_own_give_the_same(done, graph, tmp_path):
    _, whole = done
    job = TrainingJob.of("ease", {"config": HOW["config"]}, "a test")
    arms = FactArms(graph)
    lab = audit_trials.Laboratory(job, arms, {"warm": HOW["split"], "cold": HOW["cold"]}, ("ndcg@10",))
    trials = [audit_trials.Trial("cold", arm, 0) for arm in arms.arms([])]
    found = {one.arm: one.test["cold"]["ndcg@10"] for one in trained_in_processes(lab, trials, tmp_path, 1)}
    assert len(list(tmp_path.glob("*.parquet"))) == 3
    for arm in whole.arms[:3]:
        assert found[arm.arm] == pytest.approx(arm.by_seed["cold"]["ndcg@10"][0], abs=1e-6)


@pytest.mark.parametrize(("model", "purpose"), [("kgatseq", None), ("cke", None), ("transe", None), ("ease", "cold")])
def test_models_train_on_every_arm(graph, model, purpose):
    """Relations without edges are no error, and a model has the same parameters with and without facts."""
    config = {"kgatseq": {"dim": 4, "layer_dims": [4]}, "ease": {}}.get(model, {"dim": 4})
    training = TrainingConfig(epochs=1, device="cpu")
    job = TrainingJob.of(model, {"config": config, "training": training, "purpose": purpose}, "a test")
    lab = audit_trials.Laboratory(job, FactArms(graph), {"warm": "ratio:0.2", "cold": "cold_items:0.4"}, ("ndcg@10",))
    audit_trials.must_read_facts(job, graph)
    listed = {arm.name: arm for arm in lab.arms.arms(lab.arms.chosen(["prize"], None))}
    for arm in ("removed", "only prize"):
        found = lab.run(audit_trials.Trial("cold", listed[arm], 0))
        assert list(found.values) == ["cold", "cold among all"] and len(found.users["cold"]) > 20
        assert found.values["cold"]["ndcg@10"].mean() == pytest.approx(found.test["cold"]["ndcg@10"])


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("model", "change", "message"),
    [
        ("mf", {"config": {}}, "does not learn from the facts of a graph.* cke, .*ease with --set facts=1"),
        ("ease", {"config": {}}, "does not learn from facts; add --set facts=1"),
        ("ease", {"relations": ["genre"]}, "no relation 'genre' among the facts of this graph; did you mean"),
        ("ease", {"relations": ["rated"]}, "no relation 'rated' among the facts of this graph"),
        ("ease", {"types": ["genres"]}, "no node type 'genres' among the facts of this graph; did you mean 'genre'"),
        ("ease", {"cold": "cold_items:0.05"}, r"holds out \d items? with interactions for test \(40 items in all\)"),
        ("ease", {"cold": "cold_items:0.4,valid=0.05"}, "with interactions for valid .* use a larger share"),
        ("ease", {"cold": "ratio:0.1"}, "must be a split that holds out items, such as cold_items"),
        ("ease", {"cold": "cold_items:0.4,warm=0.1"}, "warm items on a split of their own .--split.; leave warm= out"),
        ("ease", {"split": "cold_items:0.3"}, "must hold out interactions of warm items, such as ratio"),
        ("ease", {"seeds": 0}, "seeds is 0, but must be 1 or more"),
        ("ease", {"jobs": 0}, "jobs is 0, but must be 1 or more"),
        ("ease", {"metrics": ["coverage@10"]}, "user by user, but coverage@10 has no value for the list of a user"),
        ("ease", {"metrics": ["ndcg@10", "rmse"]}, "but rmse has no value for the list of a user; use metrics such as"),
        ("ease", {"features": "left"}, "must be kept or removed"),
        ("transe", {"config": {"task": "link"}}, "is trained for task 'link'; use --task ranking"),
        ("bias", {"config": {"task": "rating"}}, "is trained for task 'rating'; use --task ranking"),
        ("kgat", {"config": {"features": ["price"]}, "features": "removed"}, "the setting `features` reads some"),
    ],
)  # fmt: skip
def test_bad_input_says_what_is_wanted_before_training(folder, monkeypatch, tmp_path, model, change, message):
    monkeypatch.setattr(audit_trials, "run_job", None)
    with pytest.raises(KgrecError, match=message):
        audit_study.audit(model, folder, out=tmp_path / "out", **{**HOW, **change})
    assert not (tmp_path / "out").exists()


def test_graphs_without_facts_say_what_is_missing():
    rated = {TARGET: frame(("u", "i0"), ("u", "i1"))}
    with pytest.raises(KgrecError, match=r"no facts to audit: .*\(rated\).*items have no features either; add"):
        audit_study.audit("ease", Graph.from_frames(edges=rated, target=TARGET), **HOW)
    nodes = {"item": pd.DataFrame({"id": ["i0", "i1"], "price": [1.0, 2.0]})}
    with pytest.raises(KgrecError, match=r"its items have features \(price\), which are no facts"):
        audit_study.audit("ease", Graph.from_frames(edges=rated, nodes=nodes, target=TARGET), **HOW)
    far = Graph.from_frames(edges={**rated, LAND: frame(("s", "l"))}, target=TARGET)
    with pytest.raises(KgrecError, match="none of the 1 facts of this graph is about an item of type 'item'"):
        audit_study.audit("ease", far, **HOW)


def test_what_fails_in_training_names_the_arm_and_keeps_no_settings(folder, tmp_path):
    how = {**HOW, "seeds": 1, "relations": [], "out": tmp_path / "out"}
    with pytest.raises(KgrecError, match="arm 'whole', warm items, seed 0: metric 'ndcg@2000'"):
        audit_study.audit("ease", folder, **{**how, "metrics": ["ndcg@2000"]})
    assert audit_study.audit("ease", folder, **how).trainings == 6


def kgrec_command(*arguments: object, code: int = 0) -> tuple[str, str]:
    stdout, stderr = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(stdout), redirect_stderr(stderr):
        patch.setattr(sys, "argv", ["kgrec", *map(str, arguments)])
        try:
            cli.main()
        except SystemExit as end:
            assert (end.code or 0) == code, stderr.getvalue()
    return stdout.getvalue(), stderr.getvalue()


WORDS = ("--set", "facts=1", "--set", "l2=10", "--split", "ratio:0.2", "--cold", "cold_items:0.4")


def test_the_command(done, folder):
    out, found = done
    named = ("--metrics", "ndcg@10", "--relations", "has_genre,made_by")
    argv = ("audit", "ease", folder, "--out", out, *WORDS, "--seeds", 2, *named)
    stdout, stderr = kgrec_command(*argv)
    assert found.sentence in stdout and "has_genre" in stdout and "wrote" in stderr
    printed = json.loads(kgrec_command(*argv, "--json")[0])
    assert printed["sentence"] == found.sentence and printed["arms"][0]["arm"] == "whole"
    _, stderr = kgrec_command("audit", "mf", folder, "--out", out.parent / "none", code=1)
    assert stderr.startswith("error: model 'mf' does not learn from the facts") and not (out.parent / "none").exists()
    (out.parent / "mine").mkdir(exist_ok=True)
    (out.parent / "mine/thesis.tex").write_text("years")
    _, stderr = kgrec_command("audit", "ease", folder, "--out", out.parent / "mine", *WORDS, code=1)
    assert "that has other files" in stderr

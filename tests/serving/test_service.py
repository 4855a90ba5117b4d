"""A service: its answers are those of `Run.recommend`, in batches of any requests and from many threads."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from kgrec import models
from kgrec.errors import BadData, KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import scoring
from kgrec.nn.steady_products import SteadyLinear, product
from kgrec.run import Run, train
from kgrec.serving.list_options import ListOptions
from kgrec.serving.recommendation import Recommendations, by_user
from kgrec.serving.service import Service
from kgrec.serving.wanted import Wanted
from tests.serving.test_filters import GRAPH as SHOP

USERS = [f"u{number}" for number in range(9)]
#: whether products of few rows were measured to be those of many
IS_STEADY = torch.backends.mkl.is_available() and torch.backends.cpu.get_cpu_capability() == "AVX512"
LAST_DIGIT = {"gan": 2e-7}  #: models that score one user otherwise than several, and by how much


@pytest.fixture(scope="module")
def run_of(planted: Graph) -> Callable[[str], Run]:
    """A run of each model on the planted graph, by its name, built once, with random vectors."""
    runs: dict[str, Run] = {}

    def of(name: str) -> Run:
        if name not in runs:
            runs[name] = built(name, planted)
        return runs[name]

    return of


def built(name: str, graph: Graph, **config: Any) -> Run:
    torch.manual_seed(7)
    model = models.build(name, graph, config)
    with scoring(model):
        model.refresh()
    return Run(name, model, graph)


def asked_of(run: Run, one: Wanted) -> Recommendations | KgrecError:
    """What Run.recommend says to a request."""
    options = {field.name: getattr(one.options, field.name) for field in dataclasses.fields(one.options)}
    new: dict[str, Any] = {}
    if one.history is not None:
        plain = all(isinstance(step, str) for step in one.history)
        new["history"] = list(one.history) if plain else pd.DataFrame([dict(step) for step in one.history])
    try:
        table = run.recommend([one.name], **new, **options)
    except KgrecError as error:
        return error
    return dataclasses.replace(by_user(table)[0], notes=table.notes)


def said(answers: Sequence[Recommendations | KgrecError]) -> list[Any]:
    """Answers in a form that can be held against others: errors by their type and sentence."""
    return [(type(one), str(one)) if isinstance(one, KgrecError) else one.to_json() for one in answers]


def without_scores(answers: list[Any]) -> list[Any]:
    """The same without what a fitted vector may change in the last digit."""
    return [
        one if isinstance(one, tuple) else {**one, "items": [row["item"] for row in one["items"]]} for one in answers
    ]


# ---------------------------------------------------------------------- equal to Run.recommend

MIXED = [
    Wanted("u3"),
    Wanted("nobody"),
    Wanted(history=["i1", "i2", "i9"]),
    Wanted("u3", options=ListOptions(k=3, include_seen=True)),
    Wanted("u4", history=[{"item": "i4", "time": 9}, {"item": "i5", "time": 3}], options=ListOptions(k=3)),
    Wanted(history=["i1", "gone"]),
    Wanted("u5", options=ListOptions(k=4, where="has_genre=g2")),
    Wanted("u5", options=ListOptions(k=40, where="has_genre=g2")),
    Wanted("u5", options=ListOptions(k=4, where="has_genre=g77")),
    Wanted(history=[]),
    Wanted("u6", options=ListOptions(k=1000)),
    Wanted("u7", options=ListOptions(k=5, rules={"at_most": {"has_genre": 1}, "blocked": ["i2"]})),
    Wanted("u8", options=ListOptions(k=5, rules={"recently_shown": {"u8": ["i3"], "nobody": ["i4"]}})),
    Wanted("nobody", history=["i7"], options=ListOptions(k=5, rules={"recently_shown": {"nobody": ["i3"]}})),
    Wanted(history=["i1", "gone"], options=ListOptions(skip_unknown=True)),
    Wanted("u3"),
]


@pytest.mark.parametrize("name", ["mf", "ease", "sasrec", "kgat"])
def test_a_batch_of_any_requests_is_answered_as_each_alone(name: str, run_of: Callable[[str], Run]) -> None:
    run = run_of(name)
    service = Service(run)
    together, alone = service.recommend(MIXED), [service.recommend([one])[0] for one in MIXED]
    by_run = [asked_of(run, one) for one in MIXED]
    assert without_scores(said(together)) == without_scores(said(alone)) == without_scores(said(by_run))
    known = [place for place, one in enumerate(MIXED) if not one.is_new]
    if IS_STEADY:
        assert [said(together)[place] for place in known] == [said(by_run)[place] for place in known]


@pytest.mark.parametrize("name", models.names())
def test_known_users_get_the_same_scores_alone_among_others_and_of_run_recommend(
    name: str, run_of: Callable[[str], Run]
) -> None:
    run = run_of(name)
    service, of_ten = Service(run), run.recommend(USERS)
    by_run = said(by_user(of_ten))
    together, alone = (
        said(answers)
        for answers in (
            service.recommend([Wanted(user) for user in USERS]),
            [service.recommend([Wanted(user)])[0] for user in USERS],
        )
    )
    if name not in LAST_DIGIT and IS_STEADY:
        assert together == alone == by_run
        return
    for answers in (together, alone):
        assert without_scores(answers) == without_scores(by_run)
        scores, others = ([row["score"] for one in each for row in one["items"]] for each in (answers, by_run))
        assert scores == pytest.approx(others, abs=LAST_DIGIT.get(name, 1e-5))


def test_why_is_said_in_batches_too(run_of: Callable[[str], Run]) -> None:
    """EASE says why by the fall of scores, gruatt by attention, and popularity that no past item counts."""
    asked = [Wanted(user, options=ListOptions(k=3, why=True)) for user in USERS[:3]]
    asked.append(Wanted(history=["i1", "i7"], options=ListOptions(k=3, why=True)))
    for name in ("ease", "gruatt", "popularity"):
        run = run_of(name)
        answers = said(Service(run).recommend(asked))
        assert answers == said([asked_of(run, one) for one in asked])
        assert all("reason" in one for one in answers)
        assert bool(answers[0]["why"]) == (name != "popularity")


@pytest.mark.skipif(not IS_STEADY, reason="how many rows make a product steady was measured with oneMKL on AVX-512")
@pytest.mark.parametrize("columns", [4, 8, 64, 65, 100, 256])
def test_a_row_has_the_same_product_alone_and_among_others(columns: int) -> None:
    generator = torch.Generator().manual_seed(1)
    rows, others = (torch.randn(number, columns, generator=generator) for number in (64, 500))
    one_column, many = SteadyLinear(columns, 1), SteadyLinear(columns, 3 * columns)
    with torch.no_grad():
        for made in (lambda part: product(part, others), one_column, many):
            whole = made(rows)
            for number in (1, 2, 3, 5, 9, 17):
                assert torch.equal(made(rows[:number]), whole[:number])
                assert torch.equal(made(rows[-number:]), whole[-number:])


# ---------------------------------------------------------------------- many threads


@pytest.mark.parametrize("name", ["mf", "kgat"])
def test_threads_that_fold_in_new_users_do_not_disturb_each_other(name: str, run_of: Callable[[str], Run]) -> None:
    """A model knows a new user by rows that are added while it is asked: to each thread its own."""
    service = Service(run_of(name))
    options = [ListOptions(k=3), ListOptions(k=5, where="has_genre=g1"), ListOptions(k=4, include_seen=True)]
    asked = [
        [Wanted(history=[f"i{number}", f"i{number + 5}"], options=options[number % 3]), Wanted(f"u{number}")]
        for number in range(6)
    ]
    alone = [without_scores(said(service.recommend(one))) for one in asked]
    other = Service(run_of(name))  # with nothing made yet
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: other.recommend(asked[number % 6]), range(12)))
    assert [without_scores(said(one)) for one in found] == alone * 2


# ---------------------------------------------------------------------- other questions


def test_an_unknown_user_gets_popular_items_where_that_is_asked(run_of: Callable[[str], Run]) -> None:
    for name in ("mf", "ease", "kgat"):
        run = run_of(name)
        (error,) = Service(run).recommend([Wanted("zoe")])
        assert isinstance(error, UnknownName)
        (answer,) = Service(run, unknown="popularity").recommend([Wanted("zoe", options=ListOptions(k=3))])
        assert isinstance(answer, Recommendations)
        assert (answer.user, answer.reason) == ("zoe", "no history, by popularity")
        (popular,) = Service(run_of("popularity")).recommend([Wanted(history=["i0"], options=ListOptions(k=40))])
        assert isinstance(popular, Recommendations)
        assert sorted(answer.scores) == sorted([float(score) for score in answer.scores], reverse=False)
        most = run.graph.only("rated").tail.bincount().max().item()
        assert answer.scores[0] == most


def test_a_whole_number_is_the_id_that_it_writes() -> None:
    rated = pd.DataFrame([("7", "x"), ("7", "y"), ("8", "z")], columns=["source", "target"])
    service = Service(built("ease", Graph.from_frames(edges={("user", "rated", "item"): rated})))
    one = ListOptions(k=1)
    by_number, by_text = service.recommend([Wanted(7, options=one), Wanted("7", options=one)])  # type: ignore[arg-type]
    assert by_number == by_text
    with pytest.raises(BadData, match=r"7\.5 is a decimal number, and no id"):
        Wanted(7.5)  # type: ignore[arg-type]


def test_a_request_that_names_nobody_is_an_error_of_its_own(run_of: Callable[[str], Run]) -> None:
    error, answer = Service(run_of("ease")).recommend([Wanted(), Wanted("u1")])
    assert str(error) == "a request names no user; user=..., history=... or profile=... is wanted"
    assert isinstance(answer, Recommendations)
    with pytest.raises(KgrecError, match="unknown is 'nothing'; error or popularity is wanted"):
        Service(run_of("ease"), unknown="nothing")  # type: ignore[arg-type]


def rated_twice() -> Graph:
    rated = pd.DataFrame(
        [("ann", "x", 30, 4.0), ("ann", "y", 10, 2.0), ("bob", "y", 20, 5.0), ("bob", "z", 25, 1.0)],
        columns=["source", "target", "time", "weight"],
    )
    viewed = pd.DataFrame([("ann", "z", 20)], columns=["source", "target", "time"])
    edges = {("user", "rated", "item"): rated, ("user", "viewed", "item"): viewed}
    return Graph.from_frames(edges=edges, target=("user", "rated", "item"))


def test_a_known_users_history_can_be_asked_for_and_goes_on() -> None:
    """What the run knows of ann, by time, and then what she did since, is what she is served by."""
    graph = rated_twice()
    service = Service(built("sasrec", graph, dim=4, length=5, behaviours=("rated", "viewed")))
    steps = service.history_of("ann")
    assert steps == [
        {"item": "y", "time": 10, "weight": 2.0, "behaviour": "rated"},
        {"item": "z", "time": 20, "weight": 1.0, "behaviour": "viewed"},
        {"item": "x", "time": 30, "weight": 4.0, "behaviour": "rated"},
    ]
    two = ListOptions(k=2, include_seen=True)
    known, same, since = service.recommend(
        [
            Wanted("ann", options=two),
            Wanted("ann", history=steps, options=two),
            Wanted("ann", history=[*steps, {"item": "z", "time": 40, "weight": 1.0}], options=two),
        ]
    )
    assert said([known]) == said([same])
    assert said([since]) != said([same])
    with pytest.raises(UnknownName, match="no user 'zoe'"):
        service.history_of("zoe")


def test_steps_of_a_history_are_checked() -> None:
    service, one = Service(built("mf", rated_twice(), dim=4)), ListOptions(k=1)
    histories: list[Any] = [
        [{"item": "x", "weight": 3.0}, {"item": "y"}],
        [{"item": "x", "weights": 3.0}],
        [{"time": 3}],
        "x",
    ]
    answers = service.recommend([Wanted(history=history, options=one) for history in histories])
    beginnings = [
        "step 2 of the history has no weight, and others have one; give all of them, or none",
        "no key 'weights' of a step of a history (step 1); did you mean 'weight'?",
        "step 1 of the history names no item; one is wanted in each",
        "history is 'x', one id alone",
    ]
    assert all(str(answer).startswith(beginning) for answer, beginning in zip(answers, beginnings, strict=True))


def test_items_are_described_and_found() -> None:
    service = Service(built("popularity", SHOP))
    tea = service.item("tea").to_json()
    facts = {(fact["relation"], fact["backward"]): [node["label"] for node in fact["nodes"]] for fact in tea["facts"]}
    assert (tea["id"], tea["label"], tea["num_users"]) == ("tea", "Green tea", 3)
    assert facts == {
        ("of_brand", False): ["Acme"],
        ("in_category", False): ["drinks"],
        ("made_in", False): ["2024"],
        ("goes_with", False): ["Mug"],
        ("sells", True): ["corner"],
    }
    assert tea["columns"]["price"] == 4.5
    assert tea["columns"]["tags"] == ["hot", "dry"]
    assert "image" not in tea["columns"]
    assert "shelf" not in service.item("jam").columns
    assert [node.id for node in service.search("t")] == ["tea", "tin", "pot"]
    assert [node.id for node in service.search("TEA")] == ["tea"]
    assert [node.id for node in service.search("a", "user")] == ["ann", "dan"]
    assert [node.id for node in service.search("", most=2)] == ["tea", "mug"]
    with pytest.raises(UnknownName, match="no kind 'brand' to search for"):
        service.search("a", "brand")  # type: ignore[arg-type]


def test_similar_items_and_predictions_are_those_of_the_run(run_of: Callable[[str], Run]) -> None:
    run = run_of("mf")
    service = Service(run)
    assert service.similar("i3", ListOptions(k=4)).items == run.similar("i3", k=4)["item"]
    pairs = [("u1", "i1"), ("nobody", "i1"), ("u1", "gone"), ("u2", "i5")]
    first, no_user, no_item, last = service.predict(pairs)
    assert [first, last] == pytest.approx(run.predict([pairs[0], pairs[3]])[service.predicted])
    assert (str(no_user)[:18], str(no_item)[:16]) == ("no user 'nobody' a", "no item 'gone' a")


def test_what_is_kept_for_options_is_bounded(run_of: Callable[[str], Run], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgrec.serving.service.KEPT", 3)
    service = Service(run_of("ease"))
    for k in range(1, 9):
        (answer,) = service.recommend([Wanted("u1", options=ListOptions(k=k))])
        assert isinstance(answer, Recommendations)
        assert len(answer.items) == k
    assert len(service._prepared) == 3


def test_weights_that_are_mapped_from_their_file_give_the_same_scores(planted: Graph, tmp_path: Path) -> None:
    folder = tmp_path / "ease.run"
    train("ease", planted, out=folder, split="last_n:1")
    copied, mapped = (Run.load(folder, mapped=mapped) for mapped in (False, True))
    service = Service(mapped)
    service.warm()
    assert said(service.recommend(MIXED[:4])) == said(Service(copied).recommend(MIXED[:4]))
    maps = Path("/proc/self/maps")
    if maps.exists():
        assert str(folder / "model.safetensors") in maps.read_text()


@pytest.mark.parametrize("name", ["mf", "sasrec"])
def test_vectors_that_features_make_are_made_once_and_anew_where_a_parameter_changes(name: str) -> None:
    run, users = built(name, SHOP, dim=8, features="all"), ["ann", "bob", "cem", "dan"]
    asked = [Wanted(user, options=ListOptions(k=4)) for user in users]

    def of_run() -> list[Any]:
        return said(by_user(run.recommend(users, k=4)))

    before, service = of_run(), Service(run)
    assert said(service.recommend(asked)) == before == [said(service.recommend([one]))[0] for one in asked]
    with torch.no_grad():
        for parameter in run.model.parameters():
            parameter.mul_(1.5)
    run.kept.clear()
    after = said(service.recommend(asked))
    assert after != before
    assert after == said(Service(built_like(run)).recommend(asked))


@pytest.mark.parametrize("name", ["sasrec", "gru4rec", "esasrec", "bert4rec"])
def test_histories_that_are_read_ahead_give_the_same_lists(name: str, run_of: Callable[[str], Run]) -> None:
    run = run_of(name)
    ids = run.graph.vocabulary[run.graph.target[0]].id_array.to_pylist()
    service, asked = Service(built_like(run)), [Wanted(user) for user in ids]
    service.recommend(asked[3:5])
    steps = 0
    while service.read_ahead():
        steps += 1
    assert 0 < steps <= len(ids) // 4 + 1 and not service.read_ahead()
    assert said(service.recommend(asked)) == said(by_user(run.recommend(ids)))


def test_there_is_nothing_to_read_ahead_for_a_model_without_sequences(run_of: Callable[[str], Run]) -> None:
    assert not Service(run_of("mf")).read_ahead()


@pytest.mark.parametrize("name", ["mf", "ease", "sasrec"])
def test_a_list_is_quick_where_all_it_takes_is_there(name: str, run_of: Callable[[str], Run], monkeypatch) -> None:
    run = run_of(name)
    user = run.graph.vocabulary[run.graph.target[0]].ids(range(1))[0]
    service, one = Service(built_like(run)), Wanted(user)
    assert not service.is_quick(one)  # its options were not asked for yet
    service.recommend([one])
    assert service.is_quick(one)
    others = [Wanted("nobody"), Wanted(history=[]), Wanted(user, options=ListOptions(why=True)), Wanted()]
    service.recommend(others)
    assert not any(map(service.is_quick, others))
    if name == "sasrec":
        other = run.graph.vocabulary[run.graph.target[0]].ids(range(1, 2))[0]
        assert not service.is_quick(Wanted(other))  # its history was not read
    monkeypatch.setattr("kgrec.serving.few_users.QUICK_ITEMS", 3)
    assert not service.is_quick(one)


def built_like(run: Run) -> Run:
    """The same model in another run, which keeps nothing yet."""
    model = models.build(run.name, run.graph, dataclasses.asdict(run.model.config))
    model.load_state_dict(run.model.state_dict())
    return Run(run.name, model, run.graph)

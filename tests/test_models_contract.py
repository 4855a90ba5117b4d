"""What every model owes, for each file of kgrec/models: a model inherits these tests by being there."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from typing import get_type_hints

import numba
import numpy as np
import pandas as pd
import pytest
import torch
from torch import Tensor

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Query, Recommender, Task
from kgrec.nn import EdgeModel
from kgrec.nn.losses import logistic, squared_error
from kgrec.samplers.histories import Histories
from kgrec.splits.split import Split, split
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

#: Settings for a graph of 60 users, for those models that have a field of the name
SMALL = {"dim": 16, "batch_size": 32, "lr": 0.01, "l2": 1e-3, "length": 10}
OF_MODEL = {
    "ease": {"l2": 10.0},
    "ials": {"reg": 0.03},
    "gru4rec": {"lr": 0.03},
    "gruatt": {"lr": 0.03},
    "transr": {"relation_dim": 8},
    "gan": {"g_lr": 0.02, "d_lr": 0.02, "batch_size": 8},
    "irgan": {"pretrain_epochs": 10, "rows": 16},
    "dnen": {"pretrain_epochs": 10, "rows": 16},
}
EPOCHS = 20


@dataclass
class Subject:
    """A model that was trained on the planted graph."""

    name: str
    model: Recommender
    config: object
    parts: Split
    before: dict[str, Tensor]  #: its parameters as built

    def query(self, users: Tensor) -> Query:
        return Query(users, Histories(self.parts.train.only(self.parts.train.target)).last(users))

    @torch.no_grad()
    def score(self, query: Query, items: Tensor) -> Tensor:
        return self.model.score(query, items)

    @property
    def items(self) -> Tensor:
        return self.parts.train.nodes("item")


def small_config(name: str) -> object:
    kind = models.find(name).Config
    fields = {field.name for field in dataclasses.fields(kind)}
    return kind(**{key: value for key, value in SMALL.items() if key in fields} | OF_MODEL.get(name, {}))


@pytest.fixture(scope="module")
def one_thread():
    """Batches of 32 examples are done before a second thread has woken up."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


@pytest.fixture(scope="module", params=models.names())
def subject(request: pytest.FixtureRequest, planted: Graph, one_thread: None) -> Subject:
    config, parts = small_config(request.param), split(planted, "last_n:2")
    torch.manual_seed(0)
    model = models.build(request.param, parts.train, config)
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    training = TrainingConfig(epochs=EPOCHS, device="cpu")
    for _ in Trainer(model, parts.train, training, make_fabric(training)).epochs():
        pass
    return Subject(request.param, model.eval(), config, parts, before)


def test_scores_are_one_a_user_and_item_and_finite(subject: Subject) -> None:
    scores = subject.score(subject.query(torch.arange(7)), subject.items)
    assert scores.shape == (7, 40)
    assert scores.dtype == torch.float32
    assert scores.isfinite().all()


def test_scoring_twice_gives_the_same(subject: Subject) -> None:
    query = subject.query(torch.arange(7))
    assert torch.equal(subject.score(query, subject.items), subject.score(query, subject.items))


def test_an_items_score_is_its_own(subject: Subject) -> None:
    query, some = subject.query(torch.arange(7)), torch.tensor([31, 4, 4, 18])
    whole = subject.score(query, subject.items)
    torch.testing.assert_close(subject.score(query, subject.items[some]), whole[:, some], rtol=1e-4, atol=1e-5)


def test_lists_of_each_users_own_agree_with_one_list_for_all(subject: Subject) -> None:
    query, own = subject.query(torch.arange(7)), torch.stack([torch.randperm(40)[:5] for _ in range(7)])
    whole = subject.score(query, subject.items)
    torch.testing.assert_close(subject.score(query, subject.items[own]), whole.gather(1, own), rtol=1e-4, atol=1e-5)


def test_a_users_scores_do_not_depend_on_who_else_is_asked_for(subject: Subject) -> None:
    """Alone, in another order, and beside a longer history, which pads the others."""
    query = subject.query(torch.tensor([3, 50, 9]))
    pad = subject.parts.train.pad
    history = torch.cat([torch.full((3, 4), pad), query.history], dim=1)
    history[0, :4] = subject.items[torch.tensor([0, 7, 0, 21])]
    longer = Query(query.user, history)
    alone = subject.score(subject.query(torch.tensor([9])), subject.items)
    torch.testing.assert_close(subject.score(query, subject.items)[2:], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(subject.score(longer, subject.items)[2:], alone, rtol=1e-4, atol=1e-5)


def test_a_user_without_history_has_finite_scores(subject: Subject) -> None:
    for length in (0, 3):
        nobody = Query(torch.tensor([subject.parts.train.pad]), torch.full((1, length), subject.parts.train.pad))
        scores = subject.score(nobody, subject.items)
        assert scores.shape == (1, 40)
        assert scores.isfinite().all()


def test_saved_state_gives_the_same_scores_in_a_model_built_of_the_schema(subject: Subject) -> None:
    torch.manual_seed(1)
    empty = models.build(subject.name, Graph.empty(subject.parts.train.schema), subject.config).eval()
    saved = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    assert {n: t.shape for n, t in empty.state_dict().items()} == {n: t.shape for n, t in saved.items()}
    empty.load_state_dict(saved)
    query = subject.query(torch.arange(7))
    with torch.no_grad():
        assert torch.equal(empty.score(query, subject.items), subject.score(query, subject.items))


def test_state_is_dense_tensors(subject: Subject) -> None:
    state = subject.model.state_dict()
    assert state
    assert all(tensor.layout == torch.strided for tensor in state.values())


def test_building_changes_nothing_global(subject: Subject, planted: Graph) -> None:
    torch.manual_seed(5)
    expected, edges = torch.rand(1), planted.edge_index.clone()
    if subject.before:
        return  # parameters are drawn from torch's own generator, which the caller has seeded
    torch.manual_seed(5)
    models.build(subject.name, planted, subject.config)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(planted.edge_index, edges)


def test_every_parameter_is_moved_by_some_objective(subject: Subject) -> None:
    still = [name for name, p in subject.model.named_parameters() if torch.equal(p.detach(), subject.before[name])]
    assert still == []
    covered = {id(p) for objective in subject.model.objectives(subject.parts.train) for p in objective.parameters}
    assert covered == {id(p) for p in subject.model.parameters()}


def recall_at_5(model: Recommender, parts: Split, *, known: bool) -> float:
    """Over all users, of the two held-out items the share in the top 5 of the 32 that are new to the user. known: users
    are named; else they are served by their history alone."""
    users, items = parts.train.nodes("user"), parts.train.nodes("item")
    query = Query(
        users if known else torch.full_like(users, parts.train.pad),
        Histories(parts.train.only(parts.train.target)).last(users),
    )
    with torch.no_grad():
        scores = model.score(query, items).clone()
    lists = items.expand(len(users), -1)
    scores[parts.train.only(parts.train.target).is_edge(users, lists)] = -torch.inf
    return float(parts.test.is_edge(users, lists).gather(1, scores.topk(5).indices).double().sum(1).mean() / 2)


def test_it_learns_more_than_popularity(subject: Subject) -> None:
    if subject.name == "popularity" or subject.model.task != "ranking":
        pytest.skip("it is popularity" if subject.name == "popularity" else f"it predicts a {subject.model.task}")
    popularity = recall_at_5(models.build("popularity", subject.parts.train), subject.parts, known=True)
    assert recall_at_5(subject.model, subject.parts, known=True) > popularity + 0.2
    if subject.model.reads_history:
        assert recall_at_5(subject.model, subject.parts, known=False) > popularity + 0.2


@pytest.fixture(scope="module")
def judged() -> Split:
    """60 users who rate half of 40 items: 4 with some noise where the item is of a kind (of four) that the user likes,
    else 2; a rating over 3 is a click. Items and users have the same means: only what goes with whom tells. A fifth of
    the edges is the test."""
    rng = np.random.default_rng(0)
    likes = np.stack([rng.permutation([0, 0, 1, 1]) for _ in range(60)])
    user, item = (rng.random((60, 40)) < 0.5).nonzero()
    rating = 2.0 + 2 * likes[user, item % 4] + 0.3 * rng.standard_normal(len(user))
    rows = {"source": user.astype(str), "target": item.astype(str), "weight": rating, "click": (rating > 3).astype(int)}
    edges = {("user", "rated", "item"): pd.DataFrame(rows)}
    return split(Graph.from_frames(edges=edges, features={"rated": {"click": "numeric"}}), "ratio:0.2,seed=1")


def learns(name: str) -> bool:
    kind = models.find(name)
    return issubclass(kind, EdgeModel) and get_type_hints(kind.Config)["task"] == Task


@pytest.mark.parametrize("task", ["rating", "ctr"])
@pytest.mark.parametrize("name", [name for name in models.names() if learns(name)])
def test_ratings_and_clicks_are_learned(name: str, task: str, judged: Split, one_thread: None) -> None:
    """On edges that it has not seen, too, the loss is far less than that of the mean, the best that is the same for
    all."""
    train, test = judged.train.only("rated"), judged.test.only("rated")
    torch.manual_seed(0)
    model = models.build(name, judged.train, {**dataclasses.asdict(small_config(name)), "task": task})
    training = TrainingConfig(epochs=EPOCHS, device="cpu")
    losses = [epoch.losses[task] for epoch in Trainer(model, judged.train, training, make_fabric(training)).epochs()]
    query = Query(test.head, torch.empty(test.num_edges, 0, dtype=torch.long))
    with torch.no_grad():
        scores = model.eval().score(query, test.tail.unsqueeze(1)).squeeze(1)
    if task == "rating":
        of_mean = squared_error(train.weight.mean().expand(test.num_edges), test.weight)
        of_model = squared_error(scores, test.weight)
    else:
        of_mean = logistic(train.clicks().mean().logit().expand(test.num_edges), test.clicks())
        of_model = logistic(scores, test.clicks())
    assert losses[-1] < 0.6 * of_mean
    assert of_model < 0.6 * of_mean


def test_withheld_items_are_not_favoured(subject: Subject, planted: Graph) -> None:
    """Cold items have no target edges: with models complete when built, none of them is in anybody's top 5."""
    if subject.before:
        pytest.skip("what training may draw is proved where it is drawn")
    if subject.model.task != "ranking":
        pytest.skip("a cold item is predicted at the mean, which may be more than the others")
    parts = split(planted, "cold_items:0.2,seed=1")
    model = models.build(subject.name, parts.train, subject.config)
    users = planted.nodes("user")
    with torch.no_grad():
        scores = model.score(
            Query(users, Histories(parts.train.only(planted.target)).last(users)), planted.nodes("item")
        )
    best = planted.nodes("item")[scores.topk(5).indices]
    assert parts.train.withheld is not None
    assert len(parts.train.withheld) >= 4
    assert not torch.isin(best, parts.train.withheld).any()


def test_a_setting_that_is_not_there_or_of_the_wrong_type_is_refused(subject: Subject) -> None:
    graph = Graph.empty(subject.parts.train.schema)
    with pytest.raises(UnknownName, match=f"no field 'frobnicate' of model '{subject.name}'"):
        models.build(subject.name, graph, {"frobnicate": 1})
    field = dataclasses.fields(models.find(subject.name).Config)[0].name
    with pytest.raises(KgrecError, match=f"{field}="):
        models.build(subject.name, graph, {field: object()})


def test_settings_are_frozen(subject: Subject) -> None:
    field = dataclasses.fields(models.find(subject.name).Config)[0].name
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(subject.config, field, getattr(subject.config, field))


# ---------------------------------------------------------------- models by name


def test_names_are_the_files_of_the_folder() -> None:
    assert {"ease", "ials", "itemknn", "popularity"} <= set(models.names())
    assert models.names() == sorted(models.names())


def test_listing_models_imports_neither_torch_nor_a_model() -> None:
    loaded = "[name for name in sys.modules if name == 'torch' or name.startswith('kgrec.models.')]"
    code = f"import sys, kgrec.models; kgrec.models.names(); print({loaded})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_a_near_name_is_named() -> None:
    with pytest.raises(UnknownName, match=r"no model 'eaze'.*did you mean 'ease'"):
        models.find("eaze")


OWN = """
import torch
from kgrec.model import Recommender
from kgrec.models.popularity import Popularity  # imported, so not of this module
from kgrec.settings import settings

@settings
class MineConfig:
    value: float = 2.0

class Mine(Recommender):
    Config = MineConfig
    def __init__(self, graph, config):
        super().__init__(graph, config)
        self.register_buffer("value", torch.tensor(config.value))
    def score(self, query, items):
        return self.value.expand(len(query), items.shape[-1])
"""


@pytest.fixture
def package(tmp_path, monkeypatch: pytest.MonkeyPatch):
    """A folder on the path; writes modules of a package of the test's own."""
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def write(module: str, text: str) -> str:
        folder = tmp_path / "foreign"
        folder.mkdir(exist_ok=True)
        (folder / "__init__.py").write_text("")
        (folder / f"{module}.py").write_text(text)
        return f"foreign.{module}"

    yield write
    for name in [name for name in sys.modules if name.split(".")[0] == "foreign"]:
        del sys.modules[name]


def test_a_model_of_ones_own_is_a_dotted_path(package, planted: Graph) -> None:
    path = package("mine", OWN)
    assert models.find(path) is models.find(f"{path}:Mine")
    assert models.build(path, planted, {"value": "3"}).value == 3
    assert models.find(f"{path}:Popularity") is models.find("popularity")


def test_a_dotted_path_is_refused_where_only_built_in_models_may_load(package) -> None:
    path = package("mine", "raise SystemExit('the foreign module ran')")
    for name in (path, f"{path}:Mine"):
        with pytest.raises(KgrecError, match="is no built-in one"):
            models.find(name, builtin_only=True)
    assert models.find("ease", builtin_only=True).__name__ == "EASE"


def test_what_is_wrong_with_a_module_is_said(package) -> None:
    two = package("two", OWN + "\nclass Other(Mine):\n    pass\n")
    with pytest.raises(KgrecError, match=r"several: 'Mine', 'Other'; say which as foreign\.two:Mine"):
        models.find(two)
    assert models.find(f"{two}:Other").__name__ == "Other"
    with pytest.raises(KgrecError, match="it has none"):
        models.find(package("none", "from kgrec.models.popularity import Popularity"))
    with pytest.raises(UnknownName, match="did you mean 'Mine'"):
        models.find(f"{two}:Mime")
    with pytest.raises(KgrecError, match=r"no module 'foreign\.absent'"):
        models.find("foreign.absent")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        models.find(package("broken", "import no_such_library"))
    with pytest.raises(KgrecError, match="names no settings"):
        models.find(package("unset", OWN.replace("    Config = MineConfig\n", "")))


def test_settings_of_another_model_are_refused(planted: Graph) -> None:
    with pytest.raises(KgrecError, match="is set by EASEConfig, not by IALSConfig"):
        models.build("ease", planted, models.find("ials").Config())

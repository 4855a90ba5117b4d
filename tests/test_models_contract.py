"""What every model owes, for each file of kgrec/models: a model has the checks of kgrec.testing by being there."""

import dataclasses
import subprocess
import sys
from dataclasses import replace
from typing import Any, get_type_hints

import numba
import numpy as np
import pandas as pd
import pytest
import torch
from _pytest.mark import ParameterSet

from kgrec import models
from kgrec.errors import KgrecError, UnknownName
from kgrec.graph import Graph
from kgrec.model import Objective, Query, Task
from kgrec.models.lightgcn import LightGCN
from kgrec.models.mf import MF
from kgrec.nn import EdgeModel
from kgrec.nn.losses import logistic, squared_error
from kgrec.splits.split import Split, split
from kgrec.testing import CHECKS, ModelContract, check_model, checks, planted_graph, trained
from kgrec.testing.model_checks import withheld_items_are_left_alone
from kgrec.testing.withheld import read_by_withheld_alone
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

#: Settings for a graph of 60 users, for those models that have a field of the name
SMALL = {"dim": 16, "batch_size": 32, "lr": 0.01, "l2": 1e-3, "length": 10}
OF_MODEL = {
    "ease": {"l2": 10.0},
    "ials": {"l2": 0.03},
    "gru4rec": {"lr": 0.03},
    "gruatt": {"lr": 0.03},
    "bert4rec": {"mask_probability": 0.4, "mask_last": 0.4},  # of each path a few steps are targets
    "hstu": {"lr": 0.02},
    # wider, or with dropout, some ReLU answers to withheld items alone
    "ncf": {"init_std": 0.01, "loss": "bce", "negatives": 4, "dropout": 0.0},
    "neumf": {"init_std": 0.01, "loss": "bce", "negatives": 4, "dropout": 0.0},
    "transr": {"relation_dim": 8},
    "gan": {"g_lr": 0.02, "d_lr": 0.02, "batch_size": 8},
    "irgan": {"pretrain_epochs": 10, "adversarial_batch_size": 16},
    "dnen": {"pretrain_epochs": 10, "adversarial_batch_size": 16},
}
EPOCHS = 20
SKIPS = {"popularity": {"it_learns_more_than_popularity": "it is popularity"}}


def small_fields(name: str) -> dict[str, Any]:
    fields = {field.name for field in dataclasses.fields(models.find(name).Config)}
    return {key: value for key, value in SMALL.items() if key in fields} | OF_MODEL.get(name, {})


@pytest.fixture(scope="module", autouse=True)
def one_thread():
    """Batches of 32 examples are done before a second thread has woken up."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    yield
    torch.set_num_threads(before[0])
    numba.set_num_threads(before[1])


def marked(case: ParameterSet) -> ParameterSet:
    """The same, marked `cuda` where it needs a device."""
    return pytest.param(*case.values, id=case.id, marks=pytest.mark.cuda) if "cuda" in str(case.id) else case


@pytest.mark.parametrize(
    "check",
    [
        marked(case)
        for name in models.names()
        for case in checks(name, small_fields(name), epochs=EPOCHS, skips=SKIPS.get(name))
    ],
)
def test_a_built_in_model_keeps_the_contract(check) -> None:
    check()


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
def test_ratings_and_clicks_are_learned(name: str, task: str, judged: Split) -> None:
    """On edges that it has not seen, too, the loss is far less than that of the mean, the best that is the same for
    all."""
    train, test = judged.train.only("rated"), judged.test.only("rated")
    torch.manual_seed(0)
    model = models.build(name, judged.train, {**small_fields(name), "task": task})
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


# ---------------------------------------------------------------- the contract itself


class DrawsWithheld(MF):
    """MF that takes what the split withholds as negatives, as if it were there to be had."""

    def objectives(self, graph: Graph) -> list[Objective]:
        return super().objectives(replace(graph, withheld=None))


class KeepsQuietly(LightGCN):
    """LightGCN that makes what it keeps without gradients, so that none shows what a score reads."""

    def refresh(self) -> None:
        with torch.no_grad():
            super().refresh()


class DrawsWithheldQuietly(KeepsQuietly):
    """The same, and it takes what the split withholds as negatives."""

    def objectives(self, graph: Graph) -> list[Objective]:
        return super().objectives(replace(graph, withheld=None))


class Draws(MF):
    """MF that adds noise to its scores, when it serves too."""

    def score(self, query: Query, items):
        return super().score(query, items) + torch.rand(len(query), items.shape[-1])


class CountsPadding(MF):
    """MF whose scores grow with the width of the histories, be it padding."""

    def score(self, query: Query, items):
        return super().score(query, items) + query.history.shape[1]


class HasIdle(MF):
    """MF with a parameter that nothing trains."""

    def __init__(self, graph: Graph, config) -> None:
        super().__init__(graph, config)
        self.idle = torch.nn.Parameter(torch.ones(2))


class Centred(MF):
    """MF whose scores are less their mean: of the items that are asked for, so another among others."""

    def score(self, query: Query, items):
        scores = super().score(query, items)
        return scores - scores.mean(1, keepdim=True)


class Forgets(MF):
    """MF that reads something beside its state."""

    def __init__(self, graph: Graph, config) -> None:
        super().__init__(graph, config)
        self.popular = torch.bincount(graph.tail, minlength=graph.num_nodes + 1).float()

    def score(self, query: Query, items):
        return super().score(query, items) + self.popular[items]


class Counts(MF):
    """MF that weighs its loss by how many epochs it has seen, which no checkpoint keeps."""

    seen = 0

    def begin(self, epoch: int) -> None:
        self.seen += 1

    def edge_loss(self, batch):
        return super().edge_loss(batch) * (1 + self.seen)


class AddsInAnyOrder(MF):
    """MF that looks users up by their rows, whose gradient adds up what is of one user as threads come."""

    def ranking_loss(self, ranking, user, drawn):
        return super().ranking_loss(ranking, user, drawn) + self.user.weight[user - self.user.start].square().mean()


@pytest.mark.parametrize(
    ("model", "broken"),
    [
        (DrawsWithheld, "withheld_items_are_left_alone: training has a gradient for entries of ['item.weight']"),
        (DrawsWithheldQuietly, "withheld_items_are_left_alone: training has a gradient for entries of ['item.weight']"),
        (Draws, "scoring_twice_gives_the_same: the same query has different scores the second time"),
        (
            CountsPadding,
            "a_users_scores_do_not_depend_on_who_else_is_asked_for: scores of a user whose history is padded",
        ),
        (HasIdle, "every_parameter_is_moved_by_some_objective: training does not change ['idle']"),
        (Centred, "an_items_score_is_its_own: scores of some items alone, and among"),
        (Forgets, "a_model_built_of_the_schema_takes_the_saved_state: a model with the saved state has other"),
        (
            Counts,
            "training_that_is_resumed_is_equal_to_an_uninterrupted_one: training that was resumed after epoch 4 of 6",
        ),
        (AddsInAnyOrder, "training adds several values to the same entries of tensors of the shapes [(61, 4)]"),
    ],
)
def test_what_breaks_the_contract_is_said(model: type, broken: str) -> None:
    skips = {"it_learns_more_than_popularity": "it is trained too briefly for that"}
    with pytest.raises(AssertionError) as error:
        check_model(model, {"dim": 4, "batch_size": 64}, epochs=6, skips=skips)
    assert broken in str(error.value)


def test_what_is_kept_without_gradients_is_found_by_moving_rows() -> None:
    subject = trained(KeepsQuietly, {"dim": 4, "batch_size": 64}, 6)
    withheld_items_are_left_alone(subject)
    train = split(planted_graph(), "cold_items:0.2,seed=1").train
    train = train.where(~(torch.isin(train.head, train.withheld) | torch.isin(train.tail, train.withheld)))
    own = read_by_withheld_alone(subject, train)
    rows = own["item.weight"].all(1).nonzero().squeeze(1) + train.range("item").start
    assert list(own) == ["item.weight"] and torch.equal(rows, train.withheld)


def test_a_model_is_checked_by_name_or_class_and_trained_once() -> None:
    fields = small_fields("mf")
    result = check_model("mf", fields, epochs=EPOCHS)
    assert list(result) == [check.__name__ for check in CHECKS]
    assert {said for name, said in result.items() if "cuda" not in name} == {"passed"}
    assert trained("mf", fields, EPOCHS) is trained("mf", fields)
    assert trained(MF, fields).name == "kgrec.models.mf:MF"


def test_the_share_that_is_asked_for_beyond_popularity_is_named() -> None:
    with pytest.raises(
        AssertionError, match=r"after 1 epochs recall@5 of known users is 0\.\d+, and that of popularity is 0\.\d"
    ):
        check_model("mf", {"dim": 4, "lr": 1e-6}, epochs=1)


class TestInherited(ModelContract):
    """The contract as a class."""

    model = "sasrec"
    config = small_fields("sasrec")
    epochs = EPOCHS


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
        with pytest.raises(KgrecError, match="is not built in"):
            models.find(name, builtin_only=True)
    assert models.find("ease", builtin_only=True).__name__ == "EASE"


def test_what_is_wrong_with_a_module_is_said(package) -> None:
    two = package("two", OWN + "\nclass Other(Mine):\n    pass\n")
    with pytest.raises(KgrecError, match=r"several: 'Mine', 'Other'; name one as foreign\.two:Mine"):
        models.find(two)
    assert models.find(f"{two}:Other").__name__ == "Other"
    with pytest.raises(KgrecError, match="it has none"):
        models.find(package("none", "from kgrec.models.popularity import Popularity"))
    with pytest.raises(UnknownName, match="did you mean 'Mine'"):
        models.find(f"{two}:Mime")
    with pytest.raises(KgrecError, match=r"no module 'foreign\.absent' was found"):
        models.find("foreign.absent")
    with pytest.raises(ModuleNotFoundError, match="no_such_library"):
        models.find(package("broken", "import no_such_library"))
    with pytest.raises(KgrecError, match="has no settings class"):
        models.find(package("unset", OWN.replace("    Config = MineConfig\n", "")))


def test_settings_of_another_model_are_refused(planted: Graph) -> None:
    with pytest.raises(KgrecError, match="takes settings of the class EASEConfig, not IALSConfig"):
        models.build("ease", planted, models.find("ials").Config())

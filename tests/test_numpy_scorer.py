"""Scores by NumPy alone: those of every model that offers them equal the model's own, and files are not trusted."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.evaluation.ranking import Scorer, scoring
from kgrec.linear_scores import LinearScores
from kgrec.model import Recommender, ScorerParts
from kgrec.models.mf import MF, MFConfig
from kgrec.run import Run, train
from kgrec.serving.numpy_scorer import load_scores, read_header
from kgrec.serving.quick_lists import QuickRun
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
from kgrec.training.scorer_files import checked_scorer

EPOCHS = configure(TrainingConfig, {"epochs": 2, "device": "cpu"})
PHASES = {"pretrain_epochs": 1, "dim": 8}
OFFERED = {
    "mf": {"dim": 8},
    "mf biases": {"dim": 8, "biases": True},
    "mf rating": {"dim": 8, "biases": True, "task": "rating"},
    "mf cosine": {"dim": 8, "cosine": True, "temperature": 0.2, "magnitude": 0.5},
    "lightgcn": {"dim": 8},
    "lightgcn cosine": {"dim": 8, "cosine": True, "temperature": 0.1},
    "xsimgcl": {"dim": 8},
    "kgat": {"dim": 8, "layer_dims": (4,)},
    "cke": {"dim": 8, "relation_dim": 4},
    "irgan": PHASES,
    "irgan discriminator": {**PHASES, "serve": "discriminator"},
    "dnen": {**PHASES, "base": "lightgcn"},
    "dnen discriminator": {**PHASES, "serve": "discriminator", "judges": "users"},
    "distmult": {"dim": 8},
    "complex": {"dim": 8},
    "transr": {"dim": 8, "relation_dim": 4},
    "bias": {},
    "bias items": {"users": False},
    "popularity": {},
    "ease": {"l2": 1.0},
    "itemknn": {"neighbors": 5},
}


def test_who_offers_and_who_does_not():
    """A model that is added says what it is, here too."""
    offers = {name.split()[0] for name in OFFERED}
    for name in models.names():
        assert (models.find(name).linear_scorer is not Recommender.linear_scorer) == (name in offers), name


def both(run: Run, scores: LinearScores) -> tuple[np.ndarray, np.ndarray]:
    """The scores of all users with all items, by the model and by NumPy: float32 [U, I] each."""
    graph = run.graph
    users, items = graph.nodes("user"), graph.nodes("item")
    with scoring(run.model):
        query = Scorer(run.model, graph).query(users)
        wanted = run.model.score(query, items).numpy()
    if not scores.reads_history:
        return wanted, scores.of_users(range(len(users)))
    first = graph.range("item").start
    lists = [row[row < graph.range("item").stop] - first for row in query.history.numpy()]
    return wanted, scores.of_histories(lists)


@pytest.mark.parametrize("name", OFFERED)
def test_numpy_gives_the_models_own_scores(name, planted, tmp_path):
    model = name.split()[0]
    rating = torch.arange(planted.num_edges) % 5 + 1.0
    run = train(
        model,
        replace(planted, weight=rating),
        split="last_n:1",
        config=OFFERED[name],
        training=EPOCHS,
        out=tmp_path / "run",
    )
    for checked in (True, False):
        scores = load_scores(tmp_path / "run", check_hashes=checked)
        wanted, found = both(run, scores)
        assert found.dtype == np.float32 and np.ptp(wanted) > 0
        assert np.abs(found - wanted).max() <= 1e-5 * np.abs(wanted).max()
        assert (scores.num_users or 60, scores.num_items) == (60, 40)
    users, quick = run.graph.vocabulary["user"].ids(range(60)), QuickRun.open(tmp_path / "run")
    assert quick is not None
    assert quick.lists(users, 40).to_arrow() == run.recommend(users, k=40).to_arrow()
    found = {user: quick.lists([user], 10) for user in users}
    sure = [user for user, lists in found.items() if lists is not None]
    assert len(sure) > 50
    assert [row for user in sure for row in found[user]] == list(run.recommend(sure))


def test_weights_of_the_model_are_not_written_twice(planted, tmp_path):
    for name, own in (("ease", False), ("lightgcn", False), ("mf biases", False), ("mf cosine", True)):
        out = tmp_path / name
        train(name.split()[0], planted, split="last_n:1", config=OFFERED[name], training=EPOCHS, out=out)
        assert (out / "scorer.safetensors").is_file() == own, name
    weight = load_scores(tmp_path / "ease").arrays["weight"]
    assert isinstance(weight, np.memmap) and weight.filename == tmp_path / "ease" / "model.safetensors"


def test_a_history_counts_as_a_set_and_a_wrong_number_is_named(planted, tmp_path):
    for name in ("ease", "itemknn"):
        train(name, planted, split="last_n:1", config=OFFERED[name], training=EPOCHS, out=tmp_path / name)
        scores = load_scores(tmp_path / name)
        once, twice, none = scores.of_histories([[3, 1], [1, 3, 3, 1], []])
        assert np.array_equal(once, twice) and not none.any() and once.any()
        with pytest.raises(KgrecError, match="no item has the number 40; numbers go from 0 to 39"):
            scores.of_histories([[40]])
        with pytest.raises(KgrecError, match="are computed from histories"):
            scores.of_users([0])
    train("mf", planted, split="last_n:1", config=OFFERED["mf"], training=EPOCHS, out=tmp_path / "mf")
    for user in (60, -1):
        with pytest.raises(KgrecError, match=f"no user has the number {user}; numbers go from 0 to 59"):
            load_scores(tmp_path / "mf").of_users([0, user])
    with pytest.raises(KgrecError, match="has scores only for the users it was trained on"):
        load_scores(tmp_path / "mf").of_histories([[0]])


def test_torch_is_not_imported(planted, tmp_path):
    train("mf", planted, split="last_n:1", config=OFFERED["mf"], training=EPOCHS, out=tmp_path / "run")
    code = f"""
import sys
from kgrec.serving.numpy_scorer import load_scores
found = load_scores({str(tmp_path / "run")!r}).of_users([0, 5])
assert found.shape == (2, 40)
heavy = {{"torch", "pandas", "pyarrow", "pydantic", "safetensors", "scipy", "numba"}} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", code], check=True)


class Least(MF):
    """Scores otherwise than MF, by a `score` of its own."""

    Config = MFConfig

    def score(self, query, items):
        return -super().score(query, items)


class Shifted(MF):
    """Scores otherwise than MF, which its `score` does not show."""

    Config = MFConfig

    def pair_scores(self, user, items):
        return -super().pair_scores(user, items)


def test_an_offer_that_is_not_what_score_says_is_not_kept(planted):
    assert checked_scorer(MF(planted, MFConfig(dim=8)), planted) is not None
    assert checked_scorer(Least(planted, MFConfig(dim=8)), planted) is None
    with pytest.warns(UserWarning, match=r"Shifted\.linear_scorer gives other scores than Shifted\.score"):
        assert checked_scorer(Shifted(planted, MFConfig(dim=8)), planted) is None


def test_a_model_that_offers_none_is_said_so(planted, tmp_path):
    train("svdpp", planted, split="last_n:1", config={"dim": 4}, training=EPOCHS, out=tmp_path / "run")
    assert not (tmp_path / "run" / "scorer.json").exists()
    with pytest.raises(KgrecError, match=r"has no scorer\.json \(svdpp scores in another way\); read it by kgrec"):
        load_scores(tmp_path / "run")


def relist(folder: Path) -> None:
    """Make config.json agree with files that a test has altered, as a forger would."""
    from kgrec.run_files import list_files

    config = json.loads((folder / "config.json").read_text())
    listed = {name: entry for name, entry in list_files(folder).items() if name != "config.json"}
    (folder / "config.json").write_text(json.dumps(config | {"files": listed}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tensor": "none"}, "has no tensor 'none'"),
        ({"file": "../../etc/passwd"}, r"names the file '\.\./\.\./etc/passwd'; it is altered"),
        ({"shape": [10**12, 8]}, "do not go together"),
        ({"shape": [60, -8]}, "has the size or place -8"),
        ({"shape": [60, 8.5]}, r"has the size or place 8\.5"),
        ({"start": 9}, "do not go together"),
        ({"shape": [480]}, "arrays of scores of kind 'dot' do not go together"),
        ({"shape": None}, "is not as kgrec writes it"),
    ],
)
def test_a_forged_scorer_is_refused_before_anything_is_allocated(planted, tmp_path, change, message):
    out = tmp_path / "run"
    train("mf", planted, split="last_n:1", config=OFFERED["mf"], training=EPOCHS, out=out)
    document = json.loads((out / "scorer.json").read_text())
    document["tensors"]["user"] |= change
    (out / "scorer.json").write_text(json.dumps(document))
    with pytest.raises(KgrecError, match="truncated or altered"):
        load_scores(out)
    relist(out)
    with pytest.raises(KgrecError, match=message):
        load_scores(out)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "its header has 0 bytes"),
        (b"\xff" * 8 + b"{}", "its header has 18,446,744,073,709,551,615 bytes"),
        ((3).to_bytes(8, "little") + b"{}", "its header has 3 bytes"),
        ((2).to_bytes(8, "little") + b"{[", "no safetensors file, or truncated"),
        ((2).to_bytes(8, "little") + b"\xff\xff", "no safetensors file, or truncated"),
        ((2).to_bytes(8, "little") + b"[]", "its header is list"),
    ],
)
def test_a_broken_header_is_refused(tmp_path, content, message):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(KgrecError, match=message):
        read_header(tmp_path / "model.safetensors")


def test_a_header_is_read_as_safetensors_writes_it(tmp_path):
    save_file({"a": torch.arange(6.0).view(2, 3), "b": torch.ones(1, dtype=torch.long)}, tmp_path / "x.safetensors")
    first, header = read_header(tmp_path / "x.safetensors")
    begin, end = header["a"]["data_offsets"]
    data = (tmp_path / "x.safetensors").read_bytes()[first + begin : first + end]
    assert header["a"]["shape"] == [2, 3] and np.frombuffer(data, "<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_arrays_of_each_kind_by_hand():
    item = np.array([[3.0, 0.0], [0.0, 4.0]], np.float32)
    biases = {"user_bias": np.array([10.0], np.float32), "item_bias": np.array([0.0, 1.0], np.float32)}
    user = np.array([[1.0, 2.0]], np.float32)
    assert LinearScores("dot", {"user": user, "item": item, **biases}, 0.5).of_users([0]).tolist() == [[13.5, 19.5]]
    weight = np.array([[0.0, 2.0], [3.0, 0.0]], np.float32)
    assert LinearScores("history_times_weights", {"weight": weight}).of_histories([[0], [0, 1]]).tolist() == [
        [0.0, 2.0],
        [3.0, 2.0],
    ]
    near = {"neighbor": np.array([[1], [0]]), "similarity": np.array([[0.5], [0.25]], np.float32)}
    assert LinearScores("history_neighbors", near).of_histories([[0], [1]]).tolist() == [[0.0, 0.25], [0.5, 0.0]]
    assert LinearScores("constant", {"score": np.array([2.0, 1.0])}).of_histories([[], [0]]).tolist() == [[2, 1]] * 2
    for kind, arrays, message in (
        ("polynomial", {}, "scores of kind 'polynomial'; there are dot, history_times_weights"),
        ("dot", {"user": user}, "want the arrays user, item; found: user"),
        ("dot", {"user": user, "item": item, "extra": item}, "found: user, item, extra"),
        ("history_times_weights", {"weight": item[:1]}, r"do not go together: weight \[1, 2\]"),
        ("constant", {"score": item}, "do not go together"),
    ):
        with pytest.raises(KgrecError, match=message):
            LinearScores(kind, arrays)


def test_parts_of_a_model_that_has_biases_of_users_alone(planted):
    parts = MF(planted, MFConfig(dim=4, biases=True)).linear_scorer()
    assert isinstance(parts, ScorerParts) and set(parts.tensors) == {"user", "item", "item_bias"}

"""Models as programs of torch.export: the same scores as the model's own, for any number of users."""

import io

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

from kgrec import models
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Query, Recommender
from kgrec.nn import NextItem, exportable
from kgrec.training.config import TrainingConfig
from kgrec.training.processes import make_fabric
from kgrec.training.trainer import Trainer

LENGTH, ITEMS = 6, 12


def shop() -> Graph:
    """12 users who view and rate, in turn; items have a genre and a price."""
    columns = ["source", "target", "time"]
    rated = [(f"u{user}", f"i{(user * 5 + 2 * step) % ITEMS}", 2 * step) for user in range(12) for step in range(5)]
    viewed = [(f"u{user}", f"i{(user + 3 * step) % ITEMS}", 2 * step + 1) for user in range(12) for step in range(5)]
    items = [f"i{item}" for item in range(ITEMS)]
    genre = pd.DataFrame({"source": items, "target": [f"g{item % 3}" for item in range(ITEMS)]})
    return Graph.from_frames(
        edges={
            ("user", "rated", "item"): pd.DataFrame(rated, columns=columns),
            ("user", "viewed", "item"): pd.DataFrame(viewed, columns=columns),
            ("item", "has_genre", "genre"): genre,
        },
        nodes={"item": pd.DataFrame({"id": items, "price": [float(item % 5) for item in range(ITEMS)]})},
        target=("user", "rated", "item"),
    )


GRAPH = shop()


def trained(name: str, **fields) -> Recommender:
    torch.manual_seed(0)
    fields = {"dim": 8, **fields}
    if issubclass(models.find(name), NextItem):
        fields = {"length": LENGTH, "init_std": 0.5, **fields}
    model = models.build(name, GRAPH, fields)
    config = TrainingConfig(epochs=2, device="cpu")
    for _ in Trainer(model, GRAPH, config, make_fabric(config)).epochs():
        pass
    return model.eval()


def histories(*rows: list[int], width: int = 9) -> Tensor:
    """Local items, padded on the left; -1 is no item."""
    start = GRAPH.range("item").start
    lists = [[-1] * (width - len(row)) + row for row in rows]
    return torch.tensor([[GRAPH.pad if item < 0 else start + item for item in row] for row in lists])


#: a usual one, none, one that is longer than the model reads, a single step, with a hole, a repeat; more than in the
#: example with which a program is made
HISTORIES = histories([3, 1, 2], [], [5, 4, 3, 2, 1, 0, 7, 8, 9], [9], [3, -1, 1, -1], [7, 7])


def own_scores(model: Recommender, query: Query) -> Tensor:
    with torch.no_grad():
        scores = model.score(query, GRAPH.nodes("item"))
    assert len({tuple(row) for row in scores.tolist()}) > 1  # what is compared says something
    return scores


def agree(found: Tensor, wanted: Tensor) -> None:
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)


def program(module: nn.Module, *example: Tensor) -> torch.export.ExportedProgram:
    """Of two users, for any number of them, and read from where it was saved."""
    batch = torch.export.Dim("batch")
    made = torch.export.export(module, example, dynamic_shapes=tuple({0: batch} for _ in example))
    file = io.BytesIO()
    torch.export.save(made, file)
    file.seek(0)
    return torch.export.load(file)


SEQUENCE_MODELS = {
    "sasrec": ("sasrec", {"heads": 2}),
    "gru4rec": ("gru4rec", {"layers": 2}),
    "gruatt": ("gruatt", {}),
    "kgatseq": ("kgatseq", {}),
    "bert4rec": ("bert4rec", {"heads": 2}),
    "esasrec": ("esasrec", {"heads": 2}),
}


@pytest.mark.filterwarnings("ignore:The tensor attributes .*_flat_weights:UserWarning")
@pytest.mark.parametrize("case", SEQUENCE_MODELS)
def test_a_program_of_histories_scores_as_the_model_does(case: str):
    name, fields = SEQUENCE_MODELS[case]
    model = trained(name, **fields)
    made = program(exportable(model, GRAPH.nodes("item")), HISTORIES[:2])
    scores = own_scores(model, Query(torch.full((6,), GRAPH.pad), HISTORIES))
    run = made.module()
    agree(run(HISTORIES), scores)
    agree(run(HISTORIES[3:4]), scores[3:4])
    many = HISTORIES.repeat(50, 1)
    agree(run(many), scores.repeat(50, 1))
    weights = sum(tensor.numel() for tensor in made.state_dict.values())
    assert weights < sum(tensor.numel() for tensor in model.state_dict().values()) + ITEMS * 2 + 8


@pytest.mark.parametrize(
    ("name", "fields"),
    [
        ("sasrec", {"pre_norm": False, "cosine": True, "temperature": 0.2, "item_bias": True}),
        ("sasrec", {"features": "all", "magnitude": 0.3, "cosine": True}),
        ("gru4rec", {"behaviours": ("viewed",)}),
        ("gruatt", {"layers": 2, "length": 20}),
        ("kgatseq", {"encoder": "gruatt"}),
        ("kgatseq", {"encoder": "bert4rec"}),
        ("bert4rec", {"behaviours": ("viewed",)}),
        ("esasrec", {"features": "all", "in_batch": True, "shared": True}),
    ],
    ids=lambda value: "-".join(map(str, value)) if isinstance(value, dict) else value,
)
def test_the_padded_form_scores_as_the_packed_one(name: str, fields: dict):
    model = trained(name, **fields)
    module, items = exportable(model, GRAPH.nodes("item")), GRAPH.nodes("item")
    new = torch.full((6,), GRAPH.pad)
    with torch.no_grad():
        agree(module(HISTORIES), own_scores(model, Query(new, HISTORIES)))
        right = histories([3, 1, 2, -1, -1], [7, 7, -1, -1, -1], width=5)  # padded on the right
        agree(module(right), module(histories([3, 1, 2], [7, 7])))
        if model.behaviours == ("rated", "viewed"):
            behaviour = torch.arange(54).view(6, 9) % 2
            behaviour[GRAPH.pad == HISTORIES] = -1
            scores = own_scores(model, Query(new, HISTORIES, behaviour=behaviour))
            agree(module(HISTORIES, behaviour), scores)
            assert (module(HISTORIES) - scores).abs().max() > 1e-3
        some = exportable(model, items[[7, 2]])
        agree(some(HISTORIES), module(HISTORIES)[:, [7, 2]])


def test_a_program_with_behaviours():
    model = trained("sasrec", behaviours=("viewed",))
    behaviour = torch.arange(54).view(6, 9) % 2
    made = program(exportable(model, GRAPH.nodes("item")), HISTORIES[:2], behaviour[:2])
    scores = own_scores(model, Query(torch.full((6,), GRAPH.pad), HISTORIES, behaviour=behaviour))
    agree(made.module()(HISTORIES, behaviour), scores)


@pytest.mark.parametrize(("name", "fields"), [("mf", {}), ("lightgcn", {}), ("neumf", {}), ("mf", {"cosine": True})])
def test_a_program_of_users_scores_as_the_model_does(name: str, fields: dict):
    model, users = trained(name, **fields), GRAPH.nodes("user")
    made = program(exportable(model, GRAPH.nodes("item")), users[:2])
    agree(made.module()(users), own_scores(model, Query(users, users.new_empty(len(users), 0))))


def test_the_model_is_left_as_it_was_and_the_program_does_not_follow_it():
    model = trained("sasrec").train()
    module = exportable(model, GRAPH.nodes("item"))
    assert all(part.training for part in model.modules()) and not any(part.training for part in module.modules())
    with torch.no_grad():
        before = module(HISTORIES)
        for parameter in model.parameters():
            parameter.zero_()
        assert torch.equal(module(HISTORIES), before)


def test_a_model_that_solves_what_a_history_holds_has_no_such_form():
    for name in ("ease", "ials"):
        with pytest.raises(KgrecError, match=r"reads histories and is no NextItem, .* \(sasrec, gru4rec, gruatt\)"):
            exportable(models.build(name, GRAPH), GRAPH.nodes("item"))

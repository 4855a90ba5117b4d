"""What `kgrec info` and `kgrec doctor` say."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
import torch
from rich.console import Console

from kgrec.cli import doctor
from kgrec.cli.info import show
from kgrec.graph import Candidates, Graph
from kgrec.graph.description import info


@pytest.fixture
def graph() -> Graph:
    """Two of three users rate two of three films, one pair twice; of the films with facts one is rated."""
    rated = pd.DataFrame(
        {
            "source": ["ann", "ann", "ann", "bob"],
            "target": ["alien", "brazil", "alien", "alien"],
            "time": [86400, 86401, 90000, 172800],
        }
    )
    made = pd.DataFrame({"source": ["scott", "scott"], "target": ["alien", "casino"]})
    users = pd.DataFrame({"id": ["ann", "bob", "cid"], "age": [30.0, None, None], "country": ["UK", None, "FR"]})
    films = pd.DataFrame(
        {
            "id": ["alien", "brazil", "casino"],
            "genres": [["horror", "scifi"], [], ["crime"]],
            "plot": ["In space", None, "Vegas"],
            "image": [[1.0, 2.0], [0.0, 0.0], [3.0, 4.0]],
        }
    )
    built = Graph.from_frames(
        edges={("user", "rated", "film"): rated, ("person", "made", "film"): made},
        nodes={"user": users, "film": films},
        features={"film": {"plot": "text"}},
    )
    part = torch.tensor([0, 0, 1, 2], dtype=torch.int8)
    lists = Candidates(torch.tensor([0, 1]), torch.tensor([0, 2, 3]), torch.tensor([0, 1, 2]))
    object.__setattr__(built, "splits", {"last": part})
    object.__setattr__(built, "candidates", {"few": lists})
    return built


def test_counts_and_relations(graph: Graph) -> None:
    facts = info(graph)
    assert {name: node["count"] for name, node in facts["nodes"].items()} == {"user": 3, "film": 3, "person": 1}
    relations = [(r["source"], r["relation"], r["target"], r["count"], r["items"]) for r in facts["relations"]]
    assert relations == [("user", "rated", "film", 4, 2), ("person", "made", "film", 2, 2)]
    assert facts["target"] == ["user", "rated", "film"]


def test_interactions(graph: Graph) -> None:
    facts = info(graph)
    assert facts["degrees"]["user"] == {"min": 0, "median": 1, "mean": 4 / 3, "max": 3, "without": 1}
    assert facts["degrees"]["item"] == {"min": 0, "median": 1, "mean": 4 / 3, "max": 3, "without": 1}
    assert facts["density"] == 3 / 9
    assert facts["time"] == {
        "first": "1970-01-02T00:00:00Z",
        "last": "1970-01-03T00:00:00Z",
        "first_unix": 86400,
        "last_unix": 172800,
        "edges_with_time": 4,
    }


def test_link_coverage(graph: Graph) -> None:
    assert info(graph)["links"] == {
        "items": 3,
        "with_facts": 2,
        "share": 2 / 3,
        "interacted": 2,
        "interacted_with_facts": 1,
        "interacted_share": 1 / 2,
    }


def test_features(graph: Graph) -> None:
    assert info(graph)["features"] == {
        "user": {
            "age": {"kind": "numeric", "missing": 2 / 3},
            "country": {"kind": "categorical", "missing": 1 / 3, "categories": 2},
        },
        "film": {
            "genres": {"kind": "multi", "missing": 1 / 3, "categories": 3},
            "plot": {"kind": "text", "missing": 1 / 3},
            "image": {"kind": "vector", "missing": 1 / 3, "dim": 2},
        },
    }


def test_splits_and_candidates(graph: Graph) -> None:
    facts = info(graph)
    assert facts["splits"] == {"last": {"train": 2, "valid": 1, "test": 1}}
    assert facts["candidates"] == {
        "few": {"users": 2, "items_per_user": {"min": 1, "median": 1.5, "mean": 1.5, "max": 2, "without": 0}}
    }


def test_json_and_tables(graph: Graph) -> None:
    facts = info(graph)
    assert json.loads(json.dumps(facts)) == facts
    out = io.StringIO()
    show(facts, Console(file=out, width=120))
    text = " ".join(out.getvalue().split())
    for words in (
        "person made film 2 2",
        "edges a user 0 to 3, median 1, mean 1.3; 1 without",
        "density 33.3333%",
        "items with facts 2 of 3 (66.7%)",
        "1 of 2 (50.0%)",
        "1970-01-02T00:00:00Z (86400) to 1970-01-03T00:00:00Z (172800)",
        "film image vector 33.3% 2",
        "last 2 train, 1 valid, 1 test",
    ):
        assert words in text


def test_graph_without_target_or_times() -> None:
    made = pd.DataFrame({"source": ["scott"], "target": ["alien"]})
    graph = Graph.from_frames(edges={("person", "made", "film"): made})
    object.__setattr__(graph.schema, "target", None)
    facts = info(graph)
    assert [facts[key] for key in ("target", "degrees", "density", "time", "links")] == [None] * 5
    show(facts, Console(file=io.StringIO()))


def test_time_past_the_year_9999() -> None:
    rated = pd.DataFrame({"source": ["ann"], "target": ["alien"], "time": [253_402_300_800]})
    facts = info(Graph.from_frames(edges={("user", "rated", "film"): rated}))
    assert facts["time"]["first"] == "10000-01-01T00:00:00Z"


def test_doctor() -> None:
    found = doctor.doctor()
    assert found["versions"]["torch"] == torch.__version__
    assert found["devices"][0]["device"] == "cpu" and found["threads"]["torch"] == torch.get_num_threads()
    assert set(found["optional"]) == set(doctor.OPTIONAL)
    assert json.loads(json.dumps(found)) == found
    out = io.StringIO()
    doctor.show(found, Console(file=out, width=120))
    assert torch.__version__ in out.getvalue()


def test_doctor_names_what_is_missing() -> None:
    found = doctor.doctor() | {"versions": {"rdflib": None}, "optional": {"timm": False}, "memory": {"total": None}}
    out = io.StringIO()
    doctor.show(found, Console(file=out, width=120))
    assert "missing: install kgrec again" in out.getvalue() and "pip install timm" in out.getvalue()
    assert "not known" in out.getvalue()

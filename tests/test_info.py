"""What `kgrec info` and `kgrec doctor` say."""

from __future__ import annotations

import io
import json

import pandas as pd
import pytest
import torch
from rich.console import Console
from typer.testing import CliRunner

from kgrec.cli import doctor
from kgrec.cli.entry import app
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


def labelled(label: str | None = "Alien") -> Graph:
    """Six ratings of two films, of which one has a label, and a genre each."""
    rows = [(f"u{number}", "i1" if number % 2 else "i2", 86400 * number, number + 0.5) for number in range(6)]
    rated = pd.DataFrame(rows, columns=["source", "target", "time", "weight"])
    genre = pd.DataFrame({"source": ["i1", "i2"], "target": ["Horror", "[red]Epic\x1b[31m"]})
    films = pd.DataFrame({"id": ["i1", "i2"], "label": [label, None]})
    return Graph.from_frames(
        edges={("user", "rated", "film"): rated, ("film", "has_genre", "genre"): genre}, nodes={"film": films}
    )


def test_a_sample_of_each_relation_from_first_to_last() -> None:
    rated, genre = (relation["sample"] for relation in info(labelled())["relations"])
    film, other = {"id": "i1", "label": "Alien"}, {"id": "i2", "label": None}
    assert rated == [
        {"source": {"id": "u0", "label": None}, "target": other, "weight": 0.5, "time": "1970-01-01T00:00:00Z"},
        {"source": {"id": "u2", "label": None}, "target": other, "weight": 2.5, "time": "1970-01-03T00:00:00Z"},
        {"source": {"id": "u5", "label": None}, "target": film, "weight": 5.5, "time": "1970-01-06T00:00:00Z"},
    ]
    assert [(edge["source"], edge["target"]["id"], edge["weight"], edge["time"]) for edge in genre] == [
        (film, "Horror", 1, None),
        (other, "[red]Epic\x1b[31m", 1, None),
    ]
    for samples, ends in ((0, []), (1, ["u0"]), (2, ["u0", "u5"]), (9, [f"u{number}" for number in range(6)])):
        sample = info(labelled(), samples)["relations"][0]["sample"]
        assert [edge["source"]["id"] for edge in sample] == ends


def shown(graph: Graph, *, is_terminal: bool) -> str:
    out = io.StringIO()
    show(info(graph), Console(file=out, width=400, force_terminal=is_terminal, color_system=None))
    return out.getvalue()


def test_the_sample_is_shown_as_data() -> None:
    text = [" ".join(line.split()) for line in shown(labelled(), is_terminal=False).splitlines()]
    assert "Alien (i1) -> has_genre -> Horror 1" in text
    assert "i2 -> has_genre -> [red]Epic\\x1b[31m 1" in text
    assert "u5 -> rated -> Alien (i1) 5.5 1970-01-06T00:00:00Z" in text


def test_long_labels_are_cut_at_a_terminal_and_whole_in_a_pipe() -> None:
    label = "long " * 30
    assert f"{label} (i1) -> has_genre" in shown(labelled(label), is_terminal=False)
    text = shown(labelled(label), is_terminal=True)
    assert f"{label[:59]}… (i1) -> has_genre" in text and label not in text


def test_the_command_shows_as_many_as_asked(tmp_path) -> None:
    labelled().save(tmp_path / "g")
    for options, count in (([], 3), (["--samples", "1"], 1), (["--samples", "0"], 0)):
        done = CliRunner().invoke(app, ["info", str(tmp_path / "g"), "--json", *options])
        assert len(json.loads(done.stdout)["relations"][0]["sample"]) == count
        done = CliRunner().invoke(app, ["info", str(tmp_path / "g"), *options])
        assert done.stdout.count("-> rated ->") == count


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
        "edges of each user 0 to 3, median 1, mean 1.3; 1 with none",
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
    found["numba_threads"] = "workqueue"
    out = io.StringIO()
    doctor.show(found, Console(file=out, width=120))
    assert "missing: reinstall kgrec" in out.getvalue() and "pip install timm" in out.getvalue()
    assert "unknown" in out.getvalue() and "libgomp1" in out.getvalue()

"""Explanations: paths, what masking does to them, and their forms."""

import json
import math

import pandas as pd
import pytest
import rdflib
import torch
from rdflib.namespace import PROV, RDF

import kgrec
from kgrec import KgrecError, Run, TrainingConfig, UnknownName, models
from kgrec.model import scoring
from kgrec.serving.explanation_drawing import as_svg
from kgrec.serving.explanation_rdf import NAMESPACE, as_rdf

SMALL = {"dim": 8, "layer_dims": (8, 6), "relation_dim": 8}
ONCE = TrainingConfig(epochs=1)
DBO = "http://dbpedia.org/ontology/"


@pytest.fixture(scope="module")
def graph():
    """ann had Alien; Gladiator shares its director and nothing else leads there; Solo shares nothing with anything."""
    rated = [("ann", "Alien"), ("bob", "Alien"), ("bob", "Brazil"), ("bob", "Gladiator"), ("cem", "Brazil")]
    rated += [("cem", "Solo"), ("dan", "Gladiator"), ("dan", "Solo")]
    directed = [("Alien", "Scott"), ("Gladiator", "Scott"), ("Brazil", "Gilliam")]
    both = ["source", "target"]
    return kgrec.Graph.from_frames(
        nodes={
            "user": pd.DataFrame({"id": ["ann", "bob", "cem", "dan", "eve"]}),
            "film": pd.DataFrame(
                {"id": ["Alien", "Brazil", "Gladiator", "Solo"], "label": ["A*", None, "<b>G</b>", None]}
            ),
            "person": pd.DataFrame({"id": ["Scott", "Gilliam"], "label": ["Ridley Scott", None]}),
        },
        edges={
            ("user", "rated", "film"): pd.DataFrame(rated, columns=both),
            ("film", f"{DBO}directed_by", "person"): pd.DataFrame(directed, columns=both),
        },
        target=("user", "rated", "film"),
    )


def run_of(name, graph, config):
    torch.manual_seed(0)
    model = models.build(name, graph, config).eval()
    with scoring(model):
        model.refresh()
    return Run(name, model, graph)


@pytest.fixture(scope="module")
def kgat(graph):
    return run_of("kgat", graph, SMALL)


@pytest.fixture(scope="module")
def saved(kgat, graph, tmp_path_factory):
    """A run folder of kgat, trained for one epoch."""
    out = tmp_path_factory.mktemp("explain") / "run"
    kgrec.train("kgat", graph, split="ratio:0.2,seed=1", config=SMALL, training=ONCE, out=out)
    return out


def test_a_path_is_said_in_a_sentence_and_held_to_its_mask(kgat, graph):
    found = kgat.explain("ann", "Gladiator")
    (path,) = found.paths
    assert path.text == "because you rated *A**, also directed by *Ridley Scott*"
    assert [node.id for node in path.nodes] == ["ann", "Alien", "Scott", "Gladiator"]
    assert [relation.name for relation in path.relations] == ["rated", "directed_by", "directed_by"]
    assert [relation.onwards for relation in path.relations] == [True, True, False]
    assert path.relations[1].iri == f"{DBO}directed_by" and path.relations[0].iri is None
    held = path.faithfulness
    assert held.score_before == pytest.approx(kgat.predict([("ann", "Gladiator")])["score"][0], abs=1e-5)
    fewer = graph.where(torch.tensor([False, *[True] * 7, False, False, True]))
    other = kgat.model.__class__(fewer, kgat.model.config)
    other.load_state_dict(kgat.model.state_dict())
    with scoring(other):
        other.refresh()
    after = Run("kgat", other.eval(), fewer).predict([("ann", "Gladiator")])["score"][0]
    assert held.score_after == pytest.approx(after, abs=1e-5) and held.drop != 0
    assert held.lowers_more is None  # no other path is like it


def test_what_the_user_had_is_not_ranked(kgat):
    found = kgat.explain("ann", "Gladiator")
    scores = kgat.predict([("ann", film) for film in ("Brazil", "Gladiator", "Solo")])["score"]
    assert found.items[0].rank == 1 + sum(score > scores[1] for score in scores)


def test_an_item_without_a_path_stands_in_rdf_by_its_type(kgat):
    triples = as_rdf(kgat.explain("ann", "Solo"))
    assert [str(node) for node in triples.objects(None, rdflib.URIRef(f"{NAMESPACE}item"))] == ["urn:kgrec:film:Solo"]


def test_without_an_item_the_first_of_the_list_are_explained(kgat):
    found = kgat.explain("ann", k=2)
    assert [item.id for item in found.items] == kgat.recommend("ann", k=2)["item"]
    assert {path.item for path in found.paths} == {"Gladiator"} & {item.id for item in found.items}


def test_an_item_without_a_path_says_so(kgat):
    found = kgat.explain("ann", "Solo")
    assert found.paths == () and found.items[0].num_paths == 0
    assert found.notes == ("no path leads to 'Solo' from what this user did, over what the model reads",)
    assert "no path leads there from what the user had" in found.text()
    assert "user did, so no path begins" in kgat.explain("eve", "Solo").notes[0]
    assert "already rated 'Alien'" in kgat.explain("ann", "Alien").notes[-1]


def test_random_paths_are_like_the_path(kgat):
    found = kgat.explain("bob", "Solo", through="users")
    assert [[node.type for node in path.nodes] for path in found.paths] == [["user", "film", "user", "film"]] * 2
    assert all(len(path.faithfulness.random_drops) == 1 for path in found.paths)
    first, second = (path.faithfulness for path in found.paths)
    assert first.random_drops == (pytest.approx(second.drop, abs=1e-6),) and first.drop >= second.drop
    assert first.lowers_more in (1.0, 0.5) and second.lowers_more in (0.0, 0.5)
    assert found.paths[0].text.startswith("because you rated *Brazil*, as did user *cem*, who rated this too") or (
        found.paths[0].text.startswith("because you rated *<b>G</b>*, as did user *dan*, who rated this too")
    )


def test_models_of_interactions_lead_over_users(graph):
    found = run_of("lightgcn", graph, {"dim": 4}).explain("bob", "Solo")
    assert found.through == "users" and len(found.paths) == 2 and found.paths[0].faithfulness.drop > 0
    with pytest.raises(KgrecError, match="lightgcn has no attention to choose paths by"):
        run_of("lightgcn", graph, {"dim": 4}).explain("bob", "Solo", by="attention")


def test_weights_that_hold_the_facts_are_not_reached(graph):
    found = run_of("ease", graph, {"facts": 1.0, "l2": 1.0}).explain("ann", "Gladiator")
    assert found.paths[0].faithfulness is None and found.by == "weight of the past item"
    assert "masking edges does not reach its scores" in found.unreached and found.unreached in found.text()
    assert found.to_json()["paths"][0]["faithfulness"]["reaches"] is False


@pytest.mark.parametrize("name", ["itemknn", "ials", "cke"])
def test_other_models_that_learned_facts_have_paths_too(graph, name):
    found = run_of(name, graph, {"cke": {"dim": 4, "relation_dim": 4}}.get(name, {"facts": 1.0})).explain(
        "ann", "Gladiator"
    )
    assert len(found.paths) == 1 and found.paths[0].faithfulness is None and math.isfinite(found.paths[0].strength)


@pytest.mark.parametrize("name", ["mf", "popularity", "itemknn", "sasrec", "ease"])
def test_a_model_without_a_graph_part_is_refused(graph, name):
    with pytest.raises(KgrecError, match=f"{name} has no graph part"):
        run_of(name, graph, {}).explain("ann", "Gladiator")


def test_a_model_that_serves_another_is_explained_by_it(graph):
    config = {"base": "kgat", "base_config": SMALL}
    assert len(run_of("irgan", graph, config).explain("ann", "Gladiator").paths) == 1
    with pytest.raises(KgrecError, match="irgan has no graph part"):
        run_of("irgan", graph, {}).explain("ann", "Gladiator")


def test_what_cannot_be_explained_is_refused(kgat):
    with pytest.raises(UnknownName, match="no user 'zoe' among the 5 known"):
        kgat.explain("zoe")
    with pytest.raises(UnknownName, match="no film 'Dune' among the 4 known"):
        kgat.explain("ann", "Dune")
    for paths in (0, -1, 101, True, 2.5, "5"):
        with pytest.raises(KgrecError, match="a whole number from 1 to 100 is wanted"):
            kgat.explain("ann", "Solo", paths)
    for k in (0, 5):
        with pytest.raises(KgrecError, match="k"):
            kgat.explain("ann", k=k)
    with pytest.raises(UnknownName, match="no way to choose paths 'atention'; did you mean 'attention'"):
        kgat.explain("ann", by="atention")
    with pytest.raises(UnknownName, match="no kind of paths 'fact'; did you mean 'facts'"):
        kgat.explain("ann", through="fact")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of rdflib's own parsers
def test_rdf_is_read_back(kgat, tmp_path):
    found = kgat.explain("ann", "Gladiator")
    for ending in (".ttl", ".nt", ".jsonld", ".rdf", ".trig"):
        found.write_rdf(tmp_path / f"why{ending}")
        triples = rdflib.Dataset(default_union=True) if ending in (".trig", ".jsonld") else rdflib.Graph()
        triples.parse(tmp_path / f"why{ending}")
        asked = """
        PREFIX prov: <http://www.w3.org/ns/prov#> PREFIX rdf: <http://www.w3.org/1999/02/22-rdf-syntax-ns#>
        PREFIX own: <https://kgrec.github.io/kgrec/explanation#>
        SELECT ?s ?p ?o ?before WHERE {
          ?it a own:Recommendation ; own:item <urn:kgrec:film:Gladiator> ; prov:wasDerivedFrom ?path .
          ?path own:links/rdf:rest*/rdf:first ?fact ; own:scoreBefore ?before .
          ?fact rdf:subject ?s ; rdf:predicate ?p ; rdf:object ?o }"""
        rows = {tuple(map(str, row[:3])) for row in triples.query(asked)}
        assert rows == {
            ("urn:kgrec:user:ann", "urn:kgrec:relation:rated", "urn:kgrec:film:Alien"),
            ("urn:kgrec:film:Alien", f"{DBO}directed_by", "urn:kgrec:person:Scott"),
            ("urn:kgrec:film:Gladiator", f"{DBO}directed_by", "urn:kgrec:person:Scott"),
        }
    assert len(set(triples.subjects(RDF.type, PROV.Activity))) == 1
    with pytest.raises(UnknownName, match=r"no form of RDF '.txt' to write"):
        found.write_rdf(tmp_path / "why.txt")


def test_only_what_kgrec_wrote_is_replaced(kgat, tmp_path):
    found = kgat.explain("ann", "Gladiator")
    for write, name in ((found.write_rdf, "a.ttl"), (found.draw, "a.svg"), (found.draw, "a.png")):
        write(tmp_path / name)
        with pytest.raises(KgrecError, match="exists already"):
            write(tmp_path / name)
        write(tmp_path / name, overwrite=True)
        (tmp_path / name).write_text("mine")
        with pytest.raises(KgrecError, match="of kgrec's"):
            write(tmp_path / name, overwrite=True)


def test_a_drawing_is_escaped_and_can_be_read_aloud(kgat):
    text = as_svg(kgat.explain("ann", "Gladiator").paths, "Why <b>G</b>?")
    assert "<b>" not in text and '<title id="paths-title">Why &lt;b&gt;G&lt;/b&gt;?</title>' in text
    assert text.count("<rect") == 4 and text.count("<line") == 3 and 'role="img"' in text and "style=" not in text
    assert "directed by →" in text and "directed by ←" in text


def test_the_command_writes_what_the_library_gives(saved, tmp_path, command):
    why = "explain", saved, "--user", "bob", "--item", "Solo", "--through", "users", "--json"
    done = command(*why, "--rdf", tmp_path / "a.ttl", "--png", tmp_path / "a.png")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found == json.loads(json.dumps(Run.load(saved).explain("bob", "Solo", through="users").to_json()))
    assert set(found["paths"][0]) == {"item", "text", "nodes", "relations", "strength", "faithfulness"}
    assert (tmp_path / "a.png").read_bytes()[1:4] == b"PNG" and "prov:" in (tmp_path / "a.ttl").read_text()
    done = command("explain", saved, "--user", "zoe")
    assert done.returncode == 1 and done.stderr.startswith("error: no user 'zoe'") and done.stdout == ""


def test_vectors_of_valid_edges_are_left_out(planted, tmp_path):
    run = kgrec.train("kgat", planted, split="last_n:1,valid=1", config=SMALL, training=ONCE, out=tmp_path / "run")
    for one in (run, Run.load(tmp_path / "run")):
        found, listed = one.explain("u3", k=2), one.recommend("u3", k=2)
        assert [item.score for item in found.items] == pytest.approx(listed["score"], abs=1e-4)
        assert not [note for note in found.notes if "validation" in note]


def test_a_lean_run_says_what_it_lacks(planted, tmp_path):
    kgrec.train("kgat", planted, split="last_n:1", config=SMALL, training=ONCE, out=tmp_path / "run", lean=True)
    with pytest.raises(KgrecError, match="was trained with --lean, so it has no facts"):
        Run.load(tmp_path / "run").explain("u3")
    kgrec.train(
        "lightgcn", planted, split="last_n:1", config={"dim": 4}, training=ONCE, out=tmp_path / "gcn", lean=True
    )
    assert Run.load(tmp_path / "gcn").explain("u3", k=1).paths


def test_nothing_needs_matplotlib_but_a_png(kgat, tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "matplotlib.figure", None)
    found = kgat.explain("ann", "Gladiator")
    with pytest.raises(KgrecError, match=r"needs matplotlib: pip install 'kgrec\[plot\]', or write .svg"):
        found.draw(tmp_path / "why.png")
    found.draw(tmp_path / "why.svg")
    assert (tmp_path / "why.svg").read_text().endswith("</svg>")

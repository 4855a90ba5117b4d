"""Links found by names and years: which spellings are one, what speaks for a pair, what is written, what is refused."""

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml

from kgrec import build, find_links
from kgrec.errors import KgrecError
from kgrec.sources.guessing import init
from kgrec.sources.linking import LinkOptions, Links
from kgrec.sources.linking.matching import matched, threshold_of
from kgrec.sources.linking.names import key_of, last_part, name_of, years_in
from kgrec.sources.linking.pair_scores import WEIGHTS, Pairs

FILMS = [  # id, title, the entity that it is, and how that is called
    ("1", "Big Chill, The (1983)", "Q537", "The Big Chill", 1983),
    ("2", "Hamlet (1996)", "Q574", "Hamlet", 1996),
    ("3", "Hamlet (2000)", "Q611", "Hamlet", 2000),
    ("4", "Amélie (Fabuleux destin d'Amélie Poulain, Le) (2001)", "Q648", "Amelie", 2001),
    ("5", "Rocky IV (1985)", "Q685", "Rocky 4", 1985),
    ("6", "Se7en (Seven) (1995)", "Q722", "Seven", 1995),
    ("7", "Alien (1979)", "Q759", "Alien", 1979),
    ("8", "Aliens (1986)", "Q796", "Aliens", 1986),
    ("9", "Nobody Knows This One (1951)", None, None, None),
    ("10", "Psycho (1960)", "Q870", "Psycho", 1960),
    ("11", "Vertigo (1958)", "Q907", "Vertigo", 1958),
    ("12", "Rear Window (1954)", "Q944", "Rear Window", 1954),
]
WD, WDT = "http://www.wikidata.org/entity/", "http://www.wikidata.org/prop/direct/"
LABEL, TYPE = "http://www.w3.org/2000/01/rdf-schema#label", "http://www.w3.org/1999/02/22-rdf-syntax-ns#type"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Films, ratings, and facts as Wikidata has them, with people who are called as films are."""
    pd.DataFrame([(film, title) for film, title, *_ in FILMS], columns=["film", "title"]).to_csv(
        tmp_path / "films.csv", index=False
    )
    ratings = [(f"u{user}", film, 5) for user in range(4) for film, *_ in FILMS]
    pd.DataFrame(ratings, columns=["user", "film", "rating"]).to_csv(tmp_path / "ratings.csv", index=False)
    lines = []
    for _, _, entity, label, year in FILMS:
        if entity:
            lines += [
                f'<{WD}{entity}> <{LABEL}> "{label}"@en .',
                f'<{WD}{entity}> <{WDT}P577> "{year}-01-01T00:00:00Z"^^<http://www.w3.org/2001/XMLSchema#dateTime> .',
                f"<{WD}{entity}> <{TYPE}> <{WD}Q11424> .",
                f"<{WD}{entity}> <{WDT}P57> <{WD}Q9{entity[1:]}> .",
            ]
    for number, name in enumerate(("Alien", "Vertigo", "Ann Hamlet", "Rocky")):
        lines += [f'<{WD}Q7{number}0> <{LABEL}> "{name}"@en .', f"<{WD}Q7{number}0> <{TYPE}> <{WD}Q5> ."]
    (tmp_path / "facts.nt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    write(tmp_path, {})
    return tmp_path


def write(folder: Path, more: dict, **without: None) -> Path:
    """The folder's recipe, with more keys."""
    recipe = {
        "name": "films",
        "nodes": {"item": {"tables": [{"file": "films.csv", "id": "film", "label": "title"}]}},
        "interactions": {"file": "ratings.csv", "item": "film", "weight": "rating"},
        "rdf": {"files": "facts.nt"},
        **more,
    }
    recipe = {key: value for key, value in recipe.items() if key not in without}
    path = folder / "recipe.yaml"
    path.write_text("# the films\n" + yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def pairs(links: Links) -> dict[str, str]:
    return {row.id: row.entity.removeprefix(WD) for row in links.accepted}


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Big Chill, The", "The Big Chill"),
        ("Les Misérables", "Miserables"),
        ("Rocky IV", "Rocky 4"),
        ("Beauty & the Beast", "Beauty and the Beast"),
        ("Schindler’s List", "Schindler's List"),
        ("Star Wars: Episode V - The Empire Strikes Back", "Star Wars Episode 5 The Empire strikes back"),
        ("ΑΛΕΞΗΣ ΖΟΡΜΠΑΣ", "Αλέξης Ζορμπάς".upper()),
    ],
)
def test_spellings_of_one_name_are_equal(one: str, other: str) -> None:
    assert key_of(one) == key_of(other) != ""


def test_what_stands_behind_a_name_is_a_year_another_name_or_says_what_it_is() -> None:
    assert name_of("Postino, Il (The Postman) (1994)").keys == ("postino", "postman")
    assert name_of("Evita (1996 film)").year == 1996
    assert name_of("Evita (1996 film)").words == {"film"}
    assert name_of("Bambi (film)").keys == ("bambi",)
    assert name_of("Mad Max 2 (a.k.a. The Road Warrior) (1981)").keys == ("mad max 2", "road warrior")
    assert name_of("1984").keys == ("1984",)
    assert name_of("1984").year is None
    assert name_of("(500) Days of Summer (2009)").keys == ("500 days of summer",)
    assert name_of("(untitled)").keys == ("untitled",)
    assert name_of("???").keys == ()


def test_an_iri_ends_in_a_name_or_in_a_code() -> None:
    assert last_part("http://dbpedia.org/resource/AC/DC") == "AC/DC"
    assert last_part("http://dbpedia.org/resource/Category:1995_films") == "1995 films"
    assert last_part("urn:shop:Blue_Chair") == "Blue Chair"
    assert [last_part(iri) for iri in (WD + "Q2054", "m.0123x", "http://x.example/id/178", "http://x/")] == [None] * 4
    assert years_in("films of the 1990s, shown again in 2004") == [2004]


def test_films_are_found_by_name_and_year_and_people_of_the_same_name_are_not(folder: Path) -> None:
    links = find_links(folder / "recipe.yaml")
    assert pairs(links) == {film: entity for film, _, entity, *_ in FILMS if entity}
    assert links.unlike + len(links.others) == 1
    row = next(row for row in links.accepted if row.id == "2")
    assert row.runner_up == WD + "Q611" and row.runner_up_score < 0.5 < row.score


def test_an_entity_is_of_one_item_unless_it_may_be_of_many(folder: Path) -> None:
    films = pd.read_csv(folder / "films.csv", dtype=str)
    films.loc[len(films)] = ["13", "Alien (1979)"]
    films.to_csv(folder / "films.csv", index=False)
    assert sum(entity == "Q759" for entity in pairs(find_links(folder / "recipe.yaml")).values()) == 1
    found = pairs(find_links(folder / "recipe.yaml", options=LinkOptions(one_to_one=False)))
    assert (found["7"], found["13"]) == ("Q759", "Q759")


def test_years_come_from_columns_dates_and_names_of_categories(folder: Path) -> None:
    films = pd.DataFrame([("2", "Hamlet", 1996), ("3", "Hamlet", 2000), ("7", "Alien", 1979)])
    films.columns = pd.Index(["film", "title", "release_year"])
    films.to_csv(folder / "films.csv", index=False)
    table = {"file": "films.csv", "id": "film", "label": "title", "features": {"release_year": "numeric"}}
    write(folder, {"nodes": {"item": {"tables": [table]}}})
    facts = (folder / "facts.nt").read_text(encoding="utf-8").replace(f"<{WDT}P577>", "<http://x.example/never-read>")
    category = "http://dbpedia.org/resource/Category"
    facts += "".join(
        f"<{WD}{entity}> <http://purl.org/dc/terms/subject> <{category}:{year}_films> .\n"
        for entity, year in (("Q574", 1996), ("Q611", 2000))
    )
    (folder / "facts.nt").write_text(facts, encoding="utf-8")
    found = pairs(find_links(folder / "recipe.yaml"))
    assert (found["2"], found["3"]) == ("Q574", "Q611")


def test_names_of_the_same_resource_count(folder: Path) -> None:
    facts = (folder / "facts.nt").read_text(encoding="utf-8")
    facts = "\n".join(line for line in facts.split("\n") if not (LABEL in line and f"<{WD}Q907>" in line))
    facts += f"<{WD}Q907> <http://www.w3.org/2002/07/owl#sameAs> <http://dbpedia.org/resource/Vertigo_(film)> .\n"
    (folder / "facts.nt").write_text(facts, encoding="utf-8")
    assert pairs(find_links(folder / "recipe.yaml"))["11"] in ("Q907", "http://dbpedia.org/resource/Vertigo_(film)")


def test_links_of_the_recipe_and_of_a_table_count_as_known(folder: Path) -> None:
    pd.DataFrame({"film": ["7", "9"], "iri": [WD + "Q700", "urn:elsewhere"]}).to_csv(folder / "some.csv", index=False)
    path = write(folder, {"links": {"item": {"file": "some.csv", "id": "film", "entity": "iri"}}})
    links = find_links(path)
    assert (links.known, pairs(links)["7"]) == (1, "Q700")  # as it is said, though the name speaks for another
    assert [row.by for row in links.accepted if row.id == "7"] == ["known"]
    known = folder / "known.csv"
    pd.DataFrame({"id": ["8"], "entity": [WD + "Q796"]}).to_csv(known, index=False)
    assert find_links(path, options=LinkOptions(known=known)).known == 2
    assert pairs(links)["9"] == "urn:elsewhere"  # it is kept, though the facts do not name it
    pd.DataFrame({"id": ["nobody"], "entity": [WD + "Q796"]}).to_csv(known, index=False)
    with pytest.raises(KgrecError, match="names no node"):
        find_links(path, options=LinkOptions(known=known))


def test_the_threshold_is_the_lowest_one_with_the_precision_that_is_asked_for() -> None:
    number = 40
    score = np.linspace(1, 0.1, number)
    features = np.zeros((number, len(WEIGHTS)))
    matches = matched(Pairs(np.arange(number), np.arange(number), features), score, number)
    known = np.arange(number)
    known[30:] += 1000  # the last ten are wrong
    assert threshold_of(matches, known, 1.0) == score[29]
    assert threshold_of(matches, known, 30 / 33) == score[32]
    assert threshold_of(matches, np.full(number, -1), 1.0) == 0.5
    assert threshold_of(matches, known + 5000, 0.9) > 1  # none is right


def test_each_is_matched_with_the_likeliest_that_is_left() -> None:
    item, entity = np.array([0, 0, 1, 1]), np.array([5, 6, 5, 7])
    found = matched(Pairs(item, entity, np.zeros((4, len(WEIGHTS)))), np.array([0.9, 0.4, 0.95, 0.1]), 3)
    assert found.entity.tolist() == [6, 5, -1]
    assert found.runner_up.tolist() == [5, 7, -1]


def test_links_are_written_and_built_with(folder: Path, command) -> None:
    path, out = folder / "recipe.yaml", folder / "links.csv"
    done = command("link", path, "--out", out, "--add", "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert (said["accepted"], said["added"]) == (11, True)
    assert path.read_text(encoding="utf-8").startswith("# the films\n")
    _, report = build(path)
    assert report.links["item"].linked == 11
    rows = pd.read_csv(out, dtype=str)
    assert list(rows.columns[:4]) == ["id", "label", "entity", "entity_label"]
    again = command("link", path, "--out", out)
    assert again.returncode == 1 and "exists" in again.stderr
    again = command("link", path, "--out", out, "--overwrite", "--add")
    assert again.returncode == 0 and "11 of 12 nodes of type item are linked" in again.stdout
    assert "has links already" in again.stderr


@pytest.mark.parametrize(
    ("more", "without", "message"),
    [
        ({}, {"rdf": None}, "no facts"),
        ({"nodes": {"item": {"tables": [{"file": "films.csv", "id": "film"}]}}}, {}, "name the column of titles"),
        ({"rdf": {"files": "codes.nt"}}, {}, "none of 2 entities has a name"),
        ({"rdf": {"files": "missing.nt"}}, {}, "does not exist"),
    ],
)
def test_what_cannot_be_linked_is_refused(folder: Path, more: dict, without: dict, message: str) -> None:
    (folder / "codes.nt").write_text(f"<{WD}Q1> <{WDT}P57> <{WD}Q2> .\n", encoding="utf-8")
    with pytest.raises(KgrecError, match=message):
        find_links(write(folder, more, **without))


def test_an_unknown_type_is_an_error(folder: Path) -> None:
    with pytest.raises(KgrecError, match="no node type 'film'"):
        find_links(folder / "recipe.yaml", options=LinkOptions(node_type="film"))


PLOTS = {  # of items, by id, and what the entities' abstracts say
    "2": ("The prince of Denmark wonders whether to kill his uncle, in a palace of the nineteenth century", "Q574"),
    "3": ("A student of film in Manhattan suspects that the boss of a corporation poisoned his father", "Q611"),
    "7": ("The crew of a spaceship is hunted by a creature from an egg", "Q759"),
    "11": ("A detective in San Francisco who is afraid of heights follows a woman", "Q907"),
    "1": ("Old friends of a college in Michigan meet again at a funeral and stay for the weekend", "Q537"),
    "4": ("A shy waitress of Montmartre decides to change the lives of those around her", "Q648"),
    "5": ("The boxer trains in Siberian snow to fight a Soviet giant", "Q685"),
    "6": ("Two policemen hunt a murderer who kills by deadly sins", "Q722"),
    "8": ("Marines land on a moon where colonists have vanished", "Q796"),
    "10": ("A secretary steals money and takes a room at a lonely motel", "Q870"),
    "12": ("A photographer in a wheelchair spies on his neighbours", "Q944"),
}


def described(folder: Path) -> Path:
    """Films with plots and without years, of which one has another title in the facts, which have abstracts."""
    films = pd.DataFrame([(film, title.partition(" (")[0]) for film, title, *_ in FILMS], columns=["film", "title"])
    films.loc[films.film == "11", "title"] = "De entre los muertos"
    films["plot"] = films.film.map({film: plot for film, (plot, _) in PLOTS.items()})
    films["year"] = films.film.map({"11": 1958})
    films.to_csv(folder / "films.csv", index=False)
    with (folder / "facts.nt").open("a", encoding="utf-8") as file:
        for plot, entity in PLOTS.values():
            text = f"It is a film. {plot[: len(plot) * 2 // 3]}."
            file.write(f'<{WD}{entity}> <http://dbpedia.org/ontology/abstract> "{text}"@en .\n')
    table = {"file": "films.csv", "id": "film", "label": "title", "features": {"plot": "text", "year": "numeric"}}
    return write(folder, {"nodes": {"item": {"tables": [table]}}})


def test_descriptions_tell_namesakes_apart_and_find_what_is_called_otherwise(folder: Path) -> None:
    path = described(folder)
    found = pairs(find_links(path))
    assert (found["2"], found["3"], found["7"], found["11"]) == ("Q574", "Q611", "Q759", "Q907")
    facts = (folder / "facts.nt").read_text(encoding="utf-8").replace("ontology/abstract", "property/plot")
    (folder / "facts.nt").write_text(facts, encoding="utf-8")
    assert "11" not in pairs(find_links(path))
    options = LinkOptions(texts=("http://dbpedia.org/property/plot",))
    assert pairs(find_links(path, options=options))["11"] == "Q907"


def test_a_sentence_encoder_compares_names_and_descriptions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "sentence_transformers", None)
    options = LinkOptions(text_encoder="some-model")
    with pytest.raises(KgrecError, match=r"pip install 'kgrec\[text\]'"):
        find_links(folder / "recipe.yaml", options=options)
    said: list[str] = []

    class Meaning:
        """An encoder to which two titles of one film are the same."""

        def __init__(self, name: str) -> None:
            assert name == "some-model"

        def encode(self, texts: list[str], **_: bool) -> np.ndarray:
            said.extend(texts)
            rng = np.random.default_rng(0)
            means = {text: rng.normal(size=128) for text in texts}
            means["Vertigo"] = means["De entre los muertos (1958)"]
            return np.stack([means[text] for text in texts])

    monkeypatch.setitem(sys.modules, "sentence_transformers", type(sys)("sentence_transformers"))
    monkeypatch.setattr(sys.modules["sentence_transformers"], "SentenceTransformer", Meaning, raising=False)
    films = pd.read_csv(folder / "films.csv", dtype=str)
    films.loc[films.film == "11", "title"] = "De entre los muertos (1958)"
    films.to_csv(folder / "films.csv", index=False)
    assert "11" not in pairs(find_links(folder / "recipe.yaml"))
    assert pairs(find_links(folder / "recipe.yaml", options=options))["11"] == "Q907"
    assert "Rocky 4" in said and "Alien (1979)" in said


def test_triples_in_a_table_are_read_too(folder: Path) -> None:
    rows = [("m.01", "film.name", "Alien (1979)"), ("m.02", "film.name", "Vertigo"), ("m.01", "film.director", "m.05")]
    pd.DataFrame(rows, columns=["head", "relation", "tail"]).to_csv(folder / "kg.csv", index=False)
    path = write(folder, {"triples": {"file": "kg.csv"}}, rdf=None)
    assert {"7": "m.01", "11": "m.02"}.items() <= pairs(find_links(path)).items()


def test_init_finds_items_by_name_where_there_is_no_key(folder: Path, tmp_path: Path) -> None:
    (folder / "recipe.yaml").unlink()
    out = tmp_path / "out" / "films.yaml"
    guess = init(folder, out)
    link = guess.recipe.values["links"]["item"]
    assert "links.csv" in link["file"] and "91.7% of the items" in out.read_text(encoding="utf-8")
    _, report = build(out)
    assert report.links["item"].linked == 11
    without = init(folder, tmp_path / "out" / "other.yaml", by_name=False)
    assert "links" not in without.recipe.values and "rdf" in without.recipe.values


def test_init_says_where_names_find_too_few(folder: Path, tmp_path: Path) -> None:
    (folder / "recipe.yaml").unlink()
    facts = f'<{WD}Q1> <{LABEL}> "Nothing like it"@en .\n<{WD}Q1> <{WDT}P57> <{WD}Q2> .\n'
    (folder / "facts.nt").write_text(facts, encoding="utf-8")
    guess = init(folder, tmp_path / "out" / "films.yaml")
    assert "rdf" not in guess.recipe.values
    assert "0.0% of the items were found" in str(guess)
    assert build(guess.path)[0].num_nodes


def test_a_folder_of_raw_files_is_linked_too(folder: Path, command) -> None:
    (folder / "recipe.yaml").unlink()
    out = folder.parent / f"{folder.name}-links.csv"
    done = command("link", folder, "--out", out)
    assert done.returncode == 0 and "11 of 12 nodes" in done.stdout, done.stderr
    refused = command("link", folder, "--out", out, "--overwrite", "--add")
    assert refused.returncode == 1 and "no recipe to add to" in refused.stderr


@pytest.mark.real_data
def test_films_of_movielens_are_found_in_dbpedia(data_root: Path) -> None:
    from kgrec.sources.recipe.recipe import Recipe

    recipe = Recipe.load("graphs/ml-1m-dbpedia.yaml").model_copy(update={"links": {}})
    table = pd.read_csv(data_root / "ml1m-dbpedia/mappings.tsv", sep="\t", names=["id", "title", "iri"], dtype=str)
    truth = dict(zip(table["id"], table["iri"]))
    found = {row.id: row.entity for row in find_links(recipe, data_root).accepted}
    right = sum(truth.get(item) == entity for item, entity in found.items())
    assert right / len(found) >= 0.97
    assert right / len(truth) >= 0.85

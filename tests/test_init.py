"""`kgrec init`: recipes for folders of raw files in many shapes, and what it says where it cannot write one."""

from __future__ import annotations

import json
import random
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from raw_folders import ITEMS, KINDS, SHAPES, USERS, happened, table, title
from typer.testing import CliRunner

import kgrec
from kgrec.cli.entry import app
from kgrec.errors import KgrecError, UnknownName
from kgrec.sources.guessing import Choices, init
from kgrec.sources.guessing.time_forms import time_form
from kgrec.sources.recipe.recipe import Recipe


@pytest.fixture
def raw(tmp_path: Path) -> Path:
    """An empty folder for raw files."""
    folder = tmp_path / "raw"
    folder.mkdir()
    return folder


def guessed(raw: Path, *chosen: str) -> Mapping[str, Any]:
    """The values of the recipe that is guessed for a folder."""
    return init(raw, raw.parent / "recipe.yaml", choices=Choices.of(chosen)).recipe.values


#: Shape -> what its recipe must say: user, item, weight, time's column and form, and the relation or relations
EXPECTED: dict[str, tuple[str, str, str | None, dict[str, str] | None, object]] = {
    "shopify": ("Email", "Lineitem sku", "Lineitem quantity", {"column": "Paid at", "unit": "iso"}, "purchased"),
    "german_shop": ("Kundennummer", "Artikelnummer", "Menge",
                    {"column": "Bestelldatum", "format": "%d.%m.%Y %H:%M"}, "purchased"),
    "online_retail": ("CustomerID", "StockCode", "Quantity",
                      {"column": "InvoiceDate", "format": "%m/%d/%Y %H:%M"}, "purchased"),
    "goodbooks": ("user_id", "book_id", "rating", None, "rated"),
    "steam": ("user", "item", "count", None, {"purchase": "purchased", "play": "played"}),
    "amazon": ("reviewerID", "asin", "overall", {"column": "unixReviewTime", "unit": "s"}, "rated"),
    "lastfm_plays": ("user", "item", "count", None, "played"),
    "news": ("c2", "item", None, {"column": "c3", "format": "%m/%d/%Y %I:%M:%S %p"}, "clicked"),
    "order_tables": ("customer_id", "product_id", "quantity", {"column": "order_date", "unit": "iso"}, "purchased"),
    "database": ("customer_id", "product_id", "quantity", {"column": "order_date", "unit": "iso"}, "purchased"),
    "event_log": ("user_id", "product_id", None, {"column": "event_time", "unit": "iso"},
                  {"view": "viewed", "cart": "carted", "purchase": "purchased", "remove_from_cart": None}),
    "movielens_latest": ("userId", "movieId", "rating", {"column": "timestamp", "unit": "s"}, "rated"),
    "nested_json": ("customer_id", "items_sku", "items_qty", {"column": "created_at", "unit": "iso"}, "purchased"),
    "atomic": ("user_id:token", "item_id:token", "rating:float", {"column": "timestamp:float", "unit": "s"}, "rated"),
    "kgat": ("user", "item", None, None, "interacted"),
    "triple_store": ("user", "item", None, None, "purchased"),
    "warehouse": ("customer_key", "product_key", "units", {"column": "date_key", "format": "%Y%m%d"}, "purchased"),
    "behaviour_log": ("user", "item", None, {"column": "time", "unit": "s"},
                      {"pv": "viewed", "cart": "carted", "fav": "favorited", "buy": "purchased"}),
    "playlists": ("pid", "tracks_track_uri", None, None, "interacted"),
    "gtin": ("customer_no", "ean", None, {"column": "sold_at", "unit": "iso"}, "purchased"),
    "two_part_logs": ("visitor", "sku", None, {"column": "clicked_at", "format": "%d/%m/%Y %H:%M:%S"}, "clicked"),
}  # fmt: skip
#: Shape -> number of users and of items in the graph, where they are not those that happened
COUNTS = {"online_retail": (USERS, ITEMS), "triple_store": (USERS, ITEMS)}
LABELLED = {"shopify", "german_shop", "online_retail", "goodbooks", "amazon", "lastfm_plays", "news", "order_tables",
            "database", "movielens_latest", "nested_json", "steam", "atomic", "triple_store",
            "warehouse", "playlists", "gtin"}  # fmt: skip


@pytest.mark.parametrize("shape", SHAPES)
def test_a_shape_gives_a_recipe_that_builds_unedited(raw: Path, shape: str) -> None:
    """The columns are those of the file's author, the written recipe builds, and items have their titles."""
    SHAPES[shape](raw)
    events = guessed(raw)["interactions"]
    relation = events["relations"]["values"] if "relations" in events else events["relation"]
    found = events["user"], events["item"], events.get("weight"), events.get("time"), relation
    assert found == EXPECTED[shape]
    graph, report = kgrec.build(raw.parent / "recipe.yaml")
    user, _, item = graph.target
    assert (len(graph.range(user)), len(graph.range(item))) == (USERS, ITEMS)
    assert report.problems == [] or shape == "online_retail"
    labels = graph.vocabulary[item].labels(range(ITEMS))
    has_titles = all(title(i).lower() in str(labels).lower() for i in range(ITEMS))
    assert has_titles == (shape in LABELLED)


def test_the_shop_has_its_keys_behaviours_template_and_language(tmp_path: Path) -> None:
    shop = Path(__file__).parents[1] / "graphs/shop"
    found = init(shop, tmp_path / "shop.yaml")
    values = found.recipe.values
    assert values["interactions"]["relations"]["values"] == {
        "view": "viewed",
        "cart": "carted",
        "purchase": "purchased",
    }
    assert values["links"] == {"item": {"template": "https://shop.example/product/{id}"}}
    assert values["rdf"]["language"] == ["en"]
    skos = "http://www.w3.org/2004/02/skos/core#"
    assert values["rdf"]["inverse_of"] == {f"{skos}narrower": f"{skos}broader"}
    assert values["nodes"]["item"]["edges"]["has_category"] == {
        "column": "category", "path": " > ", "parents": "part_of", "to": "category"
    }  # fmt: skip
    text = (tmp_path / "shop.yaml").read_text()
    assert "# 100 % of product found in products.csv:product" in text
    assert "users.csv:signed_up: ISO 8601" in text  # what is left out stands there with the reason
    assert {"key": "links.item", "value": {"template": "https://shop.example/product/{id}"}} .items() <= next(
        one for one in found.to_json()["guesses"] if one["key"] == "links.item").items()  # fmt: skip


def test_published_folds_are_found_by_their_rows(raw: Path) -> None:
    """Files of train and test whose rows are in the file of all rows are a split; a test file of other ids is not."""
    rows = [*{(u, i): [u, i, r, int(t.timestamp())] for u, i, t, r in happened()}.values()]
    table(raw / "u.data", rows, "\t")
    table(raw / "u1.base", rows[:200], "\t")
    table(raw / "u1.test", rows[200:], "\t")
    table(raw / "other.test", [[u + 7, i + 900, r, when] for u, i, r, when in rows[:50]], "\t")
    values = guessed(raw)
    assert values["splits"] == {"u1": {"train": "u1.base", "test": "u1.test"}}
    assert values["standard"] == {"split": "u1"}
    assert values["interactions"]["columns"] == ["user", "item", "rating", "time"]
    assert "other.test" in (raw.parent / "recipe.yaml").read_text().partition("Not used")[2]


def test_small_numbers_are_no_key_by_accident(raw: Path) -> None:
    """Ages and counts are in id columns of small numbers; only the column that is named for one refers to it."""
    table(raw / "ratings.csv", [["user_id", "movie_id", "rating"], *([u, i, r] for u, i, _, r in happened())])
    people = [[u, 18 + u % 12, u % 7, u % 5] for u in range(USERS)]
    table(raw / "users.csv", [["id", "age", "visits", "city_id"], *people])
    table(raw / "movies.csv", [["id", "title", "minutes"], *([i, title(i), 9 + i % 9] for i in range(ITEMS))])
    table(raw / "cities.csv", [["id", "city"], *([c, f"City {c}"] for c in range(5))])
    nodes = guessed(raw)["nodes"]
    assert nodes["user"]["file"] == "users.csv" and nodes["item"]["file"] == "movies.csv"
    assert nodes["user"]["features"] == {"age": "numeric", "visits": "numeric"}
    assert nodes["user"]["edges"] == {"has_city": {"column": "city_id", "to": "city"}}
    assert nodes["city"] == {"file": "cities.csv", "id": "id", "label": "city"}


def test_an_id_column_that_repeats_is_no_key_of_nodes(raw: Path) -> None:
    """A table with several rows for each item is an edge list, not a table of items."""
    table(raw / "ratings.csv", [["user_id", "film_id", "rating"], *([u, f"f{i}", r] for u, i, _, r in happened())])
    table(
        raw / "genres.csv",
        [["film_id", "genre"], *([f"f{i}", KINDS[(i * k) % 5]] for i in range(ITEMS) for k in (1, 2))],
    )
    values = guessed(raw)
    assert "nodes" not in values
    assert values["edges"] == {
        "has_genre": {"file": "genres.csv", "between": ["item", "genre"], "source": "film_id", "target": "genre"}
    }


@pytest.mark.parametrize(
    ("values", "form"),
    [
        (["978300760", "978302109", "1046454590"], {"unit": "s"}),
        (["1672819200000", "1682819200123"], {"unit": "ms"}),
        (["1672819200000000", "1682819200123000"], {"unit": "us"}),
        (["1672819200000000000", "1682819200123000000"], {"unit": "ns"}),
        (["2023-01-04T08:00:00Z", "2023-02-04T08:00:00+01:00"], {"unit": "iso"}),
        (["2019-10-01 00:00:00 UTC", "2019-10-02 00:00:01 UTC"], {"format": "%Y-%m-%d %H:%M:%S UTC"}),
        (["20230104", "20231231"], {"format": "%Y%m%d"}),
        (["13/01/2023", "01/02/2023"], {"format": "%d/%m/%Y"}),
        (["01/13/2023", "02/01/2023"], {"format": "%m/%d/%Y"}),
        (["11/11/2019 9:05:58 AM", "11/12/2019 12:00:00 PM"], {"format": "%m/%d/%Y %I:%M:%S %p"}),
        (["02 28, 2014", "12 01, 2012"], {"format": "%m %d, %Y"}),
        (["Mon Jun 06 22:16:39 2011", "Tue Jun 07 01:00:00 2011"], {"format": "%a %b %d %H:%M:%S %Y"}),
        (["1994", "2001", "2020"], None),
        (["12 cm", "14 cm"], None),
        (["Toy Story (1995)", "Heat (1995)"], None),
    ],
)
def test_the_form_of_times(values: list[str], form: dict[str, str] | None) -> None:
    found = time_form(values)
    assert (found.form if found is not None else None) == form


# --- Bad input: what was found, what was wanted, what to do; nothing is written


def run(*arguments: object) -> tuple[int, str]:
    """Exit code and output of `kgrec init`, where stdin is no terminal."""
    result = CliRunner().invoke(app, ["init", *map(str, arguments)])
    if isinstance(result.exception, KgrecError):
        return 1, str(result.exception)
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.output


def refused(raw: Path, *words: str) -> None:
    """`init` ends with code 1 and a message with these words, and writes nothing."""
    out = raw.parent / "out" / "recipe.yaml"
    code, text = run(raw, "--out", out)
    assert code == 1
    for word in words:
        assert word in text
    assert not out.exists() and not out.with_suffix(".prepared").exists()


def test_an_empty_folder(raw: Path) -> None:
    refused(raw, "has no file with data", "it is empty", "give a folder")


def test_a_folder_that_is_none(raw: Path) -> None:
    refused(raw / "nothing", "does not exist", "give the folder")


def test_a_folder_of_documents_alone(raw: Path) -> None:
    (raw / "README.md").write_text("# Data\n")
    (raw / "notes.pdf").write_bytes(b"%PDF-1.4\n")
    refused(raw, "has no file with data", "README.md is a document")


def test_a_folder_without_interactions(raw: Path) -> None:
    """The message says which tables and columns there are, and how to name the right ones."""
    table(raw / "products.csv", [["product_id", "title", "price"], *([i, title(i), i] for i in range(ITEMS))])
    table(raw / "customers.csv", [["customer_id", "city"], *([u, f"City {u % 4}"] for u in range(USERS))])
    refused(
        raw,
        "no table",
        "products.csv: 24 rows with product_id, title, price",
        "customers.csv",
        "--set interactions=FILE",
    )


def test_rdf_without_any_user(raw: Path) -> None:
    """RDF alone that says nothing about users: what it has is said."""
    lines = [f"<http://x/film/{i}> <http://x/director> <http://x/person/{i % 4}> ." for i in range(40)]
    (raw / "films.nt").write_text("\n".join(lines) + "\n")
    refused(raw, "no table", "films.nt: RDF, 40 triples", "http://x/director")


def test_two_tables_that_could_be_the_one(raw: Path) -> None:
    """Nobody is asked where stdin is no terminal; --set names the choice."""
    rows = [[f"u{u}", f"p{i}", int(t.timestamp())] for u, i, t, _ in happened()]
    table(raw / "webshop.csv", [["customer", "product", "time"], *rows[:200]])
    table(raw / "branch.csv", [["customer", "product", "time"], *rows[200:]])
    refused(
        raw, "2 tables could hold the interactions", "--set interactions=branch.csv", "--set interactions=webshop.csv"
    )
    assert guessed(raw, "interactions=webshop.csv")["interactions"]["file"] == "webshop.csv"


def test_a_person_is_asked_on_a_terminal(raw: Path) -> None:
    rows = [[f"u{u}", f"p{i}", int(t.timestamp())] for u, i, t, _ in happened()]
    for name in ("webshop", "branch"):
        table(raw / f"{name}.csv", [["customer", "product", "time"], *rows])
    asked = []
    choices = Choices({}, lambda question: asked.append(question) or "branch.csv")  # type: ignore[func-returns-value]
    values = init(raw, raw.parent / "recipe.yaml", choices=choices).recipe.values
    assert values["interactions"]["file"] == "branch.csv"
    assert [question.key for question in asked] == ["interactions"]
    assert list(asked[0].options) == ["branch.csv", "webshop.csv"]


def test_dates_that_fit_two_formats(raw: Path) -> None:
    """Days up to twelve in no order: the month and the day may be exchanged, so nothing is assumed."""
    rng = random.Random(5)
    dates = [f"{rng.randint(1, 12):02}/{rng.randint(1, 12):02}/2023" for _ in range(400)]
    rows = [[f"u{u}", f"p{i}", date] for (u, i, _, _), date in zip(happened(), dates)]
    table(raw / "views.csv", [["user", "product", "date"], *rows])
    refused(raw, "fit two formats", "--set time_format=%d/%m/%Y", "--set time_format=%m/%d/%Y")
    assert guessed(raw, "time_format=%d/%m/%Y")["interactions"]["time"] == {"column": "date", "format": "%d/%m/%Y"}


def test_dates_in_two_formats(raw: Path) -> None:
    """The rows of the rarer format are left out, and the recipe says how many they are."""
    rows = [
        [f"u{u}", f"p{i}", f"{t:%d.%m.%Y}" if n % 20 == 0 else f"{t:%Y-%m-%d}"]
        for n, (u, i, t, _) in enumerate(happened())
    ]
    table(raw / "views.csv", [["user", "product", "date"], *rows])
    assert guessed(raw)["interactions"]["time"] == {"column": "date", "unit": "iso"}
    assert "5.0% of the values have another form" in (raw.parent / "recipe.yaml").read_text()
    graph, report = kgrec.build(raw.parent / "recipe.yaml")
    assert graph.only(graph.target).num_edges == 380 and len(report.problems) > 0


def test_a_file_of_two_encodings_is_rewritten_line_by_line(raw: Path) -> None:
    rows = [f"u{u},Gr{'ö' if n % 2 else 'ü'}ße {i}" for n, (u, i, _, _) in enumerate(happened())]
    lines = [row.encode("cp1252" if n % 3 == 0 else "utf-8") for n, row in enumerate(rows)]
    (raw / "views.csv").write_bytes(b"\n".join([b"user,product", *lines]))
    values = guessed(raw)
    assert values["interactions"]["file"].endswith("recipe.prepared/views.parquet")
    graph, _ = kgrec.build(raw.parent / "recipe.yaml")
    assert {"Größe 0", "Grüße 0"} <= {*graph.vocabulary["item"].ids(range(len(graph.range("item"))))}


def test_a_file_that_is_half_binary_is_left_out_with_the_place(raw: Path) -> None:
    table(raw / "views.csv", [["user", "product"], *([f"u{u}", f"p{i}"] for u, i, _, _ in happened())])
    damaged = b"user,product\n" + b"u1,p1\n" * 20_000 + bytes(range(256)) * 500
    (raw / "views_damaged.csv").write_bytes(damaged)
    assert guessed(raw)["interactions"]["file"] == "views.csv"
    rest = (raw.parent / "recipe.yaml").read_text().partition("Not used")[2]
    assert "views_damaged.csv: is text at first and binary from byte 120,013 on" in rest


def test_many_files_of_one_form_are_one_table(raw: Path) -> None:
    """Only some of a thousand files are read."""
    rows = happened()
    for n in range(1000):
        u, i, t, _ = rows[n % len(rows)]
        (raw / f"part-{n:05}.csv").write_text(
            f"user,product,time\nu{u},p{i},{int(t.timestamp())}\nu{u},p1,{int(t.timestamp())}\n"
        )
    events = guessed(raw)["interactions"]
    assert events["file"] == "part-*.csv"
    assert (events["user"], events["item"], events["time"]) == ("user", "product", {"column": "time", "unit": "s"})


@pytest.mark.parametrize("way", ["iri", "value_of", "no codes"])
def test_codes_of_entities_in_a_table_lead_to_them(raw: Path, way: str) -> None:
    """Codes that end IRIs (Wikidata), or are values of a predicate (The Movie Database), and years, which are none."""
    codes = {item: item * 731 + 862 for item in range(ITEMS)}
    shown = {"iri": "Q{}", "value_of": "{}", "no codes": "{}"}[way]
    table(raw / "films.csv", [["film", "title", "year"], *([f"f{n}", title(n), 1960 + n] for n in codes)])
    table(raw / "links.csv", [["film", "code"], *([f"f{n}", shown.format(code)] for n, code in codes.items())])
    table(raw / "ratings.csv", [["user", "film", "stars"], *([f"u{u}", f"f{i}", w] for u, i, _, w in happened())])
    lines = []
    for n, code in codes.items():
        iri = f"<http://www.wikidata.org/entity/Q{code if way == 'iri' else 1960 + n if way == 'no codes' else n}>"
        lines.append(f"{iri} <http://x/genre> <http://x/genre/{n % 4}> .")
        lines.append(f'{iri} <http://x/tmdb> "{code if way == "value_of" else code + 1}" .')
    (raw / "facts.nt").write_text("\n".join(lines), encoding="utf-8")
    values = guessed(raw)
    if way == "no codes":
        assert "links" not in values
        return
    link = values["links"]["item"]
    assert (link["file"], link["id"], link["entity"]) == ("links.csv", "film", "code")
    said = {"iri": "http://www.wikidata.org/entity/{entity}", "value_of": "http://x/tmdb"}[way]
    assert link[way] == said
    _, report = kgrec.build(raw.parent / "recipe.yaml")
    assert report.links["item"].with_facts == ITEMS


def test_relative_iris_are_linked_by_name_with_the_base_of_the_recipe(raw: Path) -> None:
    table(raw / "films.csv", [["film", "title"], *([f"f{n}", title(n)] for n in range(ITEMS))])
    table(raw / "ratings.csv", [["user", "film", "stars"], *([f"u{u}", f"f{i}", w] for u, i, _, w in happened())])
    said = [f'<thing{n}> <http://x/name> "{title(n)}" ; <http://x/genre> <genre{n % 4}> .' for n in range(ITEMS)]
    text = "\n".join(said).replace("http://x/name", "http://www.w3.org/2000/01/rdf-schema#label")
    (raw / "facts.ttl").write_text(text, encoding="utf-8")
    assert guessed(raw)["rdf"]["base"]
    _, report = kgrec.build(raw.parent / "recipe.yaml")
    assert report.links["item"].with_facts > 0.9 * ITEMS


@pytest.mark.parametrize("has_names", [True, False])
def test_rdf_in_which_no_key_finds_an_item_is_linked_by_name_or_left_out(raw: Path, has_names: bool) -> None:
    """Where names find nothing either, the recipe says what the RDF has."""
    table(raw / "ratings.csv", [["user", "film", "rating"], *([f"u{u}", f"f{i}", r] for u, i, _, r in happened())])
    table(raw / "films.csv", [["film", "title"], *([f"f{i}", title(i)] for i in range(ITEMS))])
    label = "<http://www.w3.org/2000/01/rdf-schema#label>"
    names = [title(i) if has_names else f"Person {i}" for i in range(ITEMS)]
    lines = [
        f'<http://x/e{i * 31}> {label} "{name}" .\n<http://x/e{i * 31}> <http://x/by> <http://x/q> .'
        for i, name in enumerate(names)
    ]
    (raw / "facts.nt").write_text("\n".join(lines) + "\n")
    assert ({"rdf", "links"} & guessed(raw).keys() == {"rdf", "links"}) == has_names
    text = (raw.parent / "recipe.yaml").read_text()
    if has_names:
        assert "by names and years" in text and "No item" not in text
    else:
        assert (
            "No item of films.csv was found in facts.nt" in text and "48 triples" in text and "By their names" in text
        )


def test_sessions_with_nested_events_and_long_ids_without_a_header(raw: Path) -> None:
    events: dict[int, list[dict[str, object]]] = {}
    for u, i, t, _ in happened():
        events.setdefault(u, []).append(
            {"aid": i * 37, "ts": int(t.timestamp() * 1000), "type": ["clicks", "carts"][i % 2]}
        )
    lines = [json.dumps({"session": u, "events": done}) for u, done in events.items()]
    (raw / "train.jsonl").write_text("\n".join(lines) + "\n")
    found = guessed(raw)["interactions"]
    assert (found["user"], found["item"], found["time"]["unit"]) == ("session", "events_aid", "ms")
    (raw / "train.jsonl").unlink()
    plays = [
        [f"{u * 99991:040x}", f"{i * 7:08x}-1111-2222", title(i), n % 97 + 1] for n, (u, i, *_) in enumerate(happened())
    ]
    table(raw / "plays.tsv", plays, "\t")
    found = init(raw, raw.parent / "plays.yaml").recipe.values["interactions"]
    assert (found["user"], found["item"]) == ("user", "item")


def test_an_existing_recipe_is_kept(raw: Path) -> None:
    table(raw / "views.csv", [["user", "product"], *([f"u{u}", f"p{i}"] for u, i, _, _ in happened())])
    out = raw.parent / "mine.yaml"
    out.write_text("name: mine\n")
    code, text = run(raw, "--out", out)
    assert code == 1 and "already" in text and out.read_text() == "name: mine\n"
    assert run(raw, "--out", out, "--overwrite")[0] == 0
    assert Recipe.load(out).interactions[0].user == "user"


@pytest.mark.parametrize(
    ("chosen", "error", "words"),
    [
        ("nonsense", KgrecError, "write it as key=value"),
        ("usr=user", UnknownName, "did you mean 'user'"),
        ("interactions=view.csv", UnknownName, "did you mean 'views.csv'"),
        ("user=usr", UnknownName, "did you mean 'user'"),
    ],
)
def test_a_wrong_choice(raw: Path, chosen: str, error: type[KgrecError], words: str) -> None:
    table(raw / "views.csv", [["user", "product"], *([f"u{u}", f"p{i}"] for u, i, _, _ in happened())])
    with pytest.raises(error, match=words):
        guessed(raw, chosen)


def test_json_has_the_guesses_and_their_evidence(raw: Path, make: Callable[[str], None] = SHAPES["goodbooks"]) -> None:
    make(raw)  # type: ignore[arg-type]
    code, text = run(raw, "--out", raw.parent / "recipe.yaml", "--json")
    found = json.loads(text[text.index('{"recipe"') :].splitlines()[0])
    assert code == 0
    assert found["values"]["interactions"]["user"] == "user_id"
    by_key = {one["key"]: one for one in found["guesses"]}
    assert by_key["nodes.item.id"]["because"] == "100 % of book_id found in books.csv:book_id"


def test_build_and_train_go_on_to_runs(raw: Path) -> None:
    """A graph, two controls and a first model, and the command of the page."""
    SHAPES["goodbooks"](raw)
    code, text = run(raw, "--out", raw.parent / "books.yaml", "--build", "--train")
    assert code == 0 and "kgrec serve" in text and "books.ease.run" in text
    for name in ("popularity", "itemknn", "ease"):
        assert (raw.parent / f"books.{name}.run/config.json").is_file()
    assert (raw.parent / "books.graph/graph.json").is_file()
    assert run(raw, "--train")[0] == 1

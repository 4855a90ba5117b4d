"""What `check` says of mistakes that a build takes: links to nowhere, nearly equal ids, times in a wrong unit."""

from pathlib import Path

import pytest

from kgrec.sources.building import build
from kgrec.sources.checking import check

RECIPE = """
name: club
interactions: {file: loans.csv, user: member, item: book, relation: borrowed, time: {column: day, unit: UNIT}}
"""
RDF = """
links:
  item: {template: "TEMPLATE"}
rdf: {files: facts.ttl}
"""
LOANS = "member,book,day\n0017,b-01,1704240000\n0042,b-02,1710892800\n"
FACTS = "@prefix c: <https://club.example/> .\nc:b-01 c:author c:le-guin .\nc:b-02 c:author c:austen .\n"


def problems(folder: Path, recipe: str, loans: str = LOANS, facts: str = FACTS) -> list[str]:
    (folder / "loans.csv").write_text(loans)
    (folder / "facts.ttl").write_text(facts)
    (folder / "club.yaml").write_text(recipe)
    return [str(problem).replace(str(folder), "DIR") for problem in check(folder / "club.yaml")]


def linked(template: str, unit: str = "s") -> str:
    return (RECIPE + RDF).replace("UNIT", unit).replace("TEMPLATE", template)


def test_a_template_that_no_fact_knows_is_an_error_that_names_one_that_would_do(tmp_path: Path) -> None:
    assert problems(tmp_path, linked("https://club.example/{id}")) == []
    found = problems(tmp_path, linked("http://club.example/book/{id}"))
    assert found == [
        "error: DIR/club.yaml: links.item: no item is linked, because no fact names what the template makes, such as "
        "'http://club.example/book/b-01' of 'b-01'; the facts have 'https://club.example/b-01', so `template: "
        "https://club.example/{id}` would link it"
    ]
    _, report = build(tmp_path / "club.yaml")
    assert "item: 0 of 2 linked, 0 with at least one fact; kgrec check says why" in str(report)
    reported = problems(tmp_path, linked("http://club.example/book/{id}") + "on_bad_rows: report\n")
    assert [line.replace("note", "error") for line in reported] == found


def test_facts_that_are_about_no_item(tmp_path: Path) -> None:
    facts = "<https://other.example/a> <https://other.example/of> <https://other.example/b> .\n"
    (found,) = problems(tmp_path, linked("https://club.example/{id}"), facts=facts)
    assert found.endswith("of 'b-01'; the facts name such as 'https://other.example/a'; fix the link")
    facts = '<https://club.example/b-01> <https://club.example/author> "Le Guin" .\n'
    found = problems(tmp_path, linked("https://club.example/{id}"), facts=facts)[0]
    assert found.endswith(
        "no fact names any resource; values count only where `literals` or `labels` names their predicate"
    )


def test_a_table_of_links_that_leads_nowhere(tmp_path: Path) -> None:
    recipe = (RECIPE + RDF).replace("UNIT", "s").replace('{template: "TEMPLATE"}', "{file: l.csv, id: book, entity: e}")
    (tmp_path / "l.csv").write_text("book,e\nb-01,https://club.example/B1\n")
    found = problems(tmp_path, recipe)
    assert "what the table says, such as 'https://club.example/B1' of 'b-01'; the facts have " in found[0]
    (tmp_path / "l.csv").write_text("book,e\n1,https://club.example/b-01\n")
    assert (
        "error: DIR/club.yaml: links.item: no link is from one of the 2 item ids, such as 'b-01'"
        in problems(tmp_path, recipe)[0]
    )


def test_a_predicate_whose_values_are_no_ids(tmp_path: Path) -> None:
    recipe = (
        (RECIPE + RDF).replace("UNIT", "s").replace('template: "TEMPLATE"', 'predicate: "https://club.example/sku"')
    )
    facts = FACTS + 'c:b-01 c:sku "1" .\n'
    assert (
        "error: DIR/club.yaml: links.item: no link is from one of the 2 item ids, such as 'b-01'; no value of "
        "'https://club.example/sku' leads to one; name another predicate, or mend its values"
    ) in problems(tmp_path, recipe, facts=facts)
    unknown = recipe.replace("/sku", "/ean")
    assert not any("links.item" in line for line in problems(tmp_path, unknown, facts=facts))


@pytest.mark.parametrize("other", ["0017 ", " 0017", "17", "00017"])
def test_ids_that_differ_by_a_space_or_a_zero(tmp_path: Path, other: str) -> None:
    assert problems(tmp_path, RECIPE.replace("UNIT", "s"), LOANS + f"{other},b-02,1710892900\n") == [
        "note: DIR/club.yaml: user ids that differ only by spaces, capitals or zeros at the beginning are different "
        f"nodes: {other!r} and '0017'; if they mean the same, mend the files"
    ]


def test_ids_that_differ_by_more_are_not_named(tmp_path: Path) -> None:
    assert problems(tmp_path, RECIPE.replace("UNIT", "s"), LOANS + "0,b-02,1710892900\n00,b-20,1710892900\n") == [
        "note: DIR/club.yaml: user ids that differ only by spaces, capitals or zeros at the beginning are different "
        "nodes: '00' and '0'; if they mean the same, mend the files"
    ]
    assert problems(tmp_path, RECIPE.replace("UNIT", "s"), LOANS + "170,b-10,1710892900\n1 7,b-2,1710892900\n") == []


def test_seconds_read_as_milliseconds(tmp_path: Path) -> None:
    assert problems(tmp_path, RECIPE.replace("UNIT", "s")) == []
    assert problems(tmp_path, RECIPE.replace("UNIT", "ms")) == [
        "note: loans.csv: read in ms, the times of 'borrowed' are from 1970-01-20 to 1970-01-20; in s they are from "
        "2024-01-03 to 2024-03-19; if that is right, set `time: {unit: s}`"
    ]
    few = "member,book,day\n0017,b-01,1\n0042,b-02,2\n"  # places in an order, which no unit makes times of today
    assert problems(tmp_path, RECIPE.replace("UNIT", "ms"), few) == []


@pytest.mark.parametrize(
    ("day", "advice"),
    [
        ("1704240000", "it is a Unix time: set `time: {unit: s}`"),
        ("1704240000000", "it is a Unix time: set `time: {unit: ms}`"),
        ("31.12.2023", "fix the row, or if all rows are so, set `time: {format: '%d.%m.%Y'}` in place of `unit`"),
        ("12/31/2023", "fix the row, or if all rows are so, set `time: {format: '%m/%d/%Y'}` in place of `unit`"),
        ("1-2-2023", "set `time: {format: '%d-%m-%Y'}` or `time: {format: '%m-%d-%Y'}` in place of `unit`"),
        ("99/99/2023", "if all rows are so, set another `format` in place of `unit`"),
        ("yesterday", "fix the row, or set another `format`"),
    ],
)
def test_a_time_of_another_form_is_told_which(tmp_path: Path, day: str, advice: str) -> None:
    loans = f"member,book,day\n0017,b-01,2024-01-03\n0042,b-02,{day}\n"
    (found,) = problems(tmp_path, RECIPE.replace("UNIT", "iso"), loans)
    assert found.startswith(f"error: loans.csv line 3: day '{day}' is not a time in ISO 8601 format; ")
    assert found.endswith(advice)


def test_a_name_where_a_list_is_needed(tmp_path: Path) -> None:
    recipe = linked("https://club.example/{id}").replace("facts.ttl}", "facts.ttl, labels: 'schema:name'}")
    assert problems(tmp_path, recipe) == [
        "error: DIR/club.yaml: rdf[0].labels: found 'schema:name' where a list is needed; write ['schema:name']"
    ]


def test_schema_org_as_the_built_in_prefix_spells_it_needs_no_note(tmp_path: Path) -> None:
    recipe = linked("https://club.example/{id}").replace("facts.ttl}", "facts.ttl, labels: ['schema:name']}")
    named = FACTS + '<https://club.example/le-guin> <https://schema.org/name> "Ursula K. Le Guin" .\n'
    assert problems(tmp_path, recipe, facts=named) == []


def test_a_name_in_include_that_is_nearly_a_predicate(tmp_path: Path) -> None:
    recipe = linked("https://club.example/{id}").replace(
        "facts.ttl}", "facts.ttl, prefixes: {c: 'https://club.example/'}, include: ['c:autor']}"
    )
    assert problems(tmp_path, recipe) == [
        "error: DIR/club.yaml: no fact has the predicate 'c:autor'; did you mean 'c:author'?",
        'note: DIR/club.yaml: left out: 2 facts of c:author (to keep them, add "c:author" to `include`)',
    ]


def test_turtle_in_a_file_of_n_triples(tmp_path: Path) -> None:
    (tmp_path / "facts.nt").write_text(FACTS)
    (found,) = problems(tmp_path, linked("https://club.example/{id}").replace("facts.ttl", "facts.nt"))
    assert found.endswith("; the file is Turtle: rename it to .ttl, or set `format: turtle`")
    (tmp_path / "facts.nt").write_text('"a" <http://x/p> <http://x/b> .\n')
    (found,) = problems(tmp_path, linked("https://club.example/{id}").replace("facts.ttl", "facts.nt"))
    assert found.endswith("must be an IRI or a blank node; fix the file")

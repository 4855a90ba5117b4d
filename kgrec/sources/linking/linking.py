"""Finds the entity of a knowledge graph that each item is, by names, years and descriptions, where no key says it."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from kgrec.errors import KgrecError, some, unknown_name
from kgrec.files import refuse_existing, whole
from kgrec.graph import Graph
from kgrec.output_kinds import FileKind
from kgrec.sources.building.links import ids_of, joined, linked_pairs
from kgrec.sources.building.pipeline import build
from kgrec.sources.building.triple_tables import read_triples
from kgrec.sources.linking.entity_names import (
    DATES,
    LABELS,
    PLAIN_LABELS,
    SAME,
    TEXTS,
    Entities,
    entities_of,
    together,
)
from kgrec.sources.linking.matching import Matches, matched, threshold_of
from kgrec.sources.linking.names import name_of, years_in
from kgrec.sources.linking.pair_scores import pairs_of, scores_of
from kgrec.sources.linking.text_likeness import TFIDF, TextLikeness
from kgrec.sources.rdf.facts import Facts
from kgrec.sources.rdf.reading import read_rdf
from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.recipe.knowledge_part import Link, Triples
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import BadRows
from kgrec.sources.tables.columns import Ids
from kgrec.sources.tables.table_columns import read_table

COLUMNS = ("id", "label", "entity", "entity_label", "score", "runner_up", "runner_up_label", "runner_up_score", "by")
YEAR_COLUMNS = ("year", "date", "released", "release", "published", "issued", "created")
YEARS = range(1600, 2100)


def _no_links(path: Path) -> str | None:
    with path.open(encoding="utf-8", errors="replace") as file:
        head = file.readline(1000).rstrip("\n")
    return None if head == ",".join(COLUMNS) else "is no file of links"


LINKS_FILE = FileKind("file of links", _no_links)


@dataclass(frozen=True)
class LinkOptions:
    """How links are found."""

    node_type: str | None = None  #: whose nodes are looked for; None: the items of the target relation
    known: Path | None = None  #: a CSV with the columns `id` and `entity`: pairs that are known, from which is learned
    labels: tuple[str, ...] = ()  #: more predicates whose values are names
    dates: tuple[str, ...] = ()  #: more predicates whose values have the year
    texts: tuple[str, ...] = ()  #: more predicates whose values describe what it is
    #: `tfidf`: descriptions are compared by their words; else the name or folder of a sentence-transformers model, by
    #: which names and descriptions are compared by what they mean
    text_encoder: str = TFIDF
    threshold: float | None = None  #: score from which a pair is accepted; None: chosen by known pairs, else 0.5
    precision: float = 0.97  #: that accepted pairs are to have, by the known ones
    one_to_one: bool = True  #: an entity is of one node at most


@dataclass(frozen=True)
class Row:
    """One node, and which entity it is."""

    id: str  #: the node's
    label: str  #: the node's
    entity: str  #: its IRI, or id in a table of triples
    entity_label: str  #: the name that is shown
    score: float  #: between 0 and 1; 1 where it is known
    runner_up: str  #: the likeliest other entity; "": there is none
    runner_up_label: str  #: its name
    runner_up_score: float  #: its score
    by: str  #: known, or name


@dataclass(frozen=True)
class Links:
    """The links that were found."""

    node_type: str  #: whose nodes were looked for
    accepted: Sequence[Row]  #: nodes whose entity is known, or sure enough
    others: Sequence[Row]  #: the likeliest entity is below the threshold
    unlike: int  #: nodes whose names are like those of no entity
    entities: int  #: that have a name
    unnamed: int  #: entities without a name
    threshold: float  #: the score from which a pair is accepted
    known: int  #: nodes whose entity was known
    #: of known nodes, by what was learned from others of them: the share of accepted pairs that are right, and the
    #: share of nodes whose entity was found; None: too few are known
    precision: float | None
    recall: float | None  #: see `precision`

    def recipe_part(self, file: str) -> str:
        """What to write into a recipe. file: of the links, relative to the data folder."""
        written = yaml.safe_dump(
            {"links": {self.node_type: {"file": file, "id": "id", "entity": "entity"}}}, sort_keys=False
        )
        return str(written)

    def summary(self) -> str:
        """Sentences for people."""
        number = len(self.accepted) + len(self.others) + self.unlike
        by_name = sum(row.by == "name" for row in self.accepted)
        lines = [
            f"{len(self.accepted):,} of {number:,} nodes of type {self.node_type} are linked"
            + (f", {by_name:,} of them by name" if self.known else "")
            + f", among {self.entities:,} entities with a name",
            f"{len(self.others):,} are below the threshold {self.threshold:.3f}; {self.unlike:,} are like none",
        ]
        if self.precision is not None and self.recall is not None:
            lines.append(
                f"of {self.known:,} known ones, each scored by what the others teach: {self.precision:.1%} of the "
                f"accepted are right, and {self.recall:.1%} are found"
            )
        return "\n".join(lines)

    def to_json(self) -> dict[str, Any]:
        """The numbers."""
        return {
            "node_type": self.node_type,
            "accepted": len(self.accepted),
            "below_threshold": len(self.others),
            "unlike_any": self.unlike,
            "entities": self.entities,
            "entities_without_a_name": self.unnamed,
            "threshold": self.threshold,
            "known": self.known,
            "precision_of_known": self.precision,
            "recall_of_known": self.recall,
        }


def find_links(
    recipe: Path | str | Recipe, data: Path | str | None = None, options: LinkOptions | None = None
) -> Links:
    """Which entity of a recipe's knowledge graph each item is, by names, years and descriptions.

    data: the folder of the files; default: the recipe's own. What the recipe's `links` say of these nodes counts as
    known. Raises KgrecError for a recipe without facts, nodes without labels, entities without names, and a text
    encoder that cannot be loaded; BadData for files that cannot be read.
    """
    options = options or LinkOptions()
    recipe = recipe if isinstance(recipe, Recipe) else Recipe.load(recipe)
    folder = Path(recipe.data if data is None else data)
    if not recipe.rdf and not recipe.triples:
        raise KgrecError("the recipe has no facts; add `rdf` or `triples`, whose entities are to be found")
    graph, _ = build(recipe.model_copy(update={"links": {}, "rdf": [], "triples": []}), data)
    node_type = options.node_type or graph.target[2]
    if node_type not in graph.node_types:
        raise unknown_name("node type", node_type, graph.node_types, "in the recipe")
    ids, labels = _labelled(graph, node_type)
    link = recipe.links.get(node_type)
    predicates = [] if link is None or link.value_predicate is None else [link]
    texts = _texts(graph, node_type)
    is_read = any(texts) or options.text_encoder != TFIDF  # descriptions of entities are long
    parts = [*_all_facts(recipe, folder, options, predicates, [*options.texts, *TEXTS] if is_read else [])]
    entities = together([entities_of(part.facts, part.labels, part.dates, part.language, part.texts) for part in parts])
    if not len(entities):
        raise KgrecError(
            f"none of {entities.unnamed:,} entities has a name: no value of rdfs:label, schema:name or the like, and "
            "IRIs that end in numbers or codes; name the predicate of labels with --label"
        )
    names = [[name_of(label)] for label in labels]
    of_entities = entities.texts
    if options.text_encoder != TFIDF:
        texts, of_entities = _headed(labels, texts), _headed(entities.labels, of_entities)
    likeness = TextLikeness(texts, of_entities, options.text_encoder)
    pairs = pairs_of(names, _years(graph, node_type), entities, likeness)
    known, said = _known(options, link, recipe, folder, ids, entities, parts)
    score = scores_of(pairs, known)
    matches = matched(pairs, score, len(ids), one_to_one=options.one_to_one)
    threshold, precision, recall = _threshold(options, matches, known)
    return _links(node_type, ids, labels, entities, matches, known, said, threshold, (precision, recall))


def write_links(links: Links, out: Path, *, overwrite: bool = False) -> Path | None:
    """Write the accepted links as a CSV, and the others beside it, in NAME-review.csv, to be looked at. Returns where
    the others are, None where there are none. Raises KgrecError where a file is there."""
    review = _review(out)
    refuse_links(out, overwrite)
    _write(out, links.accepted, overwrite)
    if links.others:
        _write(review, links.others, overwrite)
    return review if links.others else None


def refuse_links(out: Path, overwrite: bool, inputs: Sequence[Path | None] = ()) -> None:
    """Raise KgrecError if the links cannot be written: see `refuse_existing`."""
    for path in (out, _review(out)):
        refuse_existing(path, overwrite, LINKS_FILE, inputs)


def _review(out: Path) -> Path:
    return out.with_name(f"{out.stem}-review{out.suffix}")


def add_to_recipe(recipe: Path, links: Links, file: str) -> bool:
    """Write the links into a recipe file that has none; the rest of it stays as it is. Returns whether it was done."""
    text = recipe.read_text(encoding="utf-8")
    if Recipe.load(recipe).links:
        return False
    with whole(recipe, overwrite=True) as draft:
        draft.write_text(f"{text.rstrip()}\n\n{links.recipe_part(file)}", encoding="utf-8")
    return True


def file_in_recipe(out: Path, data: Path) -> str:
    """How a recipe names a file: relative to the data folder where it is in it, else whole."""
    path = os.path.relpath(out.absolute(), data.absolute())
    return str(out.absolute()) if path.startswith("..") else path


def _write(path: Path, rows: Sequence[Row], overwrite: bool) -> None:
    with whole(path, overwrite, LINKS_FILE) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        for row in rows:
            second = f"{row.runner_up_score:.4f}" if row.runner_up else ""
            found = (row.id, row.label, row.entity, row.entity_label, f"{row.score:.4f}")
            writer.writerow([*found, row.runner_up, row.runner_up_label, second, row.by])


def _labelled(graph: Graph, node_type: str) -> tuple[list[str], list[str]]:
    """The ids and labels of nodes that have a label. Raises KgrecError where none has."""
    vocabulary = graph.vocabulary[node_type]
    ids, labels = vocabulary.id_array.to_pylist(), vocabulary.label_array
    if labels is None or labels.null_count == len(labels):
        raise KgrecError(
            f"no {node_type} has a label, so there is nothing to look for; name the column of titles as `label` of its "
            "table in `nodes`"
        )
    return ids, [label or "" for label in labels.to_pylist()]


@dataclass(frozen=True, eq=False)
class _Source:
    """The facts of a source of a recipe, with names and dates as values."""

    facts: Facts
    labels: Sequence[str]  #: predicates of names
    dates: Sequence[str]  #: and of years
    texts: Sequence[str]  #: and of descriptions
    language: Sequence[str]


def _all_facts(
    recipe: Recipe, folder: Path, options: LinkOptions, links: Sequence[Link], texts: Sequence[str]
) -> Iterator[_Source]:
    """The facts of all sources. links: those by a predicate, whose values are wanted too. texts: predicates of
    descriptions."""
    bad_rows, dates = BadRows(recipe.on_bad_rows), (*options.dates, *DATES)
    for source in recipe.rdf:
        labels = [*map(source.term, source.labels), *options.labels, *LABELS]
        also = [link.term(source) for link in links]
        wider = source.model_copy(update={"include": _included(source), "exclude": [], "types": {}, "literals": {}})
        yield _Source(read_rdf(wider, folder, [*labels, *dates, *texts, *also]), labels, dates, texts, source.language)
    for table in recipe.triples:
        labels = [*_label_relations(table, folder, bad_rows), *options.labels, *LABELS]
        also = [link.term(table) for link in links]
        opened = table.model_copy(update={"include": None, "exclude": [], "literals": {}})
        facts = read_triples(opened, folder, bad_rows, [*labels, *dates, *texts, *also])
        yield _Source(facts, labels, dates, texts, table.language)


def _included(source: RdfSource) -> list[str] | None:
    """What a recipe includes, and what says that two entities are the same."""
    return None if source.include is None else [*source.include, *SAME]


def _label_relations(table: Triples, folder: Path, bad_rows: BadRows) -> list[str]:
    """The relations of a table of triples whose tails are names."""
    column = Ids(table.relation)
    found = read_table(table, table.file, [column], folder, bad_rows)[column].dictionary.to_pylist()
    return [*table.labels, *(name for name in found if name.rpartition(".")[2].casefold() in PLAIN_LABELS)]


def _texts(graph: Graph, node_type: str) -> list[str]:
    """What columns of texts say of each node, "" for nothing."""
    columns = [
        feature.to_arrow().to_pylist()
        for feature in graph.features.get(node_type, {}).values()
        if feature.schema.kind == "text"
    ]
    return [" ".join(filter(None, found)) for found in zip(*columns)] or [""] * len(graph.range(node_type))


def _headed(labels: Sequence[str], texts: Sequence[str]) -> list[str]:
    """Texts with the label before each."""
    return [f"{label}. {text}".strip(". ") for label, text in zip(labels, texts)]


def _years(graph: Graph, node_type: str) -> list[frozenset[int]]:
    """The years that columns of nodes say, such as `year` and `release_date`."""
    number = len(graph.range(node_type))
    years: list[set[int]] = [set() for _ in range(number)]
    for name, feature in graph.features.get(node_type, {}).items():
        if not any(word in name.casefold() for word in YEAR_COLUMNS):
            continue
        if feature.schema.kind == "numeric":
            for place, value in enumerate(feature.values.tolist()):
                if value == value and value in YEARS:
                    years[place].add(int(value))
        elif feature.schema.kind in ("categorical", "text"):
            for place, text in enumerate(feature.to_arrow().to_pylist()):
                years[place].update(years_in(text or "")[:1])
    return [frozenset(found) for found in years]


def _known(
    options: LinkOptions,
    link: Link | None,
    recipe: Recipe,
    folder: Path,
    ids: Sequence[str],
    entities: Entities,
    parts: Sequence[_Source],
) -> tuple[np.ndarray, dict[str, str]]:
    """The entity of each node as far as it is known, int64 [I]: -1: not known, -2: one that has no name; and the
    entities by id."""
    found: dict[str, str] = {}
    if link is not None and link.template is not None:
        found = {name: link.template.replace("{id}", name) for name in ids}
    elif link is not None and link.value_predicate is not None:
        table = None if link.value_of is None else linked_pairs(link, folder, BadRows())
        for part, source in zip(parts, [*recipe.rdf, *recipe.triples]):
            of, values = ids_of(part.facts, link.term(source))
            if table is not None:
                of, values = joined(*table, of, values)
            found |= dict(zip(values.to_pylist(), of.to_pylist()))
    elif link is not None:
        found = _pairs_in(link, folder)
    if options.known is not None:
        told = _pairs_in(Link(file=[str(options.known.absolute())]), folder)
        unknown = sorted(told.keys() - set(ids))
        if len(unknown) == len(told):
            raise KgrecError(
                f"{options.known} names no node of the recipe; found {some(unknown, 3)}, "
                f"and ids there are such as {some(ids, 3)}"
            )
        found |= told
    place = {name: number for number, name in enumerate(entities.ids)}
    is_template = link is not None and link.template is not None
    missing = -1 if is_template else -2  # a template says of every node what its IRI would be
    return np.array([place.get(found[name], missing) if name in found else -1 for name in ids], np.int64), found


def _pairs_in(link: Link, folder: Path) -> dict[str, str]:
    ids, entities = linked_pairs(link, folder, BadRows())
    return dict(zip(ids.to_pylist(), entities.to_pylist()))


def _threshold(options: LinkOptions, matches: Matches, known: np.ndarray) -> tuple[float, float | None, float | None]:
    """The score from which pairs are accepted, and what precision and recall known pairs have there."""
    there = known >= 0
    threshold = threshold_of(matches, known, options.precision) if options.threshold is None else options.threshold
    if not there.any():
        return threshold, None, None
    accepted = there & (matches.entity >= 0) & (matches.score >= threshold)
    right = accepted & (matches.entity == known)
    precision = float(right.sum() / accepted.sum()) if accepted.any() else None
    return threshold, precision, float(right.sum() / there.sum())


def _links(
    node_type: str,
    ids: Sequence[str],
    labels: Sequence[str],
    entities: Entities,
    matches: Matches,
    known: np.ndarray,
    said: Mapping[str, str],
    threshold: float,
    quality: tuple[float | None, float | None],
) -> Links:
    accepted, others, unlike = list[Row](), list[Row](), 0

    def named(number: int) -> tuple[str, str]:
        return (entities.ids[number], entities.labels[number]) if number >= 0 else ("", "")

    for place, name in enumerate(ids):
        number, score, by = int(matches.entity[place]), float(matches.score[place]), "name"
        if known[place] >= 0:
            number, score, by = int(known[place]), 1.0, "known"
        elif known[place] == -2:
            accepted.append(Row(name, labels[place], said[name], "", 1.0, "", "", 0.0, "known"))
            continue
        elif number < 0:
            unlike += 1
            continue
        second = named(int(matches.runner_up[place])), float(matches.runner_up_score[place])
        row = Row(name, labels[place], *named(number), score, *second[0], second[1], by)
        (accepted if by == "known" or score >= threshold else others).append(row)
    return Links(
        node_type,
        accepted,
        others,
        unlike,
        len(entities),
        entities.unnamed,
        threshold,
        int((known >= 0).sum()),
        *quality,
    )

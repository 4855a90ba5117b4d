"""Every problem of a recipe and its files: the build's own steps, which go on where a build stops."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from kgrec.errors import KgrecError, some
from kgrec.graph.schema import clean_name
from kgrec.sources.building.graph_builder import Drafts
from kgrec.sources.building.interactions import add_interactions
from kgrec.sources.building.links import EntityNodes, add_facts
from kgrec.sources.building.literals import add_literals
from kgrec.sources.building.node_vectors import place_vectors
from kgrec.sources.building.nodes import NodeRows, place_node_rows, read_node_tables
from kgrec.sources.building.published_splits import given_candidates, given_splits
from kgrec.sources.building.relation_names import RelationNames
from kgrec.sources.building.report import BuildReport
from kgrec.sources.building.triple_tables import read_triples
from kgrec.sources.checking.findings import Problem, Severity, problem_of, problems_of
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.reading import read_rdf
from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import Problems
from kgrec.sources.tables.images import image_files


def check_recipe(path: Path, data: Path | None) -> list[Problem]:
    """All that is wrong with a recipe and its files, and notes on what a build leaves out or adds."""
    try:
        recipe = Recipe.load(path)
    except KgrecError as error:
        return problems_of(error, str(path), "bad recipe")
    folder = data if data is not None else Path(recipe.data)
    if not folder.is_dir():
        return [Problem(str(path), f"{folder} is no folder; say where the files are with --data", "missing file")]
    check = _RecipeCheck(path, recipe, folder)
    check.tables()
    check.knowledge()
    check.notes()
    return check.problems


class _RecipeCheck:
    """Takes the steps of a build. A step that fails is noted, and the others go on with what there is."""

    def __init__(self, path: Path, recipe: Recipe, folder: Path) -> None:
        self.path, self.recipe, self.folder = path, recipe, folder
        self.problems: list[Problem] = []
        self.rows = Problems("report")
        self.drafts, self.report = Drafts(), BuildReport(recipe.name)
        self.is_complete = True  #: whether all steps went well
        self.listed: dict[str, int] = {}  #: node types with tables -> how many nodes these list

    def _say(self, what: str, kind: str, value: str | None = None, severity: Severity = "error") -> None:
        self.problems.append(Problem(str(self.path), what, kind, severity, value=value))

    @contextmanager
    def _step(self, files: Sequence[str]) -> Iterator[None]:
        """What fails in here is a problem of these files; bad rows are taken over, too."""
        known, failed = len(self.rows.lines), list[Problem]()
        severity: Severity = "note" if self.recipe.on_bad_rows == "report" else "error"
        try:
            yield
        except KgrecError as error:
            self.is_complete = False
            failed = problems_of(error, ", ".join(files) or str(self.path))
        rows = [problem_of(line, ", ".join(files), "bad row", severity) for line in self.rows.lines[known:]]
        said = {(problem.line, problem.message) for problem in rows}  # a step may repeat its bad rows when it fails
        self.problems += rows + [problem for problem in failed if (problem.line, problem.message) not in said]

    def tables(self) -> None:
        """Node tables, interactions, splits and candidate lists."""
        rows, unread = self._node_tables()
        nodes = {
            name: part.model_copy(update={"complete": False}) if name in unread else part
            for name, part in self.recipe.nodes.items()
        }
        for table in self.recipe.interactions:
            files = [*table.file, *(name for names in table.parts.values() for name in names)]
            only = {"nodes": nodes, "interactions": [table], "target": self.recipe.target_type}
            alone = self.recipe.model_copy(update=only)
            with self._step(files):
                add_interactions(alone, self.folder, self.rows, self.drafts, self.report)
                self._repeated(table, files)
        if self.recipe.target_type in self.drafts.edges:
            self._given()
        place_node_rows(rows, self.drafts, self.report)
        self._vectors(rows)

    def _vectors(self, rows: list[NodeRows]) -> None:
        """Matrices, and folders of images, which are not looked into."""
        for node_type, part in self.recipe.nodes.items():
            for name, file in part.vectors.items():
                with self._step([file.file]):
                    place_vectors(node_type, name, file, self.folder, rows, self.drafts)
            for images in part.images.values():
                with self._step([images.folder]):
                    image_files(self.folder / images.folder)

    def _node_tables(self) -> tuple[list[NodeRows], set[str]]:
        """The rows of each table, and the node types of which one could not be read."""
        read: list[NodeRows] = []
        unread = set()
        for name, nodes in self.recipe.nodes.items():
            for table in nodes.tables:
                alone = self.recipe.model_copy(update={"nodes": {name: nodes.model_copy(update={"tables": [table]})}})
                before = len(read)
                with self._step(table.file):
                    read += read_node_tables(alone, self.folder, self.rows, self.drafts)
                if len(read) == before:
                    unread.add(name)
            if nodes.tables and not nodes.only_interacted:
                self.listed[name] = len(self.drafts.of(name, nodes.iri))
        return read, unread

    def _repeated(self, table: Interactions, files: list[str]) -> None:
        if table.duplicates != "keep":
            return
        for relation in table.relation_names:
            edges = self.drafts.edges[(table.between[0], relation, table.between[1])]
            pair = edges.source * len(self.drafts.of(table.between[1])) + edges.target
            repeated = len(pair) - len(np.unique(pair))
            if repeated:
                what = f"{repeated:,} rows repeat a user and item of {relation!r}; all are kept: say `duplicates:` else"
                self.problems.append(Problem(", ".join(files), what, "duplicate", "note"))

    def _given(self) -> None:
        for name, split in self.recipe.splits.items():
            alone = self.recipe.model_copy(update={"splits": {name: split}})
            with self._step([*split.train, *split.valid, *split.test]):
                given_splits(alone, self.folder, self.rows, self.drafts, self.report)
        for name, given in self.recipe.candidates.items():
            alone = self.recipe.model_copy(update={"candidates": {name: given}})
            with self._step([given.file]):
                given_candidates(alone, self.folder, self.drafts)

    def knowledge(self) -> None:
        """Links and facts."""
        entities = EntityNodes(self.drafts)
        for node_type, link in self.recipe.links.items():
            with self._step(link.file):
                entities.link(node_type, link, self.folder, self.rows, self.report)
        names = RelationNames(taken={relation for _, relation, _ in self.drafts.edges})
        for options, facts in self._facts():
            self._unknown_names(options, facts)
            self._several_types(options, facts)
            self._wrong_links(options, facts, entities)
            with self._step([]):
                names.add(facts.edges, options)
                places = entities.place(facts, options)
                add_facts(facts, places, entities.types(), names, self.drafts)
                add_literals(facts, options, places, entities.types(), self.drafts, self.report)
            for why, count in facts.skipped.items():
                self.report.drop(why, count)

    def _facts(self) -> Iterator[tuple[FactOptions, Facts]]:
        for source in self.recipe.rdf:
            facts = self._rdf(source)
            if facts is not None:
                yield source, facts
        for table in self.recipe.triples:
            facts = None
            with self._step(table.file):
                facts = read_triples(table, self.folder, self.rows)
            if facts is not None:
                yield table, facts

    def _rdf(self, source: RdfSource) -> Facts | None:
        """The facts of a source; where it cannot be read, each of its files by itself, to say all that is wrong."""
        try:
            return read_rdf(source, self.folder)
        except KgrecError as error:
            self.is_complete = False
            if source.query or len(source.files) < 2:
                self.problems += problems_of(error, ", ".join(source.files) or str(source.endpoint), "bad RDF")
                return None
        for name in source.files:
            try:
                read_rdf(source.model_copy(update={"files": [name]}), self.folder)
            except KgrecError as error:
                self.problems += problems_of(error, name, "bad RDF")
        return None

    def _unknown_names(self, options: FactOptions, facts: Facts) -> None:
        found = [*facts.edges, *facts.literals]
        named = [*(options.include or ()), *options.names, *options.labels, *options.literals, *options.inverse_of]
        for name in dict.fromkeys([*named, *options.inverse_of.values()]):
            if not any(options.matches(predicate, [name]) for predicate in found):
                by_short_name = {clean_name(predicate): predicate for predicate in found}
                near = get_close_matches(clean_name(options.expanded(name)), by_short_name, n=1)
                hint = f"did you mean {by_short_name[near[0]]!r}?" if near else "mend the name, or take it away"
                self._say(f"predicate {name!r} is in no fact; {hint}", "unknown predicate", name)
        for name in options.types:
            if options.expanded(name) not in facts.types:
                self._say(
                    f"class {name!r} has no instance; mend the name, or take it away", "unknown class", name, "note"
                )

    def _several_types(self, options: FactOptions, facts: Facts) -> None:
        types, is_of = _types_of(options, facts)
        several = np.flatnonzero(is_of.sum(axis=0) > 1)
        if len(several):
            first = facts.resources[int(several[0])].as_py()
            of = [name for name, members in zip(types, is_of) if members[several[0]]]
            what = f"{len(several):,} entities are of several of `types`, such as {first!r}: {', '.join(of)}"
            self._say(f"{what}; the first is taken", "type clash", first, "note")

    def _wrong_links(self, options: FactOptions, facts: Facts, entities: EntityNodes) -> None:
        types, is_of = _types_of(options, facts)
        for node_type, (number, entity, _) in entities.linked.items():
            found = pc.index_in(entity.cast(pa.string()), value_set=facts.resources.cast(pa.string()))
            position = pc.fill_null(found, -1).to_numpy(zero_copy_only=False)
            known = np.flatnonzero(position >= 0)
            of_own = is_of[types.index(node_type)] if node_type in types else np.zeros(len(facts.resources), bool)
            wrong = known[(is_of.sum(axis=0) > 0)[position[known]] & ~of_own[position[known]]]
            if len(wrong):
                node = self.drafts.of(node_type).ids[int(number[wrong[0]])].as_py()
                iri = entity[int(wrong[0])].as_py()
                other = types[int(is_of[:, position[wrong[0]]].argmax())]
                what = f"{len(wrong):,} {node_type} links are to entities of another type, such as {node!r} to {iri!r}"
                self._say(f"{what}, which is a {other}; mend the link or `types`", "type clash", iri)

    def notes(self) -> None:
        """What a build leaves out or adds, and nodes without edges; these only where every step went well."""
        if self.rows.count > len(self.rows.lines):
            self._say(f"{self.rows.count - len(self.rows.lines):,} more bad rows are not shown", "bad row")
        for why, count in self.report.dropped.items():
            self._say(f"left out: {count:,} {why}", "left out", severity="note")
        for name, count in self.listed.items():
            more = len(self.drafts.of(name)) - count
            if more:
                what = f"{more:,} {name} ids are in no table of theirs; nodes are added: say `complete: true` to refuse"
                self._say(what, "dangling id", self.drafts.of(name).ids[count].as_py(), "note")
        if self.is_complete:
            self._isolated()

    def _isolated(self) -> None:
        has_edge = {name: np.zeros(len(draft), bool) for name, draft in self.drafts.nodes.items()}
        for (source, _, target), edges in self.drafts.edges.items():
            has_edge[source][edges.source] = True
            has_edge[target][edges.target] = True
        for name, touched in has_edge.items():
            ids = self.drafts.of(name).ids.filter(pa.array(~touched)).to_pylist()
            if ids:
                what = f"{len(ids):,} of {len(touched):,} {name} nodes have no edge: {some(ids)}"
                self._say(what, "isolated node", ids[0], "note")


def _types_of(options: FactOptions, facts: Facts) -> tuple[list[str], np.ndarray]:
    """The node types of `types`, and bool [types, resources]: which resources are of each."""
    types = list(dict.fromkeys(options.types.values()))
    is_of = np.zeros((len(types), len(facts.resources)), bool)
    for name, node_type in options.types.items():
        is_of[types.index(node_type), facts.types.get(options.expanded(name), [])] = True
    return types, is_of

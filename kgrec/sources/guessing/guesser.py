"""Puts a recipe together: interactions first, then nodes, edges and knowledge."""

from __future__ import annotations

import os
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from kgrec.errors import KgrecError, unknown_name
from kgrec.sources.guessing.column_words import has_role
from kgrec.sources.guessing.commented_recipe import CommentedRecipe
from kgrec.sources.guessing.folder_tables import FolderTables
from kgrec.sources.guessing.interaction_choice import Interactions, interactions_in
from kgrec.sources.guessing.interaction_words import put_interactions, put_splits
from kgrec.sources.guessing.key_search import ProfiledTable
from kgrec.sources.guessing.knowledge_choice import KnowledgeChooser
from kgrec.sources.guessing.node_choice import NodeChooser, NodeTableChoice
from kgrec.sources.guessing.prepared_events import EventMaker, Making, possible_join, possible_lists
from kgrec.sources.guessing.published_files import FoundSplits, PublishedFiles, find_splits
from kgrec.sources.guessing.questions import Choices, Question
from kgrec.sources.guessing.rdf_events import RdfEvents, events_in
from kgrec.sources.guessing.rdf_profile import RdfProfile, read_profile

NEAR = 0.6  #: difference of scores below which two tables are as likely
ROLES = ("user", "item", "time", "weight", "behaviour")


class Guesser:
    """Guesses the recipe of a folder whose tables have been read."""

    def __init__(self, folder: FolderTables, out: Path, choices: Choices) -> None:
        self.folder, self.out, self.choices = folder, out, choices
        self.result = CommentedRecipe()
        self.maker = EventMaker(folder)
        self.sources: list[ProfiledTable] = []  # tables that the interactions were made from
        self.profile: RdfProfile | None = None
        self.knowledge: KnowledgeChooser | None = None
        self.facts: RdfEvents | None = None  # where the interactions are facts
        self.candidates: dict[str, str] = {}  # other tables that could hold interactions
        self.found: FoundSplits = find_splits(folder.tables, folder.left_out)

    def recipe(self) -> CommentedRecipe:
        """The recipe. Raises KgrecError where no table holds interactions, or two may be the one."""
        recipe, folder = self.result, self.folder
        recipe.path = str(self.out)
        folder.progress(f"{len(folder.tables)} tables, {len(folder.rdf)} files of RDF")
        self.profile = read_profile(folder.rdf, folder.left_out)
        data = os.path.relpath(folder.folder.absolute(), self.out.parent.absolute())
        recipe.header = [
            "yaml-language-server: $schema=https://raw.githubusercontent.com/kgrec/kgrec/main/kgrec/recipe.schema.json",
            f"Written by kgrec init (kgrec {version('kgrec')}). A comment says why a line is so; change what is wrong.",
        ]
        recipe.put("name", value=folder.folder.resolve().name or "data")
        recipe.put("data", value=Path(data).as_posix())
        why = "rows that cannot be read are counted and left out; error: they stop the build"
        recipe.put("on_bad_rows", value="report", because=why)
        events = self._interactions()
        chooser = NodeChooser(recipe, [t for t in self.found.tables if t is not events.table], events)
        chooser.used += self.sources
        chooser.find()
        split = next((s for s in self.found.splits if s.is_whole and s.table is events.table), None)
        put_interactions(recipe, events, split, self.choices)
        if self.facts is not None:
            recipe.put("interactions", "relation", value=self.facts.relation)
            recipe.put("links", "user", value={"template": "{id}"}, because="users are resources of the RDF")
        self._add_nodes_of_events(chooser, events)
        chooser.put()
        self._add_lists(chooser, events)
        self.knowledge = knowledge = KnowledgeChooser(recipe, chooser, self.found.tables)
        if self.profile is not None:
            knowledge.put_rdf(self.profile, self.facts.predicates if self.facts is not None else ())
        knowledge.put_triples()
        chooser.put_edge_lists()
        self._set_target(events)
        put_splits(recipe, events, self.found.splits)
        self._note_rest(chooser, events)
        order(recipe)
        return recipe

    def _interactions(self) -> Interactions:
        """The table of interactions, made from others where that is needed."""
        tables = self.found.tables
        candidates: list[tuple[Interactions, Making | None]] = []
        named = self._named_table()
        for table in tables if named is None else [named]:
            chosen = {
                key: value for key, value in self.choices.chosen.items() if value in table.columns or value == "none"
            }
            direct = interactions_in(table, tables, chosen)
            making = self._making(table, direct)
            if making is not None:
                candidates.append((making.events, making))
            elif direct is not None:
                candidates.append((direct, None))
        if not candidates:
            self.facts = events_in(self.profile) if self.profile is not None and named is None else None
            if self.facts is None:
                raise self._none_found(named)
            return self.facts.events
        candidates.sort(key=lambda pair: -pair[0].score)
        events, making = self._chosen(candidates)
        self._check_columns(events.table if making is None else None)
        if making is not None:
            self.folder.progress(f"making a table of {events.name}")
            self.sources = [events.table, *([making.reference.table] if making.reference is not None else [])]
            events = self._made(making, events)
        else:
            filled = self.maker.filled(events)
            if filled is not None:
                self.sources = [events.table]
                events = self._again(filled, events)
        return events

    def _making(self, table: ProfiledTable, direct: Interactions | None) -> Making | None:
        """How interactions could be made from a table where that is better than to read it as it is."""
        tables = self.found.tables
        if direct is None or (has_role(direct.user.name, "group") and not has_role(direct.user.name, "user")):
            joined = possible_join(table, tables, self.choices.chosen)
            if joined is not None:
                return joined
        lists = possible_lists(table, tables) if direct is None or not table.sample.has_header else None
        return lists if direct is None or (lists is not None and lists.has_clicks) else None

    def _made(self, making: Making, events: Interactions) -> Interactions:
        table = self.maker.make(making)
        item = "item" if making.kind == "lists" else events.item.name
        return self._again(table, events, item)

    def _again(self, table: ProfiledTable, before: Interactions, item: str | None = None) -> Interactions:
        """The interactions in a table that was made, with the evidence of those that it was made from."""
        chosen = {"user": before.user.name, "item": item or before.item.name}
        chosen |= {
            key: value for key, value in self.choices.chosen.items() if value in table.columns or value == "none"
        }
        found = interactions_in(table, self.found.tables, chosen)
        if found is None:
            raise KgrecError(
                f"{before.name} has no interactions that could be read; name a file with --set interactions="
            )
        found.because |= before.because
        return found

    def _named_table(self) -> ProfiledTable | None:
        """The table that --set interactions names. Raises UnknownName where there is none."""
        name = self.choices.chosen.get("interactions")
        if name is None:
            return None
        by_name = {table.name: table for table in self.found.tables}
        short = {table.name.rpartition("/")[2]: table for table in self.found.tables}
        origins = {origin: table for table in self.found.tables if (origin := table.sample.origin)}
        found = by_name.get(name) or short.get(name) or short.get(f"{name}.parquet")
        found = found or next((table for origin, table in origins.items() if name in origin.split()), None)
        if found is None:
            raise unknown_name("table", name, by_name, f"in {self.folder.folder}")
        return found

    def _check_columns(self, table: ProfiledTable | None) -> None:
        """Raises UnknownName where --set names a column that the table of interactions does not have."""
        for role in ROLES if table is not None else ():
            value = self.choices.chosen.get(role)
            if value is not None and value != "none" and table is not None and value not in table.columns:
                raise unknown_name("column", value, table.columns, f"in {table.name}, for --set {role}")

    def _chosen(self, candidates: Sequence[tuple[Interactions, Making | None]]) -> tuple[Interactions, Making | None]:
        """The likeliest candidate, or the one that is chosen where others are as likely."""
        best = candidates[0][0]
        near = [pair for pair in candidates if pair[0].score > best.score - NEAR]
        if len(near) > 1:
            options = {
                events.name: f"{events.user.name} -> {events.item.name}, {events.table.sample.estimated:,} rows"
                for events, _ in near
            }
            question = Question("interactions", f"{len(near)} tables could hold the interactions", options)
            name = self.choices.answer(question)
            return next((pair for pair in near if pair[0].name == name), candidates[0])
        for role in ("user", "item"):
            rivals = best.rivals.get(role, [])
            if rivals and candidates[0][1] is None:
                self._ask_column(best, role, rivals)
        for other, _ in [pair for pair in candidates[1:4] if pair[0].score > best.score - 4]:
            what = f"{other.user.name} -> {other.item.name}"
            self.candidates[other.table.shown] = "could hold interactions, but another file is likelier to"
            self.result.remarks.append(
                f"{other.name} could hold interactions too ({what}): --set interactions={other.name}"
            )
        return candidates[0]

    def _ask_column(self, events: Interactions, role: str, rivals: Sequence[object]) -> None:
        columns = {one.name: one for one in (getattr(events, role), *rivals)}
        options = {name: f"{len(c.distinct):,} different values, such as {c.few[0]}" for name, c in columns.items()}
        question = Question(role, f"{len(columns)} columns of {events.name} could be the {role}", options)
        name = self.choices.answer(question)
        if name in columns:
            setattr(events, role, columns[name])

    def _none_found(self, named: ProfiledTable | None) -> KgrecError:
        """The error where no table holds interactions: what there is, and what is needed."""
        seen = []
        for table in [named] if named is not None else self.folder.tables[:8]:
            columns = ", ".join([*table.columns][:8])
            seen.append(f"  {table.name}: {table.sample.estimated:,} rows with {columns}")
        if len(self.folder.tables) > 8 and named is None:
            seen.append(f"  and {len(self.folder.tables) - 8} more tables")
        if self.profile is not None and named is None:
            files = ", ".join(file.name for file in self.profile.files[:5])
            seen.append(f"  {files}: RDF, {self.profile.seen()}")
        if not seen:
            seen = [f"  {name}: {why}" for name, why in list(self.folder.left_out.items())[:8]]
        where = named.name if named is not None else str(self.folder.folder)
        return KgrecError(
            "\n".join(
                [
                    f"no table in {where} has a row for each thing that a user did with an item (a rating, a view, a "
                    "purchase), with a column of users and one of items; there are:",
                    *seen,
                    "If one of them is such a table, name it: "
                    "--set interactions=FILE --set user=COLUMN --set item=COLUMN",
                ]
            ),
            kind="no interactions",
        )

    def _add_nodes_of_events(self, chooser: NodeChooser, events: Interactions) -> None:
        """What a table of interactions says about its items or users becomes a table of them, where there is none."""
        used = {c.name for c in (getattr(events, role) for role in ROLES) if c is not None}
        for role in ("item", "user"):
            if chooser.chosen.get(role) or events.table.sample.parts or self.facts is not None:
                continue
            made = self.maker.nodes(events, role, used)
            if made is not None:
                used |= {*made.columns}
                chooser.used.append(made)
                key = made.columns["id"]
                why = f"each {getattr(events, role).name} of {events.table.shown} once"
                chooser.chosen[role] = [NodeTableChoice(made, key, why)]

    def _add_lists(self, chooser: NodeChooser, events: Interactions) -> None:
        """JSON objects {id: [values]} about items."""
        for table in self.found.tables:
            if table.sample.form.get("format") != "json_lists" or table in chooser.used:
                continue
            ids, item = table.columns["id"], events.item
            known = set(item.distinct.to_pylist())
            share = sum(one in known for one in ids.distinct.to_pylist()) / max(1, len(ids.distinct))
            if share > 0.5 and "item" not in self.result.values.get("nodes", {}):
                edges = {"has_attribute": {"column": "values", "to": "attribute"}}
                part = {"file": table.sample.file, "format": "json_lists", "id": "id", "edges": edges}
                self.result.put("nodes", "item", value=part | {"only_interacted": True})
                why = f"{share:.1%} of its ids are items of {events.table.shown}"
                self.result.because["nodes", "item", "id"] = why
                chooser.used.append(table)

    def _set_target(self, events: Interactions) -> None:
        """The relation to recommend: the most frequent one, unless another is chosen."""
        part = self.result.values["interactions"]
        if "relations" not in part:
            self.result.put("target", value=part["relation"])
            return
        relations = [name for name in part["relations"]["values"].values() if name is not None]
        chosen = self.choices.chosen.get("target")
        if chosen is not None and chosen not in relations:
            raise unknown_name("relation", chosen, relations, "for --set target")
        others = ", ".join(dict.fromkeys(name for name in relations[1:] if name != relations[0]))
        why = "as chosen" if chosen else f"the most frequent; the others are read as well: {others}"
        self.result.put("target", value=chosen or relations[0], because=why)

    def _note_rest(self, chooser: NodeChooser, events: Interactions) -> None:
        """Files that nothing was found for."""
        parts: list[PublishedFiles] = self.found.splits
        used = {table.name for table in chooser.used} | {t.name for split in parts for t in split.parts.values()}
        for table in self.found.tables:
            if table.name not in used and table.sample.size and not table.sample.origin.startswith("made"):
                why = self.candidates.get(table.shown)
                self.folder.left_out.setdefault(table.shown, why or "nothing in it refers to the users or items")
        self.result.left_out |= {**self.folder.left_out, **chooser.left_out}


def order(recipe: CommentedRecipe) -> None:
    """The keys in the order in which recipes are written."""
    first = ("name", "about", "data", "on_bad_rows", "nodes", "interactions", "edges", "links")
    names = (*first, "rdf", "triples", "target", "standard", "splits")
    recipe.values = {key: recipe.values[key] for key in names if key in recipe.values}

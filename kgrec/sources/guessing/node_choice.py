"""Which tables describe users and items, which list the nodes of other types, and which are edge lists."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from kgrec.graph.schema import clean_name, free_name
from kgrec.sources.guessing.column_profile import Column
from kgrec.sources.guessing.column_words import has_role, is_identifier, singular, words_of
from kgrec.sources.guessing.commented_recipe import CommentedRecipe
from kgrec.sources.guessing.interaction_choice import Interactions
from kgrec.sources.guessing.interaction_words import form_of, rename_columns
from kgrec.sources.guessing.key_search import ProfiledTable, Reference, overlap, references
from kgrec.sources.guessing.node_columns import ColumnChooser, NodeColumns, flag_names, label_of

OTHER = {"user": "item", "item": "user"}


@dataclass(frozen=True)
class NodeTableChoice:
    """A table of nodes: its key, and why it is one."""

    table: ProfiledTable
    key: Column
    because: str


class NodeChooser:
    """Finds the tables of nodes and edges, and writes `nodes` and `edges`. used: tables that are in the recipe."""

    def __init__(self, recipe: CommentedRecipe, tables: Sequence[ProfiledTable], events: Interactions) -> None:
        self.recipe, self.tables, self.events = recipe, tables, events
        self.used: list[ProfiledTable] = [events.table]
        self.types = {"user", "item"}
        self.chosen: dict[str, list[NodeTableChoice]] = {}
        self.left_out: dict[str, str] = {}

    def find(self) -> None:
        """Find the tables of users and items."""
        for role in ("item", "user"):
            key = getattr(self.events, role)
            found = []
            for reference in self._references(key, role):
                if reference.table in self.used or self._is_link(reference.table) or self._joins_two(reference, role):
                    continue
                self.used.append(reference.table)
                found.append(NodeTableChoice(reference.table, reference.key, reference.because))
            self.chosen[role] = found

    def _references(self, key: Column, role: str) -> list[Reference]:
        """Tables with the ids of users or items, those named like it first, each once."""
        found: dict[ProfiledTable, Reference] = {}
        for one in references(key, [table for table in self.tables if table not in self.used]):
            named = one.table.has_role(role)
            if one.table.has_role(OTHER[role]) and not named:
                continue
            if not named and not one.is_named and one.share < 0.9 and not one.table.sample.is_whole:
                continue
            found.setdefault(one.table, one)
        best = sorted(found.values(), key=lambda one: (not one.table.has_role(role), -one.strength))
        if not self.events.table.sample.has_header and role == "user":
            return [one for one in best if one.table.has_role("user") or not one.table.has_role("item")]
        return best

    @staticmethod
    def _joins_two(reference: Reference, role: str) -> bool:
        """Whether a table joins two users, or two items: another column has ids of the same role."""
        columns = [c for c in reference.table.columns.values() if c is not reference.key and c.is_key]
        named = [c for c in columns if has_role(c.name, role) and is_identifier(c.name)]
        return any(overlap(c, reference.key)[0] > 0.5 for c in named)

    @staticmethod
    def _is_link(table: ProfiledTable) -> bool:
        """Whether a table joins ids to entities: by its name, or because it has two columns that are both keys."""
        columns = [*table.columns.values()]
        has_label = any(has_role(c.name, "label") for c in columns)
        if len(columns) <= 3 and any(c.is_iri for c in columns) and not has_label:
            return True
        return len(columns) == 2 and all(c.is_unique and c.is_key for c in columns) and table.has_role("link")

    def put(self) -> None:
        """Write the nodes of users and items, and of types that their columns refer to."""
        for role in ("user", "item"):
            if self.chosen.get(role):
                self._put_type(role, self.chosen[role])

    def _put_type(self, role: str, choices: Sequence[NodeTableChoice]) -> None:
        written: list[tuple[NodeTableChoice, NodeColumns, dict[str, object]]] = []
        for number, choice in enumerate(choices):
            found = self._columns(role, choice, any("label" in part for _, _, part in written))
            part = self._table_part(choice)
            named = {key: value for key, value in self._keys(found).items() if value}
            if number and not named:
                self.left_out[choice.table.shown] = "says nothing more about its nodes that a model could use"
            else:
                written.append((choice, found, part | named))
        parts = [part for _, _, part in written]
        self.recipe.put("nodes", role, value=parts[0] if len(parts) == 1 else {"tables": parts})
        for number, (choice, found, _) in enumerate(written):
            self._remember(("nodes", role, *(("tables", str(number)) if len(parts) > 1 else ())), choice, found)
        for _, found, _ in written:
            for node_type, reference in found.new_types.items():
                self._put_other(node_type, reference)

    def _table_part(self, choice: NodeTableChoice) -> dict[str, object]:
        sample = choice.table.sample
        part: dict[str, object] = {"file": sample.file, **form_of(sample), "id": choice.key.name}
        missing = sorted({word for c in choice.table.columns.values() for word in c.missing})
        return part | ({"missing": ["", *missing]} if missing else {})

    @staticmethod
    def _keys(found: NodeColumns) -> dict[str, object]:
        return {"label": found.label, "flags": found.flags, "features": found.features, "edges": found.edges}

    def _columns(self, role: str, choice: NodeTableChoice, has_label: bool) -> NodeColumns:
        table, key = choice.table, choice.key
        others = [one for one in self.tables if one is not table and one is not self.events.table]
        others = [one for one in others if not (one in self.used and one.has_role(role))]
        refers = {c.name: references(c, others) for c in table.columns.values() if c is not key and c.is_key}
        label = None if has_label else label_of([c for c in table.columns.values() if c is not key], table, role)
        names = {key: role} | ({label: "title" if role == "item" else "name"} if label is not None else {})
        rename_columns(table, names)
        found = ColumnChooser(role, refers, self.types).choose(table, key, has_label)
        self._name_flags(table, found)
        for name, why in found.left_out.items():
            self.left_out[f"{table.shown}:{name}"] = why
        return found

    def _name_flags(self, table: ProfiledTable, found: NodeColumns) -> None:
        """Columns of flags are named by a table that lists as many names."""
        for name, columns in found.flags.items():
            flags = [table.columns[one] for one in columns]
            listed = flag_names(flags, self.tables)
            if listed is not None and all(one.startswith("c") for one in columns):
                names, file = listed
                rename_columns(table, dict(zip(flags, names)))
                found.flags[name] = [flag.name for flag in flags]
                found.because["flags",] = f"{len(flags)} neighboring columns of 0 and 1, named by {file}"
                self.used.append(next(one for one in self.tables if one.name == file))

    def _remember(self, place: tuple[str, ...], choice: NodeTableChoice, found: NodeColumns) -> None:
        """Keep the evidence at the place where the table will be written."""
        self.recipe.because[(*place, "id")] = choice.because
        if choice.table.sample.origin:
            self.recipe.because[(*place, "file")] = f"made from {choice.table.sample.origin}"
        for inner, why in found.because.items():
            self.recipe.because[(*place, *inner)] = why

    def _put_other(self, node_type: str, reference: Reference) -> None:
        """A table that lists the nodes of another type."""
        table, key = reference.table, reference.key
        if table in self.used:
            return
        self.used.append(table)
        columns = [c for c in table.columns.values() if c is not key]
        label = label_of(columns, table, node_type) or next((c for c in columns if not c.is_list and c.words < 8), None)
        rename_columns(table, {key: "id"} | ({label: "label"} if label is not None else {}))
        part: dict[str, object] = {"file": table.sample.file, **form_of(table.sample), "id": key.name}
        self.recipe.put("nodes", node_type, value=part | ({"label": label.name} if label is not None else {}))
        self.recipe.because["nodes", node_type, "id"] = reference.because
        if table.sample.origin:
            self.recipe.because["nodes", node_type, "file"] = f"made from {table.sample.origin}"

    def put_edge_lists(self) -> None:
        """Write `edges`: tables with the id of a user or item, and another node, in each row."""
        for table in self.tables:
            if table in self.used or table.sample.is_lists or len(table.columns) > 12 or table.has_role("knowledge"):
                continue
            self._put_edge_list(table)

    def _put_edge_list(self, table: ProfiledTable) -> None:
        ends = {c.name: self._end(c) for c in table.columns.values() if not c.is_list}
        known = [(table.columns[name], end) for name, end in ends.items() if end is not None]
        if not known:
            return
        known.sort(key=lambda pair: pair[1][0] != "item")
        column, (node_type, why) = known[0]
        others = [pair for pair in known[1:] if pair[0] is not column]
        target, end, reference = None, "", None
        same = [pair for pair in others if pair[1][0] == node_type]
        if same:
            target, end = same[0][0], node_type
        else:
            target, end, reference = self._other_end(table, column)
        if target is None:
            return
        relation = free_name(f"has_{end}" if end != node_type else clean_name(table.stem.lower()), self._relations())
        part = {"file": table.sample.file, **form_of(table.sample), "between": [node_type, end]}
        self.recipe.put("edges", relation, value=part | {"source": column.name, "target": target.name}, because=why)
        if table.sample.origin:
            self.recipe.because["edges", relation, "file"] = f"made from {table.sample.origin}"
        self.used.append(table)
        if reference is not None:
            self._put_other(end, reference)

    def _end(self, column: Column) -> tuple[str, str] | None:
        """The node type whose ids a column has, and why; None where it has those of none."""
        for role in ("item", "user"):
            own = getattr(self.events, role)
            for key in [one.key for one in self.chosen.get(role, ())] or [own]:
                fake = ProfiledTable(key.table)
                fake.__dict__["keys"] = [key]
                for one in references(column, [fake]):
                    named = has_role(column.name, role) or one.is_named
                    if named and not (has_role(column.name, OTHER[role]) and not has_role(column.name, role)):
                        return role, one.because
        return None

    def _other_end(self, table: ProfiledTable, column: Column) -> tuple[Column | None, str, Reference | None]:
        """The column of categories, or with the ids of a third table, at the other end of an edge list."""
        candidates = [c for c in table.columns.values() if c is not column and not c.is_list and not c.is_constant]
        for one in candidates:
            if has_role(one.name, "user") or has_role(one.name, "time"):
                continue
            named = [r for r in references(one, self.tables) if r.is_named and r.table not in self.used]
            if named:
                return one, self._type(one.name), named[0]
        plain = [c for c in candidates if c.is_key or c.words < 3]
        plain = [
            c for c in plain if not c.is_number and c.repeats > 1.5 and c.time is None and not has_role(c.name, "user")
        ]
        return (plain[0], self._type(plain[0].name), None) if plain else (None, "", None)

    def _type(self, name: str) -> str:
        words = [word for word in words_of(name) if word not in ("id", "ids", "code", "key")]
        found = free_name(singular(clean_name("_".join(words) or name)), self.types - {clean_name("_".join(words))})
        self.types.add(found)
        return found

    def _relations(self) -> Mapping[str, object]:
        taken = dict.fromkeys(self.recipe.values.get("edges", {}))
        for nodes in self.recipe.values.get("nodes", {}).values():
            for part in nodes.get("tables", [nodes]):
                taken |= dict.fromkeys(part.get("edges", {}))
        return taken

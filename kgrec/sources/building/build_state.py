"""What a build has read and made so far. The steps of the build fill it, one after the other."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from kgrec.errors import Fault, KgrecError
from kgrec.graph import Candidates, Graph
from kgrec.sources.advice import SAY_DATA
from kgrec.sources.building.events import KnownIds
from kgrec.sources.building.graph_builder import GraphBuilder
from kgrec.sources.building.links import EntityNodes
from kgrec.sources.building.literals import LiteralColumns
from kgrec.sources.building.nodes import NodeRows
from kgrec.sources.building.relation_names import RelationNames
from kgrec.sources.building.report import BuildReport
from kgrec.sources.rdf.blank_names import BlankNumbers
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import BadRows


class BuildState:
    """The state of the build of one recipe. data: the folder of its files; default: the recipe's own `data`. Raises
    KgrecError where that is not a folder."""

    def __init__(self, recipe: Recipe, data: Path | str | None, bad_rows: BadRows) -> None:
        self.recipe, self.bad_rows = recipe, bad_rows
        self.is_data_said = data is not None
        self.folder = Path(recipe.data if data is None else data)
        if not self.folder.is_dir():
            advice = (
                "fix --data" if self.is_data_said else f"give the folder with the files of {recipe.name} with --data"
            )
            raise KgrecError(f"{self.folder} is not a folder; {advice}", kind="missing file")
        self.report = BuildReport(recipe.name)
        self.target, self.target_interactions = recipe.target_type, recipe.target_interactions
        self.builder = GraphBuilder()
        self.node_rows: dict[tuple[str, int], NodeRows] = {}  #: by node type and position of the table among its own
        self.listed: dict[str, int] = {}  #: node types -> how many ids their tables list
        self.splits: dict[str, np.ndarray] = {}  #: by name, int8 [target edges]
        self.candidates: dict[str, Candidates] = {}  #: by name
        self.entities = EntityNodes(self.builder)
        self.facts: dict[int, tuple[FactOptions, Facts]] = {}  #: by position among the sources of facts
        self.relation_names: RelationNames | None = None  #: of predicates, from the first that is placed
        self.blank_numbers = BlankNumbers()
        self.literal_columns = LiteralColumns()  #: features from facts
        self.relations_of_facts: set[str] = set()
        self.graph: Graph | None = None  #: from the last step

    def fitting(self, fault: Fault) -> Fault:
        """The same fault, with its file as it is written in the recipe. It does not advise --data where that was
        given."""
        if fault.file is not None and Path(fault.file).is_relative_to(self.folder):
            fault = fault._replace(file=str(Path(fault.file).relative_to(self.folder)))
        if not self.is_data_said:
            return fault
        return fault._replace(message=fault.message.replace(SAY_DATA, "the folder given with --data"))

    def kept_recipe(self) -> Recipe:
        """The recipe with what its files have beside what it reads."""
        nodes = {
            node_type: part.model_copy(
                update={
                    "tables": [
                        table.model_copy(update={"unread": list(rows.unread)}) if rows is not None else table
                        for position, table in enumerate(part.tables)
                        for rows in [self.node_rows.get((node_type, position))]
                    ]
                }
            )
            for node_type, part in self.recipe.nodes.items()
        }
        return self.recipe.model_copy(update={"nodes": nodes})

    def known_ids(self, between: tuple[str, str]) -> tuple[KnownIds | None, KnownIds | None]:
        """The ids that are allowed for these two node types. None: any id is allowed, because the recipe does not say
        `complete: true`, or because one of the type's tables could not be read."""
        return self.known_ids_of(between[0]), self.known_ids_of(between[1])

    def known_ids_of(self, node_type: str) -> KnownIds | None:
        """The ids that are allowed for one node type, as in `known_ids`."""
        nodes = self.recipe.nodes.get(node_type)
        if nodes is None or not nodes.complete:
            return None
        if any((node_type, position) not in self.node_rows for position in range(len(nodes.tables))):
            return None
        files = ", ".join(name for table in nodes.tables for name in table.file)
        return KnownIds(self.builder.nodes_of(node_type).ids, files)

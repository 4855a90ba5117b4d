"""A recipe, read from YAML: it says what the columns and predicates of a data set's files mean.

A recipe names the tables that list nodes, the file with interactions, and which column is the user and which the item.
It turns columns into relations: `item has_genre genre`, from the column `genres`, split at `|`. Each key is a field of
one of the classes in this folder, and its description says what it does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, model_validator

from kgrec.errors import unknown_name
from kgrec.graph.schema import ALL_EDGES, EdgeType
from kgrec.sources.rdf.source import RdfSource
from kgrec.sources.recipe.document import load_document
from kgrec.sources.recipe.edge_part import EdgeTable
from kgrec.sources.recipe.interaction_part import Interactions
from kgrec.sources.recipe.knowledge_part import Link, Triples
from kgrec.sources.recipe.node_part import Nodes
from kgrec.sources.recipe.published_part import PublishedCandidates, PublishedSplit
from kgrec.sources.recipe.recipe_part import Name, RecipePart, as_list


class Standard(RecipePart):
    """The usual way to evaluate on this data set. `kgrec train` uses it by default."""

    split: str | None = Field(None, description="the name of a published split, or a spec such as `last_n:1,valid=1`")
    candidates: str | None = Field(
        None, description="the name of a published candidate list; default: all items are ranked"
    )


class Recipe(RecipePart):
    """What the files of one data set mean."""

    name: str = Field(description="the data set's name")
    about: str = Field("", description="what the data set is, and where it comes from")
    data: str = Field(".", description="the data folder, relative to the recipe; `--data` overrides it")
    nodes: dict[Name, Nodes] = Field({}, description="node types and their tables")
    interactions: Annotated[
        list[Interactions], BeforeValidator(as_list, json_schema_input_type=list[Interactions] | Interactions)
    ] = Field(description="what users did")
    edges: dict[
        Name, Annotated[list[EdgeTable], BeforeValidator(as_list, json_schema_input_type=list[EdgeTable] | EdgeTable)]
    ] = Field(
        {},
        description="relation -> its edge list, or several. An edge list is a table with one edge in each row, such as "
        "a film and a genre",
    )
    links: dict[Name, Link] = Field(
        {}, description="node type -> how to find the entity of the knowledge graph that each node is"
    )
    rdf: Annotated[list[RdfSource], BeforeValidator(as_list, json_schema_input_type=list[RdfSource] | RdfSource)] = (
        Field([], description="facts in RDF files")
    )
    triples: Annotated[list[Triples], BeforeValidator(as_list, json_schema_input_type=list[Triples] | Triples)] = Field(
        [], description="facts in tables of triples"
    )
    target: str | EdgeType | None = Field(
        None, description="the relation of `interactions` that models learn to recommend; default: the first one"
    )
    standard: Standard = Field(
        Standard(split=None, candidates=None), description="the usual split and candidates to evaluate with"
    )
    splits: dict[Name, PublishedSplit] = Field({}, description="name -> the files of a published split")
    candidates: dict[Name, PublishedCandidates] = Field({}, description="name -> a published candidate list")
    on_bad_rows: Literal["error", "report"] = Field(
        "error", description="error: a bad row stops the build. report: bad rows are listed and left out"
    )

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Read a recipe; its `data` becomes the folder to read from. Raises KgrecError and BadData with the file, the
        key and the most similar known key."""
        path = Path(path)
        recipe = load_document(path, Recipe)
        return recipe.model_copy(update={"data": str(path.parent / recipe.data)})

    @model_validator(mode="after")
    def _names_are_known(self) -> Recipe:
        published = [*self.splits, *(table.split for table in self.interactions if table.parts)]
        split = (self.standard.split or "").partition(",")[0]
        if split and ":" not in split and split not in published:
            raise unknown_name("published split", split, published, "for `standard`")
        if self.standard.candidates and self.standard.candidates not in self.candidates:
            raise unknown_name("published candidates", self.standard.candidates, self.candidates, "for `standard`")
        for node_type in self.links:
            if node_type not in self.node_types:
                raise unknown_name("node type", node_type, self.node_types, "for `links`")
        self._edge_lists_are_no_interactions()
        self._clicks_are_of_the_target()
        return self

    def _edge_lists_are_no_interactions(self) -> None:
        """Raises ValueError where a relation of `edges` is the target, is one of interactions, or has no table."""
        own = {edge for table in self.interactions for edge in table.edge_types}
        for relation, tables in self.edges.items():
            if not tables:
                raise ValueError(f"`edges`: relation {relation!r} has no table; name its `file`, or remove it")
            if any((table.between[0], relation, table.between[1]) in own for table in tables):
                raise ValueError(
                    f"`edges`: relation {relation!r} is in `interactions` too; rename one of them, or move the file to "
                    "`interactions`"
                )
        names = {name for table in self.interactions for name in table.relation_names}
        wanted = self.target[1] if isinstance(self.target, tuple) else self.target
        if wanted in self.edges and wanted not in names:
            raise ValueError(
                f"`target`: relation {wanted!r} is in `edges`, which cannot be recommended; move its file to "
                "`interactions`"
            )

    def _clicks_are_of_the_target(self) -> None:
        """Raises UnknownName where `target` or a behaviour is not among the relations."""
        target = self.target_type
        tables = [table for table in self.interactions if target in table.edge_types]
        if any(table.click for table in self.interactions if table not in tables):
            raise ValueError(
                f"`click` is only for the target relation, {target[1]!r}; remove it from the other interactions"
            )
        if any(table.all_edges for table in self.interactions if table not in tables):
            raise ValueError(
                f"`all_edges` is only for the target relation, {target[1]!r}; remove it from the other interactions"
            )
        if len({table.all_edges for table in tables}) > 1:
            raise ValueError(f"set `all_edges` for all interactions of {target[1]!r}, or for none of them")
        kinds = {table.click and (table.click.behaviour or "by the row") for table in tables}
        if len(kinds) > 1:
            raise ValueError(f"set the same kind of `click` for all interactions of {target[1]!r}, or for none of them")
        behaviour = tables[0].click.behaviour if tables[0].click else None
        others = [edge for table in self.interactions for edge in table.edge_types if edge != target]
        others += self.edge_types
        known = [relation for source, relation, end in others if (source, end) == (target[0], target[2])]
        if behaviour is not None and behaviour not in known:
            raise unknown_name("behaviour", behaviour, known, f"beside {target[1]!r}, for `click`")

    @property
    def node_types(self) -> list[str]:
        """The node types of tables, interactions, edge lists and attributes; facts may add more."""
        tables = [table for nodes in self.nodes.values() for table in nodes.tables]
        ends = [end for table in self.interactions for end in table.between]
        ends += [end for source, _, target in self.edge_types for end in (source, target)]
        return list(
            dict.fromkeys([*self.nodes, *ends, *(edge.to for table in tables for edge in table.edges.values())])
        )

    @property
    def edge_types(self) -> list[EdgeType]:
        """The edge types of `edges`."""
        tables = [(relation, table) for relation, found in self.edges.items() for table in found]
        return list(dict.fromkeys((table.between[0], relation, table.between[1]) for relation, table in tables))

    @property
    def target_type(self) -> EdgeType:
        """The edge type to recommend. Raises UnknownName where it is not in the interactions."""
        table = self.target_interactions
        relation = self.target[1] if isinstance(self.target, tuple) else self.target or table.relation_names[0]
        return (table.between[0], relation, table.between[1])

    @property
    def known_by(self) -> dict[str, str]:
        """`standard`, and whether rankings learn from all edges, as the graph's schema stores them."""
        positives = {"positives": ALL_EDGES} if self.target_interactions.all_edges else {}
        return {key: value for key, value in self.standard if value is not None} | positives

    @property
    def target_interactions(self) -> Interactions:
        """The interactions that have the target relation. Raises UnknownName."""
        for table in self.interactions:
            for name in table.relation_names:
                if self.target in (None, name, (table.between[0], name, table.between[1])):
                    return table
        known = [name for table in self.interactions for name in table.relation_names]
        wanted = self.target if isinstance(self.target, str) else "-".join(self.target or ())
        raise unknown_name("relation", wanted, known, "for `target`")

"""What the columns and predicates of a data set's files mean: a recipe, read from YAML.

A recipe is to be read as a sentence: nodes are listed in these tables, interactions stand in that file, this column is
the user and that one the item; `item has_genre genre`, by the column `genres` split at `|`. Every key is a field of one
of the models below, and its description says what it does.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from kgrec.errors import unknown_name
from kgrec.schema import CLICK, EdgeType, FeatureKind, clean_name
from kgrec.sources.document import load_document
from kgrec.sources.facts import FactOptions
from kgrec.sources.rdf import RdfSource

PartName = Literal["train", "valid", "test"]


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


def _clean(name: str) -> str:
    if clean_name(name) != name:
        raise ValueError(f"{name!r} is not letters, digits and single underscores; call it {clean_name(name)!r}")
    return name


Files = Annotated[list[str], BeforeValidator(_as_list)]
Name = Annotated[str, BeforeValidator(lambda value: _clean(str(value)))]


class RecipePart(BaseModel):
    """A part of a recipe: a key that it does not have is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, coerce_numbers_to_str=True)


class TableFormat(RecipePart):
    """How the bytes of a table are to be read."""

    format: Literal["auto", "separated", "parquet", "json_lines", "lists", "json_lists"] = Field(
        "auto",
        description="auto: by the suffix. lists: `user item item ...` a line, which has the columns user, item and "
        "position. json_lists: one JSON object of id -> list, which has the columns id and values",
    )
    separator: str | None = Field(None, description="any string, or `tab`; default: comma, a tab for .tsv")
    columns: list[str] | None = Field(None, description="the columns' names, where the file has no line of names")
    quote: bool | None = Field(None, description='whether "..." quotes a value; default: only where commas separate')
    encoding: str = Field("utf-8", description="for instance latin-1")
    missing: list[str] = Field([""], description="values that stand for none")
    query: str | None = Field(
        None,
        description="a SPARQL SELECT: `file` is RDF, or an endpoint's URL, and the query's variables are the columns",
    )
    prefixes: dict[str, str] = Field({}, description="of the query, prefix -> IRI")

    @property
    def delimiter(self) -> str | None:
        return "\t" if self.separator == "tab" else self.separator


class TableFile(TableFormat):
    """A table in one or several files of the same columns; .gz, .bz2 and .zst are unpacked as they are read."""

    file: Files = Field(description="path relative to the data folder, a pattern such as part-*.csv, or a list of them")


class FeatureColumn(RecipePart):
    """A column that becomes a feature."""

    column: str | None = Field(None, description="its name in the file; default: the feature's own name")
    kind: FeatureKind = Field(description="numeric, categorical, multi, text or vector")
    split: str | None = Field(None, description="what stands between several values in one field (multi, vector)")
    file: str | None = Field(None, description="of a vector: a .npy file with a row for each row of the table")

    @model_validator(mode="before")
    @classmethod
    def _kind_alone(cls, value: Any) -> Any:
        return {"kind": value} if isinstance(value, str) else value

    @model_validator(mode="after")
    def _fits(self) -> FeatureColumn:
        if self.file and self.kind != "vector":
            raise ValueError(f"`file` is for vectors; a {self.kind} feature is a column of the table")
        if self.split and self.kind not in ("multi", "vector"):
            raise ValueError(f"`split` is for multi and vector; a {self.kind} feature has one value")
        return self


class AttributeEdge(RecipePart):
    """A column whose values are nodes: `has_genre: {column: genres, split: "|", to: genre}`."""

    to: Name = Field(description="the node type of the values")
    column: str | None = Field(None, description="its name in the file; default: the relation's own name")
    split: str | None = Field(None, description="what stands between several values in one field")
    path: str | None = Field(
        None, description="what stands between the steps of a path: the node is the whole path, its label the last step"
    )
    parents: Name | None = Field(None, description="with `path`: the relation from each step to the one before it")

    @model_validator(mode="after")
    def _fits(self) -> AttributeEdge:
        if self.parents and not self.path:
            raise ValueError("`parents` needs `path`: say what stands between the steps")
        return self


class NodeTable(TableFile):
    """A table of nodes, one a row."""

    id: str = Field(description="the column of ids")
    label: str | None = Field(None, description="the column to show for a node")
    flags: dict[str, list[str]] = Field(
        {}, description="0/1 columns seen as one column of lists: {genres: [Action, Drama]}, for features or edges"
    )
    features: dict[Name, FeatureColumn] = Field({}, description="the feature's name -> its column and kind")
    edges: dict[Name, AttributeEdge] = Field({}, description="the relation's name -> the column of its targets")
    describes_only: bool = Field(False, description="rows about nodes that nothing else lists are left out")


class VectorFile(RecipePart):
    """A .npy matrix with a vector a row."""

    file: str = Field(description="path relative to the data folder")
    ids: str | None = Field(
        None, description="a text file of one id a line, the rows' own; default: the rows are those of the first table"
    )


class ImageFolder(RecipePart):
    """A folder of images, each called by its node's id: 42.jpg. A node without one has no vector."""

    folder: str = Field(description="path relative to the data folder")
    encoder: str = Field("resnet18", description="a network of timm (the extra `image`), which makes the vectors")


class Nodes(RecipePart):
    """The nodes of one type. A single table may be written without `tables:`."""

    tables: list[NodeTable] = Field([], description="joined by id; the first gives the order")
    complete: bool = Field(False, description="an id that no table lists is an error; else it is added and counted")
    only_interacted: bool = Field(False, description="tables describe the nodes that interactions name, and add none")
    iri: str = Field("", description="the type's own name, an IRI for instance")
    vectors: dict[Name, VectorFile] = Field({}, description="a feature's name -> the matrix of its vectors")
    images: dict[Name, ImageFolder] = Field({}, description="a feature's name -> the images that become its vectors")

    @model_validator(mode="before")
    @classmethod
    def _table_alone(cls, value: Any) -> Any:
        if isinstance(value, list):
            return {"tables": value}
        if isinstance(value, dict) and "tables" not in value and "file" in value:
            own_keys = ("complete", "only_interacted", "iri", "vectors", "images")
            own = {key: value[key] for key in own_keys if key in value}
            return own | {"tables": [{key: v for key, v in value.items() if key not in own}]}
        return value


class TimeColumn(RecipePart):
    """The column of times."""

    column: str = Field("time", description="its name in the file")
    unit: Literal["s", "ms", "us", "iso"] = Field("s", description="unix seconds, milli- or microseconds; or ISO 8601")
    format: str | None = Field(None, description="a strptime format such as `%d/%m/%Y`, instead of `unit`; UTC")

    @model_validator(mode="before")
    @classmethod
    def _column_alone(cls, value: Any) -> Any:
        return {"column": value} if isinstance(value, str) else value


class Behaviours(RecipePart):
    """One file, several relations: {column: event, values: {view: viewed, purchase: purchased, scroll: null}}."""

    column: str = Field(description="the column that says what was done")
    values: dict[str, Name | None] = Field(description="its value -> the relation; null leaves these rows out")


def _seconds(value: Any) -> Any:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([smhd])", value.strip()) if isinstance(value, str) else None
    if match:
        return int(float(match[1]) * {"s": 1, "m": 60, "h": 3600, "d": 86400}[match[2]])
    if isinstance(value, int):
        return value
    raise ValueError(f"{value!r} is no span of time; write 30m, 2h, 1d or a number of seconds")


class Session(RecipePart):
    """Visits become the users: a visitor's events in time order, cut where nothing happens for longer than the gap."""

    by: str = Field(description="the column of visitors; sessions are called `visitor#1`, `visitor#2`")
    gap: Annotated[int, BeforeValidator(_seconds)] = Field(description="30m, 2h, 1d, or seconds")


class Click(RecipePart):
    """Which target edges are clicks, in one of three ways: {column: clicked}, {weight: 4}, {behaviour: purchased}.

    It is said of all the files at once, so a behaviour after the split's time may make an earlier edge a click.
    """

    column: str | None = Field(None, description="a column of 0 and 1, or false and true")
    weight: float | None = Field(None, description="an edge of at least this weight is a click")
    behaviour: Name | None = Field(None, description="an edge is a click where its pair has an edge of this relation")

    @model_validator(mode="after")
    def _fits(self) -> Click:
        said = [name for name, value in self if value is not None]
        if len(said) != 1:
            raise ValueError(f"say one of `column`, `weight` and `behaviour`; found {' and '.join(said) or 'none'}")
        return self


class Interactions(TableFormat):
    """What users did with items, one a row."""

    file: Files = Field([], description="path relative to the data folder, a pattern, or a list of them")
    parts: dict[PartName, Files] = Field({}, description="in place of `file`, files that are the split: {train, test}")
    split: str = Field("given", description="the name of the split that `parts` make")
    between: tuple[Name, Name] = Field(("user", "item"), description="the two node types")
    relation: Name = Field("interacted", description="what was done, such as `rated`")
    relations: Behaviours | None = Field(None, description="instead of `relation`, where a column says what was done")
    user: str = Field("user", description="the column of users")
    item: str = Field("item", description="the column of items")
    weight: str | None = Field(None, description="the column of ratings or counts")
    click: Click | None = Field(None, description="which edges are clicks, for models of the task ctr")
    rating_range: tuple[float, float] | None = Field(None, description="a weight outside is an error: [1, 5]")
    min_weight: float | None = Field(None, description="rows of less weight are left out")
    time: TimeColumn | None = Field(None, description="the column of times; rows of one time stay in file order")
    session: Session | None = Field(None, description="make sessions the users")
    duplicates: Literal["keep", "first", "last", "sum", "error"] = Field(
        "keep",
        description="of one user, item and relation: keep all, first or last in time, one with the summed weight",
    )
    min_user: int = Field(0, description="users with fewer rows are left out, repeated with min_item until none is")
    min_item: int = Field(0, description="items with fewer rows are left out, repeated with min_user until none is")
    features: dict[Name, FeatureColumn] = Field({}, description="features of the edges, such as a review's text")

    @model_validator(mode="after")
    def _fits(self) -> Interactions:
        if bool(self.file) == bool(self.parts):
            raise ValueError("say either `file` or `parts`")
        if self.session and not self.time:
            raise ValueError("`session` needs `time`")
        if self.weight is None and (self.rating_range or self.min_weight is not None):
            raise ValueError("`rating_range` and `min_weight` need `weight`: name the column")
        if self.click and self.click.weight is not None and self.weight is None:
            raise ValueError("`click: {weight: ...}` needs `weight`: name the column")
        if self.click and CLICK in self.features:
            raise ValueError(f"`click:` makes the feature {CLICK!r}, which `features` has too; give that another name")
        if any(feature.file for feature in self.features.values()):
            raise ValueError("features of edges are columns of the table, not a .npy `file`")
        return self

    @property
    def relation_names(self) -> list[str]:
        """The relations that these rows are of."""
        if self.relations is None:
            return [self.relation]
        return list(dict.fromkeys(name for name in self.relations.values.values() if name is not None))

    @property
    def edge_types(self) -> list[EdgeType]:
        """The edge types that these rows are of."""
        return [(self.between[0], name, self.between[1]) for name in self.relation_names]

    @property
    def has_filter(self) -> bool:
        """Whether rows of the file may be left out of the graph."""
        return self.min_weight is not None or self.min_user > 1 or self.min_item > 1 or self.duplicates != "keep"


class Link(TableFormat):
    """Which entity of the knowledge graph a node is: by a table, or by a template of its IRI."""

    template: str | None = Field(None, description="https://shop.example/product/{id}")
    file: Files = Field([], description="a table of ids and entities")
    id: str = Field("id", description="the column of ids")
    entity: str = Field("entity", description="the column of entities")

    @model_validator(mode="after")
    def _fits(self) -> Link:
        if bool(self.file) == bool(self.template):
            raise ValueError("say either `template` or `file`")
        if self.template and "{id}" not in self.template:
            raise ValueError("`template` has no {id} in it")
        return self


class Triples(TableFile, FactOptions):
    """Facts in a table of head, relation and tail."""

    head: str = Field("head", description="the column of heads")
    relation: str = Field("relation", description="the column of relations")
    tail: str = Field("tail", description="the column of tails")
    type_relation: str | None = Field(None, description="the relation whose tails are classes, for `types`")


class Numbers(RecipePart):
    """Whether users and items are said by id or by published number."""

    ids: Literal["ids", "first_appearance"] = Field(
        "ids", description="first_appearance: n is the n-th user or item, from 0, that target edges name"
    )


class GivenSplit(Numbers):
    """A published split of the target relation, by pairs of user and item. What is not said of the table's format is as
    in the interactions."""

    train: Files = Field([], description="files of train pairs")
    valid: Files = Field([], description="files of validation pairs")
    test: Files = Field(description="files of test pairs")
    rest: PartName | None = Field(
        None, description="the part of other edges; default: train, but an error with `train`"
    )
    format: str | None = Field(None, description="as in the interactions")
    separator: str | None = Field(None, description="as in the interactions")
    columns: list[str] | None = Field(None, description="as in the interactions")
    user: str | None = Field(None, description="the column of users")
    item: str | None = Field(None, description="the column of items")


class GivenCandidates(Numbers):
    """Published lists of the items to rank for a user, in NCF's form: `(user,item)<tab>item<tab>item ...`. The first
    item is a candidate too; a list is a set."""

    file: str = Field(description="path relative to the data folder")


class Standard(RecipePart):
    """The protocol that the data set is known by."""

    split: str | None = Field(None, description="the name of a given split, or a spec such as `last_n:1,valid=1`")
    candidates: str | None = Field(None, description="the name of given candidates; none: all items")


class Recipe(RecipePart):
    """What the files of one data set mean."""

    name: str = Field(description="the data set's name")
    about: str = Field("", description="what it is and where it comes from")
    data: str = Field(".", description="the data folder, relative to the recipe; `--data` overrides it")
    nodes: dict[Name, Nodes] = Field({}, description="node types and their tables")
    interactions: Annotated[list[Interactions], BeforeValidator(_as_list)] = Field(description="what users did")
    links: dict[Name, Link] = Field({}, description="node type -> which entity each of its nodes is")
    rdf: Annotated[list[RdfSource], BeforeValidator(_as_list)] = Field([], description="facts in RDF files")
    triples: Annotated[list[Triples], BeforeValidator(_as_list)] = Field([], description="facts in tables of triples")
    target: str | EdgeType | None = Field(None, description="the relation to recommend; default: the first one")
    standard: Standard = Field(Standard(split=None, candidates=None), description="the protocol it is known by")
    splits: dict[Name, GivenSplit] = Field({}, description="published splits")
    candidates: dict[Name, GivenCandidates] = Field({}, description="published candidate lists")
    on_bad_rows: Literal["error", "report"] = Field("error", description="report: bad rows are listed and left out")

    @staticmethod
    def load(path: str | Path) -> Recipe:
        """Read a recipe; its `data` becomes the folder to read from. Raises KgrecError and BadData that name the file,
        the key and the near one."""
        path = Path(path)
        recipe = load_document(path, Recipe)
        return recipe.model_copy(update={"data": str(path.parent / recipe.data)})

    @model_validator(mode="after")
    def _names_are_known(self) -> Recipe:
        given = [*self.splits, *(table.split for table in self.interactions if table.parts)]
        split = (self.standard.split or "").partition(",")[0]
        if split and ":" not in split and split not in given:
            raise unknown_name("given split", split, given, "for `standard`")
        if self.standard.candidates and self.standard.candidates not in self.candidates:
            raise unknown_name("given candidates", self.standard.candidates, self.candidates, "for `standard`")
        for node_type in self.links:
            if node_type not in self.node_types:
                raise unknown_name("node type", node_type, self.node_types, "for `links`")
        self._clicks_are_of_the_target()
        return self

    def _clicks_are_of_the_target(self) -> None:
        """Raises UnknownName where `target` or a behaviour is not among the relations."""
        target = self.target_type
        tables = [table for table in self.interactions if target in table.edge_types]
        if any(table.click for table in self.interactions if table not in tables):
            raise ValueError(f"`click` is of the target relation, {target[1]!r}; take it away from other interactions")
        ways = {table.click and (table.click.behaviour or "by the row") for table in tables}
        if len(ways) > 1:
            raise ValueError(
                f"all interactions of {target[1]!r} must say the same kind of `click`, or none of them any"
            )
        behaviour = tables[0].click.behaviour if tables[0].click else None
        others = [edge for table in self.interactions for edge in table.edge_types if edge != target]
        known = [relation for source, relation, end in others if (source, end) == (target[0], target[2])]
        if behaviour is not None and behaviour not in known:
            raise unknown_name("behaviour", behaviour, known, f"beside {target[1]!r}, for `click`")

    @property
    def node_types(self) -> list[str]:
        """The node types of tables, interactions and attributes; facts may bring more."""
        tables = [table for nodes in self.nodes.values() for table in nodes.tables]
        ends = [end for table in self.interactions for end in table.between]
        return list(
            dict.fromkeys([*self.nodes, *ends, *(edge.to for table in tables for edge in table.edges.values())])
        )

    @property
    def target_type(self) -> EdgeType:
        """The edge type to recommend. Raises UnknownName where no interactions are of it."""
        table = self.target_interactions
        relation = self.target[1] if isinstance(self.target, tuple) else self.target or table.relation_names[0]
        return (table.between[0], relation, table.between[1])

    @property
    def target_interactions(self) -> Interactions:
        """The interactions that the target relation stands in. Raises UnknownName."""
        for table in self.interactions:
            for name in table.relation_names:
                if self.target in (None, name, (table.between[0], name, table.between[1])):
                    return table
        known = [name for table in self.interactions for name in table.relation_names]
        wanted = self.target if isinstance(self.target, str) else "-".join(self.target or ())
        raise unknown_name("relation", wanted, known, "for `target`")

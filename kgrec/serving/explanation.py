"""Why an item is recommended: the strongest paths of the graph behind its score, each held to what masking it does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.ranking import Scorer, scoring
from kgrec.evaluation.trained_nodes import reads_all_edges
from kgrec.graph import Graph
from kgrec.nn.masked_edges import MasksEdges
from kgrec.paths.path_explainer import By, ExplainedPath, ExplainedScore, Faithfulness, PathExplainer
from kgrec.paths.path_search import Through
from kgrec.serving.filters.node_iris import is_iri, template_of
from kgrec.serving.input_tables import id_list
from kgrec.serving.list_options import ListOptions
from kgrec.serving.ranked_lists import check_k, must_know_interactions
from kgrec.serving.recommendation import lists_for
from kgrec.serving.relation_words import Link, because, node_words, relation_words
from kgrec.training.trained_graph import trained_graph
from kgrec.training.trained_model import TrainedModel

MOST_PATHS = 100  #: that are asked for of an item
BYS: tuple[By, ...] = ("drop", "attention")
THROUGH: tuple[Through, ...] = ("facts", "users")
ANOTHER = "another user"  #: what one is called who is not named
NEAR = 1e-3  #: share of the spread of scores by which those of propagation may differ from those that are served


@dataclass(frozen=True)
class PathNode:
    """A node of a path."""

    type: str  #: its node type
    id: str  #: external id
    label: str  #: the id where it has none
    iri: str | None = None  #: the id where it is one, or what the recipe makes of it; None: it has none


@dataclass(frozen=True)
class PathRelation:
    """A link of a path."""

    name: str  #: the relation in the graph
    label: str  #: what the source calls it, as words
    onwards: bool  #: whether it leads from the node before to the one after
    iri: str | None = None  #: what the source calls it where that is an IRI


@dataclass(frozen=True)
class ReasonPath:
    """A path from the user to an item, with what masking it does."""

    item: str  #: external id of the item
    nodes: tuple[PathNode, ...]  #: the user, an item that the user had, ..., the item
    relations: tuple[PathRelation, ...]  #: from each node to the next
    strength: float  #: by the model's weights along it
    faithfulness: Faithfulness | None  #: None: masking does not reach the scores
    text: str  #: as a sentence

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "item": self.item,
            "text": self.text,
            "nodes": [vars(node) for node in self.nodes],
            "relations": [vars(relation) for relation in self.relations],
            "strength": self.strength,
            "faithfulness": _faithfulness(self.faithfulness),
        }


@dataclass(frozen=True)
class ExplainedItem:
    """An item whose score is explained."""

    id: str
    label: str
    score: float
    rank: int  #: among the items that the user did not have, from 1
    num_paths: int  #: of all that lead to it
    type: str  #: its node type
    iri: str | None  #: as that of a node of a path


@dataclass(frozen=True)
class Explanation:
    """Why items are recommended to a user. `Run.explain` gives one.

    `text` has it as sentences, `to_json` as plain data; `write_rdf` and `draw` write files."""

    model: str  #: the model's name
    user: PathNode  #: to whom the items are recommended
    items: tuple[ExplainedItem, ...]  #: those that are explained, with their scores and ranks
    paths: tuple[ReasonPath, ...]  #: item after item, the strongest first
    by: str  #: how paths were chosen: drop, attention, or "weight of the past item"
    through: Through  #: what they lead over
    unreached: str | None = None  #: why masking does not reach the scores; None: it does
    notes: tuple[str, ...] = ()  #: what is to be said besides, a sentence each

    def _repr_svg_(self) -> str:
        """What a notebook shows."""
        from kgrec.serving.explanation_drawing import as_svg

        return as_svg(self.paths, f"Why {self.model} recommends these items to {self.user.label}")

    def paths_to(self, item: str) -> list[ReasonPath]:
        """The paths to one of the items, by its id."""
        return [path for path in self.paths if path.item == item]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return {
            "model": self.model,
            "user": self.user.id,
            "by": self.by,
            "through": self.through,
            "masking": {"reaches": self.unreached is None, "reason": self.unreached},
            "items": [vars(item) for item in self.items],
            "paths": [path.to_json() for path in self.paths],
            "notes": list(self.notes),
        }

    def text(self) -> str:
        """As sentences: for each item its paths, and what the score loses without each."""
        lines = []
        for item in self.items:
            lines.append(f"{node_words(item.label)} for {self.user.label}: score {item.score:.4g}, rank {item.rank}")
            found = self.paths_to(item.id)
            lines += [f"  {path.text}{_said(path.faithfulness)}" for path in found]
            if not found:
                lines.append("  no path leads there from what the user had")
        if self.unreached is not None:
            lines.append(self.unreached)
        return "\n".join(lines)

    def write_rdf(self, file: str | Path, *, overwrite: bool = False) -> None:
        """Write it as RDF in the words of PROV-O; the form is that of the file's ending: .ttl, .nt, .jsonld, .rdf or
        .trig. Raises KgrecError for another ending, and for a file that exists."""
        from kgrec.serving.explanation_rdf import write_rdf

        write_rdf(self, Path(file), overwrite=overwrite)

    def draw(self, file: str | Path, *, overwrite: bool = False) -> None:
        """Write a drawing of it: .png by matplotlib (the extra `plot`), or .svg. Raises KgrecError for another ending,
        for a file that exists, and where matplotlib is not installed."""
        from kgrec.serving.explanation_drawing import write_drawing

        write_drawing(self, Path(file), overwrite=overwrite)


def explain(
    run: TrainedModel,
    user: Any,
    item: Any = None,
    paths: int = 5,
    *,
    by: str | None = None,
    through: str | None = None,
    k: int = 3,
    seed: int = 0,
    name_users: bool = True,
) -> Explanation:
    """The strongest paths behind an item's score: what `Run.explain` gives; see there. name_users: whether other users
    that a path leads over are named; those who are not have an empty id and the label "another user"."""
    must_know_interactions(run)
    must_have_paths(run)
    check_paths(paths)
    if not isinstance(k, int) or isinstance(k, bool):
        raise KgrecError(f"k is {k!r}; a whole number of items is wanted")
    check_k(run, k)
    if by is not None and by not in BYS:
        raise unknown_name("way to choose paths", by, BYS)
    if through is not None and through not in THROUGH:
        raise unknown_name("kind of paths", through, THROUGH)
    source, _, target = run.graph.target
    name, flat_user = _node(run, source, user, "user")
    if item is None:
        (listed,) = next(lists_for(run, [name], ListOptions(k=k)))
        wanted = list(listed.items)
    else:
        wanted = [_node(run, target, item, "item")[0]]
    first = run.graph.range(target).start
    number = run.graph.vocabulary[target].numbers(wanted, what=target) + first
    made = explainer_of(run)
    choice = _chosen_by(run, made, by)
    with scoring(run.model):
        scorer = run.made_once("scorer of explanations", None, lambda: Scorer(run.model, run.graph))
        query = scorer.query(torch.tensor([flat_user], device=run.device))
        had = scorer.had.last(query.user)[0]
        over: Through = through or made.through
        each = [made.explain(query, one, paths, by=choice, through=over, had=had, seed=seed) for one in number.tolist()]
        notes = tuple(_notes(run, made, query, wanted, number.tolist(), each, had.tolist()))
    found = _named(run, made, node_of(made.graph, flat_user), wanted, each, over, choice, notes)
    return found if name_users else replace(found, paths=tuple(map(_without_names, found.paths)))


def must_have_paths(run: TrainedModel) -> None:
    """Raise KgrecError for a model whose scores neither come along edges nor from weights that learned facts."""
    model = run.model.serving_part
    if isinstance(model, MasksEdges) or model.learns_facts:
        return
    raise KgrecError(
        f"{run.name} has no graph part: its scores come along no edges, and it has not learned from facts, so no path "
        "of the graph is behind them; `kgrec recommend --why` names past items, and kgat, kgatseq, lightgcn, cke and "
        "ease with facts have paths"
    )


def check_paths(paths: Any) -> None:
    """Raise KgrecError for a number of paths that cannot be asked for."""
    if not isinstance(paths, int) or isinstance(paths, bool) or not 1 <= paths <= MOST_PATHS:
        raise KgrecError(f"paths is {paths!r}; a whole number from 1 to {MOST_PATHS} is wanted")


def explainer_of(run: TrainedModel) -> PathExplainer:
    """What explains the scores of a run, made once. Raises KgrecError where it needs facts that the
    run does not keep."""

    def make() -> PathExplainer:
        model = run.model.serving_part
        graph = run.whole_graph() if reads_all_edges(model) or model.learns_facts else run.graph.to("cpu")
        if isinstance(model, MasksEdges) and not model.reads_history:
            graph = trained_graph(run, graph)
        with scoring(model):
            return PathExplainer.of(model, graph.to(run.device))

    return run.made_once("explainer of paths", None, make)


def _node(run: TrainedModel, node_type: str, value: Any, what: str) -> tuple[str, int]:
    """The id and the flat number of a node. Raises UnknownName, BadData for what is no id."""
    name = id_list([value], what)[0].as_py()
    number = int(run.graph.vocabulary[node_type].numbers([name], what=node_type)[0])
    return name, number + run.graph.range(node_type).start


def _chosen_by(run: TrainedModel, made: PathExplainer, by: str | None) -> By:
    if by != "attention":
        return "drop"
    if made.masking is None or made.masking.by != "attention":
        raise KgrecError(f"{run.name} has no attention to choose paths by; leave `by` out, or say drop")
    return "attention"


def _notes(
    run: TrainedModel,
    made: PathExplainer,
    query: Any,
    wanted: Sequence[str],
    numbers: Sequence[int],
    each: Sequence[ExplainedScore],
    had: Sequence[int],
) -> list[str]:
    """What is to be said besides."""
    found, name = [], run.graph.target[1]
    if not had:
        found.append("the run knows nothing that this user did, so no path begins")
    for item, number, one in zip(wanted, numbers, each):
        if had and not one.num_paths:
            found.append(f"no path leads to {item!r} from what this user did, over what the model reads")
        if number in had:
            found.append(f"the user already {name} {item!r}; it is explained as if it were ranked among new items")
    if made.masking is not None and each:
        items = run.graph.nodes(run.graph.target[2])
        served = run.model.score(query, items)[0]
        ours = torch.tensor([one.score for one in each], device=served.device)
        place = torch.tensor(list(numbers), device=served.device) - int(items[0])
        if (ours - served[place]).abs().max() > NEAR * served.std().clamp(min=1e-9):
            found.append(
                "scores are those of propagation over all that the run knows, also what was held out for validation, "
                "and so differ a little from those that are served"
            )
    return found


def _named(
    run: TrainedModel,
    made: PathExplainer,
    user: PathNode,
    wanted: Sequence[str],
    each: Sequence[ExplainedScore],
    through: Through,
    by: By,
    notes: tuple[str, ...],
) -> Explanation:
    target = run.graph.target[2]
    first, numbers = made.graph.range(target).start, run.graph.vocabulary[target].find(list(wanted)).tolist()
    nodes = [node_of(made.graph, first + number) for number in numbers]
    items = tuple(
        ExplainedItem(node.id, node.label, one.score, one.rank, one.num_paths, node.type, node.iri)
        for node, one in zip(nodes, each)
    )
    paths = tuple(_path(made, name, path, through) for name, one in zip(wanted, each) for path in one.paths)
    unreached = None
    if made.masking is None:
        by_what, unreached = (
            "weight of the past item",
            (
                f"the weights of {run.name} hold the facts already, so masking edges does not reach its scores: "
                "faithfulness cannot be measured without training again"
            ),
        )
        return Explanation(run.name, user, items, paths, by_what, through, unreached, notes)
    return Explanation(run.name, user, items, paths, by, through, None, notes)


def _path(made: PathExplainer, item: str, path: ExplainedPath, through: Through) -> ReasonPath:
    graph, links = made.graph, made.links
    nodes = tuple(node_of(graph, node) for node in path.nodes)
    relations = []
    for before, link in zip(path.nodes, path.links):
        edge_type = graph.edge_types[int(links.relation[link])]
        label = graph.schema.edges[edge_type].label
        iri = label if is_iri(label) else None
        onwards = int(links.head[link]) == before
        relations.append(PathRelation(edge_type[1], relation_words(edge_type[1], label), onwards, iri))
    said = [Link(relation.label, relation.onwards) for relation in relations]
    others = f"{graph.target[0]} *{nodes[2].label}*" if through == "users" else None
    text = because(said, [node_words(node.label) for node in nodes], others=others)
    return ReasonPath(item, nodes, tuple(relations), path.strength, path.faithfulness, text)


def _without_names(path: ReasonPath) -> ReasonPath:
    """The same path, on which other users have no names."""
    first = path.nodes[0]
    nodes = [
        PathNode(node.type, "", ANOTHER) if node.type == first.type != path.nodes[-1].type and node != first else node
        for node in path.nodes
    ]
    said = [Link(relation.label, relation.onwards) for relation in path.relations]
    labels = [node_words(node.label) for node in nodes]
    others = ANOTHER if any(node.label == ANOTHER for node in nodes) else None
    return replace(path, nodes=tuple(nodes), text=because(said, labels, others=others))


def node_of(graph: Graph, flat: int) -> PathNode:
    """A node by its flat number."""
    node_type, numbers = next(one for one in graph.ranges.items() if flat in one[1])
    vocabulary, local = graph.vocabulary[node_type], [flat - numbers.start]
    name, label = vocabulary.ids(local)[0], vocabulary.labels(local)[0]
    template = template_of(graph, node_type)
    iri = name if is_iri(name) else None
    if iri is None and template is not None and is_iri(f"{template[0]}{name}{template[1]}"):
        iri = f"{template[0]}{name}{template[1]}"
    return PathNode(node_type, name, label, iri)


def _faithfulness(held: Faithfulness | None) -> dict[str, Any]:
    """Faithfulness as plain data; all values are null where masking does not reach the scores."""
    random = None
    if held is not None and held.random_drops:
        mean = sum(held.random_drops) / len(held.random_drops)
        random = {"paths": len(held.random_drops), "mean_drop": mean, "lowers_more": held.lowers_more}
    names = ("score_before", "score_after", "drop", "rank_before", "rank_after")
    values = {name: None if held is None else getattr(held, name) for name in names}
    return {"reaches": held is not None, **values, "random": random}


def _said(held: Faithfulness | None) -> str:
    """What masking does, to be read behind a sentence."""
    if held is None:
        return ""
    scores = f"{held.score_before:.5g} → {held.score_after:.5g}"
    ranks = f", rank {held.rank_before} → {held.rank_after}" if held.rank_before != held.rank_after else ""
    if held.drop <= 0:
        return f" (but the score does not fall without it: {scores}{ranks})"
    if held.lowers_more is None:
        return f" (without it score {scores}{ranks}; no other path is like it)"
    number = len(held.random_drops)
    more = f"{held.lowers_more * number:g} of {number} random paths like it"
    return f" (without it score {scores}{ranks}; it counts more than {more})"

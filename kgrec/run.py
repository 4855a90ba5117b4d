"""train(): a model on a graph, from the split to the run folder. Run: a trained model with its ids, to be asked."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.serving.answers import Table, joined
from kgrec.serving.explained_lists import USERS, measure_explanations
from kgrec.serving.explanation import Explanation, explain
from kgrec.serving.list_options import ListOptions, takes_list_options
from kgrec.serving.prediction import predict_pairs
from kgrec.serving.recommendation import tables_for
from kgrec.serving.rules.rule_settings import Rules
from kgrec.serving.rules.rules_report import measure_rules
from kgrec.serving.shards import Shard
from kgrec.serving.similar_items import REFUSED, similar_items
from kgrec.serving.trained_vectors import TrainedVectors, trained_vectors
from kgrec.training.job import TrainingJob, takes_job_options, tasks_of
from kgrec.training.log import peak_mb
from kgrec.training.measuring import CHOOSERS, measure
from kgrec.training.session import Report, run_job
from kgrec.training.trained_model import TrainedModel

__all__ = ["CHOOSERS", "Report", "Run", "TrainingJob", "measure", "peak_mb", "tasks_of", "train"]


@dataclass(frozen=True, eq=False)
class Run(TrainedModel):
    """A trained model, the ids that it knows, and what was measured. `kgrec.train` gives one, and `Run.load` reads one.

    >>> import kgrec
    >>> import pandas as pd
    >>> rows = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("bob", "y"), ("bob", "z"), ("cem", "x")]
    >>> rated = pd.DataFrame(rows, columns=["source", "target"])
    >>> graph = kgrec.Graph.from_frames(edges={("user", "rated", "item"): rated})
    >>> run = Run("ease", kgrec.models.build("ease", graph, {"l2": 1.0}), graph)  # as kgrec.train gives it
    >>> run.recommend(["ann", "cem"], k=2)["item"]
    ['z', 'y', 'z']
    >>> run.recommend(history={"new one": ["z"]}, k=1)["item"]
    ['y']
    """

    @staticmethod
    def of(trained: TrainedModel) -> Run:
        """The run of a trained model."""
        return Run(**{field.name: getattr(trained, field.name) for field in fields(trained)})

    @takes_list_options()
    def recommend(
        self,
        users: Any = None,
        k: int = 10,
        *,
        history: Any = None,
        profile: Any = None,
        shard: str | tuple[int, int] | Shard | None = None,
        **options: Any,
    ) -> Table:
        """The k best items for each of some users, as a Table of user, rank, item, label, score and reason.

        users: an id, a list, array or Series of ids, a table with the column `user`, or "all" for everyone that the run
        knows. They are answered from what the run knows that they did. Each is answered once, in order of first
        mention; nobody is answered by an empty table.

        history: what new users did. A list of item ids is one new user, called "new
        user", or as `users` calls it where that is one id. A mapping of user to item ids, or a pandas, Arrow or polars
        table with the column `item`, and perhaps `user`, `time` (unix seconds or moments), `weight` and `behaviour` (a
        relation that the model reads), is many of them; so is the pathlib.Path of a CSV, Parquet or JSON lines file of
        these columns. Steps are read in order of time, and of the rows where times tie or are missing. New users follow
        the known ones, in order of first mention. One who is known to the run too is answered as new: the history takes
        the place of what the run knows.

        profile: what is said of new users, for models with features of users. A table, or the Path of a file, with the
        column `user` and columns of users, called as in the graph or as in the recipe's own files; a mapping of these
        columns to values is one user, and a mapping of users to such mappings is several. One table may be both history
        and profile. A user needs one of the two.

        How a model knows new users is its own: it reads the history; it makes a vector along the user's edges, with all
        other vectors as they are; or it is given a vector that fits the history best by the loss of its training. Then
        `reason` says "by history, along the graph" or "by history, folded in". Nobody's answer depends on who else is
        asked for.

        shard: answer only one part of these users, such as "1/4" or (1, 4), the first of four of equal size, so that
        several processes share the work. The parts one after the other are what one process gives.

        options: the fields of ListOptions. Left out is what a user has by the target relation, and nothing else that
        the user did. include_seen: that is shown too. exclude: behaviours such as "viewed", or several, whose items are
        left out as well, with `include_seen` these alone. why: `reason` names the past items behind a list, and
        `Table.why` lists them (user, item, label, attention, evidence, strength), by what `evidence` says: the model's
        attention, how far the list's scores fall without an item, or the cosine of vectors (`serving.evidence.Kind`).
        rules: what lists must hold, must not hold and how varied they are, as `serving.rules.rule_settings.Rules`,
        a mapping, or the path of a YAML file. skip_unknown: leave out users, items of a history or of rules, and
        categories of a profile, that the run does not know, which `Table.notes` says.

        where: conditions that all listed items meet, such as "price<20", "of_brand=Acme|Umbra" or, by a path through
        the graph, "of_brand/company/location=Sweden"; a text is one, a list is several. not_: conditions of which they
        meet none. where_sparql: a SELECT, or the path of a file that holds one, which finds them. A list has k items as
        long as that many are left; `Table.notes` says where fewer are.

        now: when the lists are wanted, for models that read it (`--set times=now`): unix seconds or a moment, not
        before the last step of a history; None: the clock's time.

        One of whom the model knows nothing (no history that it reads, and where it knows users by their ids none in
        training) gets the most popular items in training, whose numbers of users are the scores, and `reason` says "no
        history, by popularity". It also says where a model serves one without a history by other behaviours, by the
        user's columns or by other edges.

        Ids are text or whole numbers, where 7 is the id "7". Raises UnknownName for unknown ids, and KgrecError for ids
        of several types, missing ids and decimal numbers, an empty history, a table without its column, a category that
        training has not seen, a k above the number of items, conditions that cannot be read, that compare text with `<`
        or leave no item, and filters of a run without facts (`--lean`).

        >>> import kgrec
        >>> import pandas as pd
        >>> rows = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("cem", "x"), ("cem", "z")]
        >>> rated = pd.DataFrame(rows, columns=["source", "target"])
        >>> graph = kgrec.Graph.from_frames(edges={("user", "rated", "item"): rated})
        >>> run = Run("popularity", kgrec.models.build("popularity", graph), graph)
        >>> run.recommend(["ann", "bob"], k=2)["item"]
        ['z', 'y', 'z']
        """
        parts = self.recommend_in_parts(users, k, history=history, profile=profile, shard=shard, **options)
        return joined(parts)

    @takes_list_options()
    def recommend_in_parts(
        self,
        users: Any = None,
        k: int = 10,
        *,
        history: Any = None,
        profile: Any = None,
        shard: str | tuple[int, int] | Shard | None = None,
        **options: Any,
    ) -> Iterator[Table]:
        """The same as `recommend`, with its options, in tables of some thousand users each, for more users than fit in
        one. What is wrong is raised before the first."""
        wanted = ListOptions.of({"k": k, **options}, "Run.recommend")
        return tables_for(self, users, wanted, history=history, profile=profile, shard=shard)

    @takes_list_options(*REFUSED)
    def similar(self, items: Any, k: int = 10, **options: Any) -> Table:
        """The k items most like each of some items, as a Table of of, rank, item, label, score and reason.

        items: an id, a list, array or Series of ids, a table with the column `item`, or "all" for every item. options:
        `where` and `not_`, as `recommend` takes them. `reason` says by what they are alike: "cosine of vectors" for
        models that have some, "weight column" for EASE and ItemKNN (how much each item counts for this one's score),
        else "one-item history" (what the model ranks first for somebody who has this item alone). A model that has
        neither vectors nor histories gives the most popular items. No item is like itself. Of equals the more popular
        comes first.

        `Table.notes` says of which items nothing can be said (those with a zero vector), and which lists are short.
        Raises UnknownName for unknown ids, and KgrecError where nothing can be said of any of the items, where nothing
        is left that is like them, and for a k above the number of items.

        >>> import kgrec
        >>> import pandas as pd
        >>> rows = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("bob", "y"), ("cem", "x"), ("cem", "z")]
        >>> rated = pd.DataFrame(rows, columns=["source", "target"])
        >>> graph = kgrec.Graph.from_frames(edges={("user", "rated", "item"): rated})
        >>> run = Run("itemknn", kgrec.models.build("itemknn", graph), graph)
        >>> run.similar("x", k=2)
        of  rank  item  label   score  reason
        x      1  y     y      0.8165  weight column
        x      2  z     z      0.5774  weight column
        """
        return similar_items(self, items, ListOptions.of({"k": k, **options}, "Run.similar", REFUSED))

    def predict(self, pairs: Any, *, skip_unknown: bool = False, now: Any = None) -> Table:
        """The same rows in the same order, with what the model predicts of each pair of a user and an item: a column
        `rating`, `probability` (of a click) or `score`, by its task. A user has the history that the run knows.

        pairs: a pandas, Arrow or polars table, or a mapping of columns, with `user` and `item`, of which other columns
        are kept; a list of (user, item); or the path of a CSV or Parquet file. skip_unknown: leave out rows of ids that
        the run does not know, which `Table.notes` says. now: when the predictions are wanted, for models that read it,
        as `recommend` has it; None: by the clock.

        Raises BadData for unknown ids, with a line for each row, and for ids of several types; KgrecError for a table
        without rows or columns, or with a column that is called as the prediction is.

        >>> import kgrec
        >>> import pandas as pd
        >>> rows = [("ann", "x"), ("ann", "y"), ("bob", "x"), ("cem", "x"), ("cem", "z")]
        >>> rated = pd.DataFrame(rows, columns=["source", "target"])
        >>> graph = kgrec.Graph.from_frames(edges={("user", "rated", "item"): rated})
        >>> run = Run("popularity", kgrec.models.build("popularity", graph), graph)
        >>> run.predict([("ann", "x"), ("bob", "z")])
        user  item   score
        ann   x     3.0000
        bob   z     1.0000
        """
        return predict_pairs(self, pairs, skip_unknown=skip_unknown, now=now)

    def explain(
        self,
        user: Any,
        item: Any = None,
        paths: int = 5,
        *,
        by: str | None = None,
        through: str | None = None,
        k: int = 3,
        seed: int = 0,
    ) -> Explanation:
        """Why an item is recommended to a user: the strongest paths of the graph behind its score, as an Explanation.

        A path leads from the user over an item that the user had and over what it shares with the item: a fact, or
        another user where the model reads no facts. Each is held to what it does: its edges are masked in both
        directions, the model computes its vectors anew with the weights as they are, and the score and rank before and
        after are said, beside the falls by up to 20 random paths of the same user, item, length and relations over
        nodes of a similar number of edges.

        user, item: ids that the run knows; item: None: the k first items of the user's list. paths: how many for each
        item. by: "drop" chooses those without which the score falls most, of the 32 that attention times gradient puts
        first; "attention" chooses by attention alone, for models that have it; None: drop. through: "facts" or
        "users"; None: facts, where the model reads some. seed: of the random paths.

        A model whose weights learned from facts, as EASE with facts, has paths by the weight of the past item, and
        `unreached` says why masking does not reach it. Notes say where an item has no path, and where the user has it
        already. Raises UnknownName for unknown ids, KgrecError for a model without a graph part, for a run without
        facts (`--lean`) where the model reads some, and for numbers of paths that cannot be.

        >>> import kgrec
        >>> import pandas as pd
        >>> rows = [("ann", "Alien"), ("bob", "Alien"), ("bob", "Gladiator"), ("cem", "Brazil")]
        >>> made = [("Alien", "Scott"), ("Gladiator", "Scott"), ("Brazil", "Gilliam")]
        >>> rated, made_by = (pd.DataFrame(table, columns=["source", "target"]) for table in (rows, made))
        >>> edges = {("user", "rated", "film"): rated, ("film", "made_by", "person"): made_by}
        >>> graph = kgrec.Graph.from_frames(edges=edges)
        >>> run = Run("ease", kgrec.models.build("ease", graph, {"facts": 1.0, "l2": 1.0}), graph)
        >>> run.explain("ann", "Gladiator").paths[0].text
        'because you rated *Alien*, also made by *Scott*'
        """
        return explain(self, user, item, paths, by=by, through=through, k=k, seed=seed)

    def measure_explanations(
        self, *, users: int = USERS, k: int = 10, by: str = "drop", seed: int = 0
    ) -> dict[str, Any]:
        """What explanations of some users' lists are like: whether items have a path (`fidelity@k`), how recent what
        they link to is (`lir@k`), how popular the nodes between are (`sep@k`), how varied they are (`etd@k`, `lid@k`,
        `sed@k`), and `faithfulness`: of which share of users the strongest path to the first item lowers its score more
        than a random path like it, with a 95 % interval. The definitions and sources stand at
        `kgrec.evaluation.explanation_quality`.

        users: how many are drawn; k: items of each list; by: "drop" or "attention", how the path of each item is
        chosen; seed: of the draw. Raises KgrecError as `explain`."""
        return measure_explanations(self, users=users, k=k, by=by, seed=seed)

    def with_items(self, items: Any, *, skip_unknown: bool = False) -> Run:
        """A run of the same weights that knows new items too, without training: they are ranked with the rest.

        items: what the recipe's item table says of them. The path of a file with its columns (CSV, TSV, JSON lines,
        Parquet), or of RDF whose subjects are the items, or several paths; a pandas, Arrow or polars table, or a list
        of mappings, with these columns; a list of (subject, predicate, object); or an rdflib graph. It is read by the
        recipe that made the graph: its id column, features, attributes, splits of values, links and predicates. A
        feature, or a relation from items, that the recipe reads elsewhere may stand in a column of its own name.

        New items are tied to the nodes that the run knows, and their vectors are made by the trained layers and by what
        training learned of features: numbers by its mean and deviation, categories and words that it has seen. A value
        that is no node or category of the run is left out, which `notes` says. The items have no interactions, and so
        no part of an id's own. skip_unknown: leave out columns that the recipe does not read and items of which nothing
        is known.

        Raises KgrecError for a model that knows items by ids alone, a run without facts (`--lean`) or recipe, and what
        cannot be read; UnknownName for a column that the recipe does not read; BadData for an id that is known, and for
        an item of which the run knows nothing.
        """
        from kgrec.serving.added_items import run_with_items  # what reads recipes takes its time to come

        return run_with_items(self, items, skip_unknown=skip_unknown)

    def measure(
        self,
        graph: Graph | str | Path,
        *,
        split: str | None = None,
        candidates: str | None = None,
        repeats: str | None = None,
        metrics: Sequence[str] | None = None,
        exclude: Sequence[str] | None = None,
        groups: Any = None,
        now: str | None = None,
        rules: Rules | Mapping[str, Any] | str | Path | None = None,
    ) -> dict[str, Any]:
        """The metrics on the test edges of a graph with the same nodes: see `kgrec.run.measure`. groups: a column of
        users, or `gap`, or a file, table or mapping as in `kgrec.serving.listed_groups`. rules: measure instead
        what these cost and gain, on valid: see `kgrec.serving.rules.rules_report.measure_rules`."""
        if rules is not None:
            if candidates not in (None, "all"):
                raise KgrecError(f"rules choose from the whole catalog, so candidates {candidates!r} cannot be ranked")
            if groups is not None:
                raise KgrecError(f"rules are measured over all users, so groups {groups!r} has no effect; leave it out")
            chosen: dict[str, Any] = {"split": split, "repeats": repeats, "exclude": exclude, "now": now}
            return measure_rules(self, graph, rules, metrics=metrics, **chosen)
        if groups is not None and not isinstance(groups, str):
            from kgrec.serving.listed_groups import listed_groups  # pandas takes its time to come

            graph = graph if isinstance(graph, Graph) else Graph.load(graph)
            groups = listed_groups(graph, groups)
        return measure(
            self,
            graph,
            split=split,
            candidates=candidates,
            repeats=repeats,
            metrics=metrics,
            exclude=exclude,
            groups=groups,
            now=now,
        )

    def vectors(self, node_type: str) -> TrainedVectors:
        """The final vector of each node of a type, as scoring reads it, with its id.

        Raises UnknownName for a type that is not there, KgrecError where the model has no vectors of it.

        >>> import kgrec
        >>> import pandas as pd
        >>> rated = pd.DataFrame([("ann", "x"), ("ann", "y")], columns=["source", "target"])
        >>> graph = kgrec.Graph.from_frames(edges={("user", "rated", "item"): rated})
        >>> run = Run("mf", kgrec.models.build("mf", graph, {"dim": 4}), graph)
        >>> run.vectors("item")
        TrainedVectors(item: 2 of 4 numbers)
        >>> run.vectors("item").ids, run.vectors("item").matrix.shape
        (['x', 'y'], (2, 4))
        """
        return trained_vectors(self, node_type)


@takes_job_options
def train(model: str | TrainingJob, graph: Graph | str | Path, *, report: Report | None = None, **options: Any) -> Run:
    """Train a model, choose its epoch on validation, measure it once on test, and keep it.

    model: a name of `kgrec.models.names()`, the dotted path of your own, or a whole TrainingJob. options: the fields of
    a TrainingJob, such as split="last_n:1,valid=1", config={"dim": 32} and out="runs/mf"; see there. report: called
    after each epoch. What a start by `init` took over is said in `metrics["init"]`.

    Raises UnknownName for names that are not there, KgrecError for wrong values, an existing `out`, and a loss that is
    not finite.
    """
    return Run.of(run_job(TrainingJob.of(model, options, "kgrec.train"), graph, report))

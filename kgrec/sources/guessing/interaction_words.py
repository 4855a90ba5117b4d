"""The lines of a recipe about interactions: their files, columns, relations, and the usual split."""

from __future__ import annotations

from typing import Any

import numpy as np

from kgrec.sources.guessing.behaviour_values import AGAINST, behaviour_of
from kgrec.sources.guessing.column_profile import Column
from kgrec.sources.guessing.column_words import words_of
from kgrec.sources.guessing.commented_recipe import CommentedRecipe
from kgrec.sources.guessing.interaction_choice import RATING_NAMES, Interactions, is_rating
from kgrec.sources.guessing.key_search import ProfiledTable
from kgrec.sources.guessing.published_files import PublishedFiles
from kgrec.sources.guessing.questions import Choices, Question
from kgrec.sources.guessing.table_sample import SampledTable

RELATIONS = (
    ("rated", RATING_NAMES | {"review", "reviews"}),
    ("played", {"plays", "play", "playcount", "listens", "listen", "scrobbles", "playtime", "hours", "artists"}),
    ("purchased", {"purchase", "purchases", "order", "orders", "transactions", "transaction", "invoice", "quantity",
                   "qty", "retail", "sales", "bestellungen", "ventas"}),
    ("clicked", {"click", "clicks", "behaviors"}),
    ("viewed", {"view", "views", "pageviews", "visits"}),
    ("visited", {"checkin", "checkins", "visit", "location"}),
    ("borrowed", {"loan", "loans", "checkouts"}),
)  # fmt: skip
ENOUGH = 3.0  #: interactions of a user, on average, from which on the last of each is held out
NAMES = {"user": "user", "item": "item", "time": "time", "behaviour": "event"}


def form_of(table: SampledTable) -> dict[str, Any]:
    """The keys of a recipe about how a table is read, with the words that mean no value."""
    return dict(table.form)


def rename_columns(table: ProfiledTable, names: dict[Column, str]) -> None:
    """Give columns of a file without a header names that say what they are."""
    if "columns" not in table.sample.form or table.sample.form.get("header"):
        return
    columns = list(table.columns.values())
    table.sample.renamed({column.name: name for column, name in names.items()})
    for column, name in zip(columns, table.sample.columns):
        column.name = name
    table.__dict__["columns"] = dict(zip(table.sample.columns, columns))


def put_interactions(
    recipe: CommentedRecipe, found: Interactions, split: PublishedFiles | None, choices: Choices
) -> None:
    """Write `interactions`. split: the published split whose parts the table is."""
    table = found.table
    scale = found.weight is not None and is_rating(found.weight)
    names = {getattr(found, role): name for role, name in NAMES.items() if getattr(found, role) is not None}
    if found.weight is not None:
        names[found.weight] = "rating" if scale else "count"
    rename_columns(table, names)
    at = ("interactions",)
    recipe.put(
        *at, value={}, because=f"{table.sample.estimated:,} rows{'' if table.sample.is_whole else ', estimated'}"
    )
    form = form_of(table.sample)
    for key, value in form.items():
        recipe.put(*at, key, value=value)
    if split is None:
        recipe.put(*at, "file", value=table.sample.file, because=_origin(table.sample))
    else:
        parts = {part: one.sample.file for part, one in split.parts.items()}
        recipe.put(*at, "parts", value=parts, because=split.because)
        recipe.put(*at, "split", value=split.name)
    for role in ("user", "item"):
        recipe.put(*at, role, value=getattr(found, role).name, because=found.because.get(role, ""))
    if table.sample.is_lists:
        _put_relation(recipe, found)
        if split is None:
            recipe.put(
                *at, "time", value="position", because="each line is taken as in order of time; remove this if not"
            )
        return
    missing = _missing_words(found)
    if missing:
        recipe.put(*at, "missing", value=["", *missing], because="values that stand for none")
    values = behaviour_of(found.behaviour) if found.behaviour is not None else None
    if found.behaviour is not None and values:
        _put_behaviours(recipe, found, values)
    else:
        _put_relation(recipe, found)
    if found.weight is not None:
        _put_weight(recipe, found, scale)
    if found.time is not None:
        _put_time(recipe, found, choices)


def _origin(table: SampledTable) -> str:
    return f"made from {table.origin}" if table.origin else ""


def _missing_words(found: Interactions) -> list[str]:
    used = [found.user, found.item, found.time, found.weight]
    return sorted({word for column in used if column is not None for word in column.missing})


def _put_behaviours(recipe: CommentedRecipe, found: Interactions, values: dict[str, str | None]) -> None:
    column = found.behaviour
    assert column is not None
    order = dict(zip(column.distinct.to_pylist(), column.counts.tolist()))
    shown = ", ".join(f"{value} {order.get(value, 0):,}" for value in values)
    relations = {"column": column.name, "values": values}
    recipe.put("interactions", "relations", value=relations, because=f"rows by value: {shown}")
    against = [value for value in values if value.lower().replace(" ", "_") in AGAINST.split()]
    if against:
        recipe.remarks.append(f"Rows with {', '.join(against)} are left out (null): they say the opposite.")


def _put_relation(recipe: CommentedRecipe, found: Interactions) -> None:
    texts = [found.table.stem, *(c.name for c in (found.weight,) if c is not None), *found.table.columns]
    if found.weight is not None and found.weight.name == "rating":
        texts.insert(0, "rating")
    for text in texts:
        words = {*words_of(text)}
        for relation, known in RELATIONS:
            if words & known:
                recipe.put("interactions", "relation", value=relation)
                return
    recipe.put("interactions", "relation", value="interacted")


def _put_weight(recipe: CommentedRecipe, found: Interactions, is_scale: bool) -> None:
    column = found.weight
    assert column is not None
    recipe.put("interactions", "weight", value=column.name, because=found.because.get("weight", ""))
    numbers = column.numbers
    if not len(numbers):
        return
    if is_scale and numbers.min() >= 0 and numbers.max() > numbers.min() and found.table.sample.is_whole:
        bounds = [int(v) if float(v).is_integer() else float(v) for v in (numbers.min(), numbers.max())]
        recipe.put("interactions", "rating_range", value=bounds, because="the lowest and the highest")
    elif numbers.min() < 0:
        least = 1 if np.all(numbers == np.floor(numbers)) else float(numbers[numbers > 0].min(initial=1.0))
        recipe.put("interactions", "min_weight", value=least, because="rows below it, such as returns, are left out")


def _put_time(recipe: CommentedRecipe, found: Interactions, choices: Choices) -> None:
    column = found.time
    assert column is not None
    form = column.time
    if form is None:
        recipe.put("interactions", "time", value=column.name, because="as chosen")
        return
    used = dict(form.form)
    if "time_format" in choices.chosen:
        used = {"format": choices.chosen["time_format"]}
    elif form.other is not None:
        options = {one["format"]: f"then {column.few[0]} is read so" for one in (form.form, form.other)}
        text = f"the dates in {found.name}:{column.name}, such as {column.few[0]}, fit two formats"
        used = {"format": choices.answer(Question("time_format", text, options))}
    because = form.because
    if form.share < 0.995:
        because += f"; {1 - form.share:.1%} of the values have another form, and their rows are left out"
    recipe.put("interactions", "time", value={"column": column.name, **used}, because=because)


def put_splits(recipe: CommentedRecipe, found: Interactions, splits: list[PublishedFiles]) -> None:
    """Write published splits of the table of interactions, and `standard`."""
    own = [split for split in splits if split.table is found.table]
    for split in own:
        if not split.is_whole:
            parts = {part: one.sample.file for part, one in split.parts.items()}
            recipe.put("splits", split.name, value=parts, because=split.because)
    if own:
        recipe.put("standard", "split", value=own[0].name, because="the published split")
        return
    enough = found.user.repeats
    has_time = found.time is not None or found.table.sample.is_lists
    if has_time and not found.table.sample.is_whole:
        why = "the last tenth of the rows by time is test, and the tenth before it valid"
        recipe.put("standard", "split", value="by_time:80%,90%", because=why)
        return
    if has_time and enough >= ENOUGH:
        why = f"{found.user.repeats:.3g} interactions of a user on average: the last of each is held out"
        recipe.put("standard", "split", value="last_n:1,valid=1", because=why)
        return
    why = "there are no times" if not has_time else f"{found.user.repeats:.2g} interactions of a user on average"
    recipe.put("standard", "split", value="ratio:0.1,valid=0.1,seed=7", because=why)

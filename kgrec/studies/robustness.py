"""A model under noise: trained where edges are false, lost or disordered or users are fake, measured where none are."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from scipy.stats import t as student
from torch import Tensor
from torch.nn import functional

from kgrec import models
from kgrec.errors import KgrecError, unknown_name
from kgrec.evaluation.evaluation import evaluate
from kgrec.evaluation.metrics import higher_is_better, parse
from kgrec.evaluation.ranking import Ranker, Scorer, scoring
from kgrec.files import refuse_existing, whole
from kgrec.graph import Graph
from kgrec.model import Recommender
from kgrec.nn import vector_tables
from kgrec.studies.noise import ATTACKS, Clean, divide, noisy, pushed_items
from kgrec.studies.noise import KINDS as OF_GRAPHS
from kgrec.tables import by_metric, plain
from kgrec.training.job import TrainingJob, takes_job_options
from kgrec.training.measuring import CHOOSERS
from kgrec.training.session import Report, run_job
from kgrec.training.trained_model import TrainedModel

if TYPE_CHECKING:
    from matplotlib.figure import Figure
    from rich.console import Console
    from rich.table import Table

CLEAN, EMBEDDING = "clean", "embedding"
KINDS = (*OF_GRAPHS, EMBEDDING)
RATES = (0.0, 0.05, 0.1, 0.2, 0.4)
CONFIDENCE = 0.95  #: of the intervals
HITS_AT = 10  #: the list that a pushed item is to get into
MARKER = "robustness.json"  #: a folder with this file is one of ours


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds, and how sure it is."""

    mean: float
    deviation: float | None  #: sample standard deviation; None of a single seed
    interval: tuple[float, float] | None  #: Student's t, 95 %, of the mean; None of a single seed
    values: list[float]  #: by seed


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of one value or more, with the interval that it lies in by Student's t.

    >>> found = estimate([1.0, 2.0, 3.0])  # 2 -+ 4.3027 * 1 / sqrt(3)
    >>> found.mean, found.deviation, [round(end, 3) for end in found.interval]
    (2.0, 1.0, [-0.484, 4.484])
    """
    mean, number = float(np.mean(values)), len(values)
    if number == 1:
        return Estimate(mean, None, None, list(values))
    deviation = float(np.std(values, ddof=1))
    half = float(student.ppf((1 + CONFIDENCE) / 2, number - 1)) * deviation / math.sqrt(number)
    return Estimate(mean, deviation, (mean - half, mean + half), list(values))


@dataclass(frozen=True)
class Trial:
    """What one model measured on the clean test edges."""

    kind: str  #: of noise; `clean` without any
    rate: float
    seed: int
    test: dict[str, float]  #: by metric
    hits: float | None = None  #: hit rate @10 of the items that fake users push; None where there are none


@dataclass(frozen=True)
class Cell:
    """What a model measured under one kind of noise at one rate, and what it lost of what it measured without."""

    kind: str
    rate: float
    test: dict[str, Estimate]  #: by metric
    loss: dict[str, Estimate]  #: by metric, how much worse than clean, seed by seed; below 0 it is better
    percent: dict[str, Estimate | None]  #: the same in percent of clean; None where clean is 0 by a seed
    hits: Estimate | None = None  #: of fake users, hit rate @10 of the items that they push


@dataclass(frozen=True)
class Robustness:
    """How a model does under noise, beside the same model without."""

    model: str
    protocol: str
    metric: str  #: the one to look at
    seeds: list[int]
    clean: dict[str, Estimate]  #: by metric
    clean_hits: Estimate | None  #: hit rate @10 of the items that fake users would push
    cells: list[Cell]  #: kind by kind, by rising rate; none of rate 0

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data."""
        return asdict(self)


REFUSED = ("resume", "init", "init_part")  #: options of a job that make no sense of many models


@partial(takes_job_options, refused=REFUSED)
def measure_robustness(
    model: str | TrainingJob,
    graph: Graph | str | Path,
    *,
    noise: Sequence[float] = RATES,
    kinds: Sequence[str] = ("add", "drop"),
    seeds: int = 3,
    targets: int = 5,
    report: Report | None = None,
    tell: Callable[[Trial], None] | None = None,
    **options: Any,
) -> Robustness:
    """Measure how much a model loses where what it learns from has noise in it; the test edges have none.

    noise: rates, 0 among them or not: it is the reference, trained once a seed. kinds: `add`, `drop`, `swap`,
    `shilling` and `bandwagon`, as `kgrec.noise.noisy` says, for which a model is trained anew at each rate; and
    `embedding`, for which none is: each vector of the trained model's nodes is moved by rate times its own length in a
    random direction. seeds: how many, from `training.seed` on, of training and of noise alike. targets: how many items
    fake users push. out: a folder to write, with robustness.json and robustness.png. report: called after each epoch;
    tell: after each model that is measured. All else is as in `kgrec.train`.

    Losses are of a seed's noisy model to the same seed's clean one; intervals are Student's t over seeds, 95 %. Pushed
    items count among real users who know other items and not them.

    Raises UnknownName for a kind that is not there, KgrecError for rates that cannot be had (before anything is
    trained), `embedding` of a model without vectors of nodes, a model of task `link`, an existing `out`, one where
    matplotlib is not installed, and as `kgrec.noise.divide` and `kgrec.train`, naming the noise.
    """
    job = TrainingJob.of(model, options, "kgrec.measure_robustness", REFUSED)
    graph = graph if isinstance(graph, Graph) else Graph.load(graph)
    if job.trained_for == "link":
        raise KgrecError(
            f"noise goes into interactions, and {job.model!r} is of task 'link', of facts; set task=ranking"
        )
    rates, kinds = _rates(noise), list(dict.fromkeys(kinds))
    for kind in kinds:
        if kind not in KINDS:
            raise unknown_name("kind of noise", kind, KINDS)
    if not kinds:
        raise KgrecError(f"no kind of noise is named; there are {', '.join(KINDS)}")
    if seeds < 1:
        raise KgrecError(f"seeds is {seeds}, 1 or more is wanted")
    if EMBEDDING in kinds:
        _must_have_vectors(job, graph)
    if job.out is not None:
        refuse_existing(job.out, job.overwrite, MARKER)
        _empty_figure()
    clean = divide(graph, job.split, job.candidates)
    for kind in (kind for kind in kinds if kind != EMBEDDING):
        for rate in rates:
            noisy(clean, kind, rate, job.training.seed, targets)
    grid = _Grid(job, graph, clean, kinds, rates, targets, report)
    trials = []
    for seed in range(job.training.seed, job.training.seed + seeds):
        for trial in grid.of_seed(seed):
            trials.append(trial)
            if tell is not None:
                tell(trial)
    protocol = clean.split.protocol + (
        ", refit on train + valid" if job.refit and clean.split.valid is not None else ""
    )
    result = _summary(
        job.model, protocol, parse(job.metrics[0]).name if job.metrics else CHOOSERS[job.trained_for], trials
    )
    if job.out is not None:
        _write(result, job.out, job.overwrite)
    return result


def read_rates(text: str) -> list[float]:
    """Rates of noise between commas.

    >>> read_rates("0, 0.05,0.1")
    [0.0, 0.05, 0.1]

    Raises KgrecError for what is no number.
    """
    try:
        return [float(word) for word in text.split(",")]
    except ValueError:
        raise KgrecError(f"noise {text!r}: rates between commas are wanted, such as 0.05,0.1,0.2") from None


def _rates(noise: Sequence[float]) -> list[float]:
    """The rates above 0, rising."""
    for rate in noise:
        if not (math.isfinite(rate) and rate >= 0):
            raise KgrecError(f"a rate of noise is {rate:g}, a number from 0 is wanted")
    rates = sorted({float(rate) for rate in noise} - {0.0})
    if not rates:
        raise KgrecError("no rate of noise is above 0, so there is nothing to measure; name one, such as 0.1")
    return rates


# ---------------------------------------------------------------------- models


@dataclass(frozen=True)
class _Grid:
    """All that is trained and measured, by one seed after another."""

    job: TrainingJob
    graph: Graph
    clean: Clean
    kinds: list[str]
    rates: list[float]
    targets: int
    report: Report | None

    def of_seed(self, seed: int) -> Iterator[Trial]:
        """The clean model, and then kind by kind, by rising rate, those under noise."""
        is_attacked = any(kind in ATTACKS for kind in self.kinds)
        pushed = torch.from_numpy(pushed_items(self.clean, self.targets, seed)) if is_attacked else None
        run = self.trained(self.graph, self.clean.split.spec, seed, CLEAN)
        yield Trial(CLEAN, 0.0, seed, run.metrics["test"], self.hits(run, pushed))
        for kind in self.kinds:
            for rate in self.rates:
                if kind == EMBEDDING:
                    yield Trial(kind, rate, seed, self.moved(run, rate, seed))
                    continue
                graph = noisy(self.clean, kind, rate, seed, self.targets)
                under = self.trained(graph, self.clean.spec, seed, f"{kind} {rate:g}")
                hits = self.hits(under, pushed if kind in ATTACKS else None)
                yield Trial(kind, rate, seed, under.metrics["test"], hits)

    def trained(self, graph: Graph, spec: str, seed: int, what: str) -> TrainedModel:
        try:
            return run_job(
                replace(
                    self.job,
                    split=spec,
                    candidates=self.clean.candidates,
                    training=replace(self.job.training, seed=seed),
                    out=None,
                ),
                graph,
                self.report,
            )
        except KgrecError as error:
            raise KgrecError(f"{what}, seed {seed}: {error}") from error

    def moved(self, run: TrainedModel, rate: float, seed: int) -> dict[str, float]:
        """What the model measures with its nodes' vectors moved; afterwards it is as it was."""
        parts = self.clean.split
        with vectors_moved(run.model, rate, torch.Generator().manual_seed(seed)):
            names = list(run.metrics["test"])
            return evaluate(
                run.model, parts.train_valid, parts.test, metrics=names, candidates=parts.candidates
            ).metrics

    def hits(self, run: TrainedModel, pushed: Tensor | None) -> float | None:
        """The hit rate of pushed items, LongTensor [n], local, among real users; None without such items."""
        return None if pushed is None else hit_rate(run.model, run.graph, pushed, self.clean.num_users)


@contextmanager
def vectors_moved(model: Recommender, rate: float, generator: torch.Generator) -> Iterator[None]:
    """The model with each row of its NodeEmbedding tables moved by rate times its own length, in a random direction,
    and all that it makes of them made anew; afterwards it is as it was. Tables of one column, biases, stay."""
    state = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
    try:
        with scoring(model):
            for table in vector_tables(model):
                direction = functional.normalize(torch.randn(table.weight.shape, generator=generator), dim=1)
                table.weight.add_(rate * table.weight.norm(dim=1, keepdim=True) * direction.to(table.weight))
            model.refresh()
        yield
    finally:
        model.load_state_dict(state)


def _must_have_vectors(job: TrainingJob, graph: Graph) -> None:
    """Raise KgrecError for a model without tables that `embedding` moves; it is built for one node a type to see."""
    few = {name: replace(node, count=min(node.count, 1)) for name, node in graph.schema.nodes.items()}
    with torch.random.fork_rng(devices=[]):
        built = models.build(job.model, Graph.empty(replace(graph.schema, nodes=few)), job.fields)
    if not vector_tables(built):
        raise KgrecError(
            f"noise of kind 'embedding' moves the vectors of a NodeEmbedding, and {job.model!r} has none; take other "
            f"kinds: {', '.join(OF_GRAPHS)}"
        )


def hit_rate(model: Recommender, known: Graph, items: Tensor, num_users: int) -> float:
    """Of the users who do not have an item, the share that gets it among the first 10 of all that they have not seen:
    the mean over items. items: LongTensor [n], local; num_users: of the first so many users, those with a known edge.
    """
    source, _, target = known.target
    with scoring(model):
        scorer = Scorer(model, known)
        seen = scorer.seen
        ranker = Ranker(scorer, {"all": seen.nodes(target)}, HITS_AT)
        user = seen.nodes(source)[:num_users]
        user = user[scorer.had.lengths(user) > 0]
        item = items.to(user.device) + seen.range(target).start
        hits = torch.zeros(len(item), device=user.device)
        for row in ranker.batches(user):
            best = ranker.best(user[row])["all"].item
            hits += (best[:, :, None] == item).any(1).sum(0)
        lacking = (~seen.is_edge(user, item.expand(len(user), -1))).sum(0)
    return float((hits / lacking.clamp(min=1)).mean())


# ---------------------------------------------------------------------- results


def _summary(model: str, protocol: str, metric: str, trials: Sequence[Trial]) -> Robustness:
    """Estimates over the seeds of trials, which are seed by seed and in each in the same order."""
    by_noise: dict[tuple[str, float], list[Trial]] = {}
    for trial in trials:
        by_noise.setdefault((trial.kind, trial.rate), []).append(trial)
    clean = by_noise.pop((CLEAN, 0.0))
    names = [name for name in clean[0].test if all(name in trial.test for trial in trials)]
    return Robustness(
        model=model,
        protocol=protocol,
        metric=metric,
        seeds=[trial.seed for trial in clean],
        clean={name: estimate([trial.test[name] for trial in clean]) for name in names},
        clean_hits=_hits(clean),
        cells=[_cell(kind, rate, names, clean, under) for (kind, rate), under in by_noise.items()],
    )


def _cell(kind: str, rate: float, names: Sequence[str], clean: Sequence[Trial], under: Sequence[Trial]) -> Cell:
    loss, percent = dict[str, Estimate](), dict[str, Estimate | None]()
    for name in names:
        sign = 1 if higher_is_better(name) else -1
        pairs = [(one.test[name], other.test[name]) for one, other in zip(clean, under)]
        loss[name] = estimate([sign * (one - other) for one, other in pairs])
        is_zero = any(one == 0 for one, _ in pairs)
        percent[name] = None if is_zero else estimate([100 * sign * (one - other) / one for one, other in pairs])
    test = {name: estimate([trial.test[name] for trial in under]) for name in names}
    return Cell(kind, rate, test, loss, percent, _hits(under))


def _hits(trials: Sequence[Trial]) -> Estimate | None:
    found = [trial.hits for trial in trials if trial.hits is not None]
    return estimate(found) if found else None


def _write(result: Robustness, out: Path, overwrite: bool) -> None:
    with whole(out, overwrite, MARKER) as folder:
        folder.mkdir()
        text = json.dumps(result.to_json(), indent=1, ensure_ascii=False) + "\n"
        (folder / MARKER).write_text(text, encoding="utf-8")
        plot(result).savefig(folder / "robustness.png", dpi=150)


def _empty_figure() -> Figure:
    """Raises KgrecError where the extra is not installed."""
    try:
        from matplotlib.figure import Figure
    except ImportError as error:
        raise KgrecError("a plot needs an extra: pip install 'kgrec[plot]'; or leave out `out`") from error
    return Figure(figsize=(6, 4), layout="constrained")


def plot(result: Robustness) -> Figure:
    """Rate to loss by the chosen metric, a line a kind with its intervals; in percent, where clean is not 0. Raises
    KgrecError where matplotlib is not installed."""
    figure = _empty_figure()
    axes = figure.subplots()
    in_percent = all(cell.percent[result.metric] is not None for cell in result.cells)
    for kind in dict.fromkeys(cell.kind for cell in result.cells):
        cells = [cell for cell in result.cells if cell.kind == kind]
        points = [(cell.percent if in_percent else cell.loss)[result.metric] for cell in cells]
        means, low, high = [0.0], [0.0], [0.0]
        for point in points:
            assert point is not None
            means.append(point.mean)
            low.append(point.interval[0] if point.interval else point.mean)
            high.append(point.interval[1] if point.interval else point.mean)
        rates = [0.0, *(cell.rate for cell in cells)]
        axes.plot(rates, means, marker="o", label=kind)
        axes.fill_between(rates, low, high, alpha=0.15)
    axes.axhline(0, color="gray", linewidth=0.8)
    axes.set_xlabel("rate of noise")
    axes.set_ylabel(f"loss of {result.metric}" + (", % of clean" if in_percent else ""))
    seeds = f"{len(result.seeds)} seeds, 95 % intervals" if len(result.seeds) > 1 else f"seed {result.seeds[0]}"
    axes.set_title(f"{result.model} ({result.protocol}), {seeds}", fontsize="small", wrap=True)
    axes.legend()
    return figure


def show(result: Robustness, console: Console) -> None:
    """The same as tables."""
    title = f"{result.model} ({result.protocol}), {_number(len(result.seeds), 'seed')}"
    rows = {CLEAN: result.clean} | {f"{cell.kind} {cell.rate:g}": cell.test for cell in result.cells}
    means = {name: {metric: found.mean for metric, found in row.items()} for name, row in rows.items()}
    for values in by_metric("noise", means, title=title, width=console.width):
        console.print(values)
    metric = result.metric
    table = plain(f"{metric}: what is lost of clean", ["noise"], [metric, "spread", "loss", "%", "95 % interval"])
    clean = result.clean[metric]
    table.add_row(CLEAN, f"{clean.mean:.4f}", _maybe(clean.deviation), "", "", "")
    for cell in result.cells:
        test, loss, percent = cell.test[metric], cell.loss[metric], cell.percent[metric]
        share, interval = ("", "") if percent is None else (f"{percent.mean:.1f}", _span(percent, 1))
        table.add_row(
            f"{cell.kind} {cell.rate:g}",
            f"{test.mean:.4f}",
            _maybe(test.deviation),
            f"{loss.mean:.4f}",
            share,
            interval,
        )
    console.print(table)
    if result.clean_hits is not None:
        pushed = plain(f"Pushed items: hit rate @{HITS_AT} among real users", ["noise"], ["before", "after", "95 %"])
        for cell in result.cells:
            if cell.hits is not None:
                before, after = result.clean_hits.mean, cell.hits
                pushed.add_row(f"{cell.kind} {cell.rate:g}", f"{before:.4f}", f"{after.mean:.4f}", _span(after, 4))
        console.print(pushed)


def rows(results: Sequence[Robustness], rate: float, metric: str | None = None) -> list[dict[str, Any]]:
    """Several models beside each other at one rate, kind by kind: `kind`, `model`, and Estimates `clean`, `noisy`,
    `loss` and `percent` (None where clean is 0). metric: else the first result's own.

    Raises KgrecError where results are of several protocols, or lack the rate; UnknownName for a metric that one lacks.
    """
    if not results:
        raise KgrecError("there are no results to put beside each other")
    metric = metric or results[0].metric
    for result in results:
        if result.protocol != results[0].protocol:
            raise KgrecError(
                f"{result.model} was measured by {result.protocol!r}, and {results[0].model} by "
                f"{results[0].protocol!r}; only results of one protocol may be compared"
            )
        if metric not in result.clean:
            raise unknown_name("metric", metric, result.clean, f"of {result.model}")
        if rate not in [cell.rate for cell in result.cells]:
            found = ", ".join(f"{known:g}" for known in sorted({cell.rate for cell in result.cells}))
            raise KgrecError(f"{result.model} was not measured at a rate of {rate:g}, only at {found}")
    return [
        {
            "kind": kind,
            "model": result.model,
            "clean": result.clean[metric],
            "noisy": cell.test[metric],
            "loss": cell.loss[metric],
            "percent": cell.percent[metric],
        }
        for kind in dict.fromkeys(cell.kind for result in results for cell in result.cells)
        for result in results
        for cell in result.cells
        if cell.kind == kind and cell.rate == rate
    ]


def table(results: Sequence[Robustness], rate: float, metric: str | None = None) -> Table:
    """`rows` to print, with the interval of the loss in percent. Raises what `rows` raises."""
    found = rows(results, rate, metric)
    title = f"{metric or results[0].metric} at a rate of {rate:g} ({results[0].protocol})"
    beside = plain(title, ["noise", "model"], [CLEAN, "noisy", "loss", "%", "95 % interval"])
    for row in found:
        percent = row["percent"]
        share, interval = ("", "") if percent is None else (f"{percent.mean:.1f}", _span(percent, 1))
        numbers = (f"{row[name].mean:.4f}" for name in ("clean", "noisy", "loss"))
        beside.add_row(row["kind"], row["model"], *numbers, share, interval)
    return beside


def _number(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _maybe(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _span(found: Estimate, digits: int) -> str:
    return "" if found.interval is None else f"{found.interval[0]:.{digits}f} to {found.interval[1]:.{digits}f}"

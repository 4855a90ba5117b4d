"""Runs the named benchmarks of scripts/benchmarks.yaml. Each prints one line of JSON and appends it to results.jsonl.

`benchmark.py perf --against COMMIT` compares the speed of this working tree with that of a commit instead.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import yaml

import perf
import race
from kgrec.cli.before_torch import wait_briefly

wait_briefly()  # before torch starts, as the kgrec command does

import fit_speed
from build_speed import build_bounded, build_facts_bounded

from cold_items import Kept, cold_arms
from filter_speed import filter_requests
from kgrec.errors import KgrecError, unknown_name
from kgrec.graph import Graph
from kgrec.run import Run, peak_mb, train
from kgrec.settings import configure
from kgrec.training.config import TrainingConfig
from kgrec.training.run_folder import versions
from scale import apart, scale_graph

ROOT = Path(__file__).parent.parent
LESS_IS_BETTER = (
    "rmse",
    "mae",
    "seconds",
    "load_seconds",
    "first_seconds",
    "longest_seconds",
    "beyond_scoring_seconds",
    "peak_mb",
    "page_mb",
    "fit_mb",
    *("anon_mb", "share_of_duckdb", "share_of_in_memory"),
    "user_milliseconds",
    *("index_p50_ms", "index_p99_ms", "exact_p50_ms", "exact_p99_ms"),
    *("anonymous_mb", "times_small"),
    *("p50_ms", "p99_ms", "p99_rise", "failed", "crashes", "wrong", "lost", "memory_growth"),
    *(f"{name}_apart" for name in ("mf", "mf_sharded", "sasrec", "kgat")),
    *(f"{name}_seconds" for name in ("mf", "ease", "itemknn", "kgat")),
)


def main() -> int:
    if sys.argv[1:2] == ["perf"]:
        return perf.main(sys.argv[2:])
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help="names of benchmarks, or their first words")
    parser.add_argument("--list", action="store_true", help="list the benchmarks")
    parser.add_argument("--quick", action="store_true", help="run only two epochs, to see how long one takes")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds; they are 0 to N - 1 (default: 1)")
    parser.add_argument("--seed", type=int, help="run this seed alone, in place of 0 to N - 1")
    parser.add_argument(
        "--minutes", type=float, default=0, help="how long serve-soak lasts, or a race at most (default: as it says)"
    )
    parser.add_argument(
        "--peers",
        type=Path,
        default=race.peers_from_environment(),
        help="folder with the environments of other libraries",
    )
    parser.add_argument("--resume", action="store_true", help="go on with races that were ended before")
    parser.add_argument("--realtime", action="store_true", help="time races under `chrt -f 10`, which needs root")
    parser.add_argument(
        "--cpu", action="store_true", help="count CPU seconds of all threads in races, where others use the machine"
    )
    parser.add_argument("--table", action="store_true", help="print the table of results from results.jsonl")
    parser.add_argument("--data", type=Path, default=Path(os.environ.get("KGREC_DATA", ROOT.parent / "shared/data")))
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks", help="folder for graphs and results.jsonl")
    options = parser.parse_args()
    benchmarks = yaml.safe_load((ROOT / "scripts/benchmarks.yaml").read_text(encoding="utf-8"))
    try:
        if options.list:
            for name, benchmark in benchmarks.items():
                print(f"{name:26s} {benchmark['against']}")
        for name in [one for given in options.names for one in named(given, benchmarks)]:
            for seed in range(options.seeds) if options.seed is None else [options.seed]:
                start = benchmarks[name].get("init")
                if start is not None and not run_folder(start, seed, options).is_dir():
                    print(json.dumps(run(start, benchmarks[start], seed, options)), flush=True)
                print(json.dumps(run(name, benchmarks[name], seed, options)), flush=True)
        if options.table:
            print(results_table(benchmarks, options.out / "results.jsonl"))
    except KgrecError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def named(given: str, benchmarks: Mapping[str, Any]) -> list[str]:
    """The benchmark with this name, or all whose names begin with it and a hyphen."""
    found = [given] if given in benchmarks else [name for name in benchmarks if name.startswith(f"{given}-")]
    if not found:
        raise unknown_name("benchmark", given, benchmarks)
    return found


def run_folder(name: str, seed: int, options: argparse.Namespace, suffix: str = "") -> Path:
    """The run folder of a benchmark. Quick runs have their own folders, so that no real run starts from them."""
    folder: Path = options.out / f"{name}-seed{seed}{suffix}{'-quick' if options.quick else ''}.run"
    return folder


def run(name: str, benchmark: Mapping[str, Any], seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """Run one benchmark with one seed, and add its result to results.jsonl."""
    begun = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    if "measure" in benchmark:
        result = MEASURES[benchmark["measure"]]({**benchmark, "name": name}, options)
    else:
        graph = Graph.load(graph_folder(benchmark["recipe"], options))
        specs = benchmark.get("splits") or [benchmark.get("split")]
        folders = [run_folder(name, seed, options, f"-{i}" if len(specs) > 1 else "") for i in range(len(specs))]
        start = run_folder(benchmark["init"], seed, options) if "init" in benchmark else None
        results = [
            train_once(benchmark, graph, spec, seed, options.quick, folder, start)
            for spec, folder in zip(specs, folders)
        ]
        result = mean_of(results)
    result = {
        "name": name,
        **result,
        "seconds_total": round(time.perf_counter() - begun, 2),
        "seed": seed,
        "quick": options.quick,
        "versions": versions(),
        "when": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    with (options.out / "results.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(result) + "\n")
    return result


def graph_folder(recipe: str, options: argparse.Namespace) -> Path:
    """The graph of a recipe in the output folder. It is built if it does not exist."""
    from kgrec.sources.building import build_to

    folder = options.out / f"{recipe}.graph"
    if not folder.exists():
        own = "/" in recipe  # a sample with its files beside the recipe
        build_to(ROOT / f"graphs/{recipe}.yaml", None if own else options.data, folder)
    return folder


def train_once(
    benchmark: Mapping[str, Any],
    graph: Graph,
    spec: str | None,
    seed: int,
    quick: bool,
    folder: Path,
    start: Path | None,
) -> dict[str, Any]:
    """Train one model. Returns its metrics as `kgrec train --json` prints them, and keeps its run folder for `kgrec
    compare`."""
    training, config = dict(benchmark.get("training", {}), seed=seed), dict(benchmark.get("set", {}))
    if quick:  # one epoch of each phase, if there are two
        training["epochs"] = 2
        if "pretrain_epochs" in config:
            config["pretrain_epochs"] = 1
        if "adversarial" in training:
            training["adversarial"] = {**training["adversarial"], "begin": 2}
    outcome = train(
        benchmark["model"],
        graph,
        task=benchmark.get("task"),
        facts_only=benchmark.get("facts_only", False),
        split=spec,
        candidates=benchmark.get("candidates"),
        now=benchmark.get("now"),
        config=config,
        training=configure(TrainingConfig, training),
        metrics=benchmark.get("metrics"),
        refit=benchmark.get("refit", False),
        init=start,
        out=folder,
        overwrite=True,
        report=lambda epoch, metrics: print(epoch, dict(metrics), file=sys.stderr, flush=True),
    )
    return dict(outcome.metrics)


def mean_of(results: list[dict[str, Any]]) -> dict[str, Any]:
    """One result for several splits: the mean of their metrics, and the test metrics of each split."""
    if len(results) == 1:
        return results[0]
    mean = dict(results[0])
    for part in ("valid", "test"):
        mean[part] = {name: float(np.mean([r[part][name] for r in results])) for name in results[0][part]}
    mean["protocol"] = " | ".join(r["protocol"] for r in results)
    mean["folds"] = [r["test"] for r in results]
    return mean


# ---------------------------------------------------------------------- speed of single parts


def build(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds to build a graph folder from files, in this process, without imports."""
    from kgrec.sources.building import build_to

    with tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        report = build_to(ROOT / f"graphs/{benchmark['recipe']}.yaml", options.data, Path(folder) / "out.graph")
        seconds = time.perf_counter() - begun
    return {"test": {"seconds": seconds, "peak_mb": peak_mb()}, "report": report.to_json()}


def link_films(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Links of items to entities, held against published ones: see `link_quality`."""
    import link_quality

    return link_quality.link_films(benchmark, options.data, ROOT)


def link_plots(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Links of films whose entities have other names and other parts of their plots: see `link_quality`."""
    import link_quality

    return link_quality.link_plots(benchmark, options.data)


def build_csv(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory to build a graph folder from a CSV file of synthetic interactions, and to load it."""
    import pyarrow as pa
    import pyarrow.csv

    from kgrec.sources.building import build_to

    number = benchmark["interactions"] // (20 if options.quick else 1)
    with tempfile.TemporaryDirectory() as name:
        folder, rng = Path(name), np.random.default_rng(0)
        columns = {
            "user": rng.integers(0, number // 145, number),
            "item": (rng.random(number) ** 2 * (number // 750)).astype(np.int64),
            "rating": rng.integers(1, 6, number),
            "time": rng.integers(789652009, 1427784002, number),
        }
        pa.csv.write_csv(pa.table(columns), folder / "ratings.csv")
        del columns
        (folder / "recipe.yaml").write_text(CSV_RECIPE, encoding="utf-8")
        child = os.fork()
        if child == 0:  # its own process, so that its peak of memory is that of the build
            begun = time.perf_counter()
            build_to(folder / "recipe.yaml", folder, folder / "out.graph")
            seconds = time.perf_counter() - begun
            (folder / "measured.json").write_text(json.dumps({"seconds": seconds, "peak_mb": peak_mb()}))
            os._exit(0)
        os.waitpid(child, 0)
        measured = json.loads((folder / "measured.json").read_text())
        begun = time.perf_counter()
        Graph.load(folder / "out.graph")
        measured["load_seconds"] = time.perf_counter() - begun
    return {"test": measured, "interactions": number}


CSV_RECIPE = """\
name: synthetic
interactions: {file: ratings.csv, relation: rated, weight: rating, rating_range: [1, 5], time: time}
"""


def read_ntriples(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Triples read per second into numbered edges, from synthetic N-Triples."""
    from kgrec.sources.rdf import RdfSource, read_rdf

    number = benchmark["triples"] // (20 if options.quick else 1)
    rng = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as folder:
        with (Path(folder) / "facts.nt").open("w") as file:
            subjects, objects = rng.integers(0, number // 10, (2, number)).tolist()
            predicates = rng.integers(0, 20, number).tolist()
            for s, p, o in zip(subjects, predicates, objects):
                file.write(f"<http://example.org/e/{s}> <http://example.org/p/{p}> <http://example.org/e/{o}> .\n")
        begun = time.perf_counter()
        facts = read_rdf(RdfSource(files=["facts.nt"]), Path(folder))
        seconds = time.perf_counter() - begun
    return {"test": {"triples_per_second": facts.num_triples / seconds, "seconds": seconds, "peak_mb": peak_mb()}}


def random_graph(users: int, items: int, edges: int, seed: int = 0) -> Graph:
    """A graph of random interactions in which popularity falls off as in real catalogs."""
    import pyarrow as pa

    from kgrec.graph.assembly import EdgePart, NodePart, assemble
    from kgrec.graph.vocabulary import Vocabulary

    rng = np.random.default_rng(seed)
    nodes = {"user": NodePart(Vocabulary(pa.array(range(users)))), "item": NodePart(Vocabulary(pa.array(range(items))))}
    rated = EdgePart(rng.integers(0, users, edges), (rng.random(edges) ** 2 * items).astype(np.int64))
    target = ("user", "rated", "item")
    return Graph.of(assemble(nodes, {target: rated}, target=target))


def full_ranking(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds to rank the whole catalog for every user, with six metrics at 10 and 20: the best of five rounds."""
    from kgrec import models
    from kgrec.evaluation.evaluation import evaluate

    known = random_graph(benchmark["users"], benchmark["items"], 1_000_000)
    held = random_graph(benchmark["users"], benchmark["items"], benchmark["users"] * 10, seed=1)
    model = models.build("mf", known).eval()
    names = [f"{m}@{k}" for m in ("recall", "precision", "hit_rate", "ndcg", "mrr", "map") for k in (10, 20)]
    seconds = []
    for _ in range(5):
        begun = time.perf_counter()
        evaluate(model, known, held, metrics=names)
        seconds.append(time.perf_counter() - begun)
    return {"test": {"seconds": min(seconds), "median_seconds": float(np.median(seconds))}}


def fit(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds in which a model without epochs is fitted to all interactions of a graph, and those of other libraries:
    see fit_speed.py."""
    return fit_speed.fit(benchmark, Graph.load(graph_folder(benchmark["recipe"], options)), options)


def fit_large(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory in which a model without epochs is fitted to random interactions with a large catalog."""
    by = 20 if options.quick else 1
    sizes = [benchmark[name] // by for name in ("users", "items", "interactions")]
    return fit_speed.fit_large(benchmark, random_graph(*sizes))


def negatives(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Negatives per second from a loader that rejects known edges."""
    import torch

    from kgrec.samplers import Edges, Loader, Negatives, Stream

    number = benchmark["edges"] // (20 if options.quick else 1)
    graph = random_graph(number // 145, number // 750, number)
    graph.is_edge(torch.zeros(1, dtype=torch.long), torch.zeros(1, 1, dtype=torch.long))  # the index is built once
    loader = Loader(Edges(graph), Negatives(graph, 4, reject=graph), batch_size=8192)
    begun, drawn = time.perf_counter(), 0
    for batch in loader.epoch(Stream()):
        assert batch.negative is not None
        drawn += batch.negative.numel()
        if drawn > number:
            break
    return {"test": {"negatives_per_second": drawn / (time.perf_counter() - begun)}, "edges": number}


def neighbors(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Edges of sampled neighborhoods per second on one thread, with seed pairs excluded: the best of nine batches."""
    import torch

    from kgrec.samplers import Edges, Loader, Neighbors, Stream

    torch.set_num_threads(1)
    number = benchmark["edges"] // (20 if options.quick else 1)
    graph = random_graph(number // 32, number // 130, number)
    loader = Loader(Edges(graph), Neighbors(graph, benchmark["fanouts"]), batch_size=1024)  # at most 2,048 seed nodes
    batches, rates, sizes = loader.epoch(Stream()), [], []
    next(batches)  # the indices are built, the kernel is compiled
    for _ in range(9):
        begun = time.perf_counter()
        around = next(batches).neighborhood
        assert around is not None
        rates.append(len(around.edge) / (time.perf_counter() - begun))
        sizes.append(len(around.edge))
    return {
        "test": {"edges_per_second": max(rates), "median_edges_per_second": float(np.median(rates))},
        "edges": number,
        "edges_of_a_batch": float(np.mean(sizes)),
    }


def load_mapped(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds and memory for making the arrays of a synthetic graph, and for loading it mapped: see scale.py."""
    path = scale_graph(options.out, benchmark["edges"] // (20 if options.quick else 1))
    made = {f"making_{name}": value for name, value in apart("making", path).items()}
    return {"test": {**apart("load", path), **made}, "edges": benchmark["edges"], "nodes": benchmark["edges"] // 10}


def scale_kgat(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Milliseconds for a batch of KGAT with sampled neighborhoods on a mapped graph and on one of a tenth of its size,
    in turns; seconds of `refresh` on the large one, and the most memory of the process's own: see scale.py."""
    number, settings = benchmark["edges"] // (20 if options.quick else 1), benchmark["set"]
    small, large = (scale_graph(options.out, size) for size in (number // 10, number))
    found = apart("kgat", large, settings=settings, batches=benchmark["batches"])
    found["anonymous_mb"] = max(found["training_anonymous_mb"], found["refresh_anonymous_mb"])
    in_turns = apart("pair", small, large=str(large), settings=settings, rounds=benchmark["rounds"])
    return {"test": {**found, **in_turns}, "edges": benchmark["edges"], "nodes": benchmark["edges"] // 10}


def cold_items(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Recall of cold items by models and controls with the same side data: see cold_items.py."""
    graph = Graph.load(graph_folder(benchmark["recipe"], options))
    kept = Kept(options.out / f"cold-items-{benchmark['recipe']}{'-quick' if options.quick else ''}.jsonl")
    return cold_arms(benchmark, graph, options, kept)


def report_runs(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of `kgrec report` for two runs, with the start of the process, and the size of the page in MB."""
    graph = graph_folder(benchmark["recipe"], options)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        runs = [folder / f"{model}.run" for model in benchmark["models"]]
        for model, run in zip(benchmark["models"], runs):
            said = benchmark["models"][model]
            train(model, Graph.load(graph), split=benchmark["split"], out=run, training=said.get("training", {}))
        command = [sys.executable, "-m", "kgrec", "report", *map(str, runs), "--graph", str(graph)]
        command += ["--out", str(folder / "report.html"), "--card", str(folder / "card.md")]
        begun = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True)
        seconds = time.perf_counter() - begun
        return {"test": {"seconds": seconds, "page_mb": (folder / "report.html").stat().st_size / 1e6}}


def race_to_quality(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds until lists are as good as 95 % and 99 % of the best, by kgrec and other libraries: see `race`."""
    graph = Graph.load(graph_folder(benchmark["recipe"], options))
    return race.measure_race(benchmark["name"], benchmark, graph, options)


def rules(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds for the lists of all users without rules and by each of some, the best of three, of CPU, so that what
    else runs counts for nothing; and for each weight what diversity and calibration cost and gain, on valid."""
    trained = train(
        benchmark["model"],
        Graph.load(graph_folder(benchmark["recipe"], options)),
        split=benchmark["split"],
        config=benchmark.get("set", {}),
        training=configure(TrainingConfig, benchmark.get("training", {})),
        metrics=["ndcg@10"],
    )
    graph = trained.whole_graph()
    measured = {"seconds_without": _seconds_of_lists(trained, None)}
    for name, one in benchmark["rules"].items():
        measured[f"seconds_{name}"] = _seconds_of_lists(trained, one)
    measured["seconds"] = max(measured.values())
    curve = []
    for name, one in benchmark["curves"].items():
        for weight in benchmark["weights"][:: 5 if options.quick else 1]:
            weighed = {rule: {**said, "weight": weight} for rule, said in one.items()}
            found = trained.measure(graph, split=benchmark["split"], rules=weighed)
            curve.append({"curve": name, "weight": weight, **found["after"]})
    return {"test": measured, "measured_on": found["measured_on"], "num_users": found["num_users"], "curve": curve}


def _seconds_of_lists(trained: Run, rules: Mapping[str, Any] | None) -> float:
    """The least of three times of CPU that lists of ten of all users take, after one in which kernels are compiled."""
    seconds = []
    for _ in range(4):
        begun = time.process_time()
        for _ in trained.recommend_in_parts("all", 10, rules=rules):
            pass
        seconds.append(time.process_time() - begun)
    return min(seconds[1:])


def fold_in(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """NDCG@10 of users who were left out of training, and milliseconds for each: see `new_users_quality`."""
    import new_users_quality

    return new_users_quality.fold_in(benchmark, Graph.load(graph_folder(benchmark["recipe"], options)), options)


def serve(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """How a server answers under load: see `serve_speed`."""
    import serve_speed

    graph = graph_folder(benchmark["recipe"], options)
    measure = {"speed": serve_speed.serve_speed, "reload": serve_speed.serve_reload, "soak": serve_speed.serve_soak}
    return measure[benchmark["load"]](benchmark, graph, options.out, options.quick, options.minutes)


def item_index(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Lists of a large catalog, exactly and by an index: see `index_speed`."""
    import index_speed

    return index_speed.item_index(benchmark)


def score_all(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Users a second whose lists are made and written: see `score_speed`."""
    import score_speed

    return score_speed.score_all(benchmark, options.quick)


def two_hosts(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Trainings over two hosts beside two local processes: see `two_hosts`."""
    import two_hosts as hosts

    return hosts.two_hosts(benchmark, graph_folder(benchmark["recipe"], options), options.quick)


def service_requests(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """How fast a Service answers: see `service_speed`."""
    import service_speed

    return service_speed.service_requests(benchmark, Graph.load(graph_folder(benchmark["recipe"], options)))


def explanations(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Whether the paths behind a run's lists hold: see `explain_quality`. The run is trained if it is not there."""
    import explain_quality

    return explain_quality.faithfulness(benchmark, _trained(benchmark["of"], options), options.quick)


def now_effect(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """What it gives away when a list is wanted: see `now_effect`. Runs that it needs are trained if they are not
    there."""
    import now_effect as effects

    graph = Graph.load(graph_folder(benchmark["recipe"], options))
    return effects.now_effect(benchmark, graph, options.quick, lambda name: Run.load(_trained(name, options)))


def among_verified(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The metrics of runs among users whose held-out time is known to be true: see `now_effect`. Runs are trained if
    they are not there."""
    import now_effect as effects

    graph = Graph.load(graph_folder(benchmark["recipe"], options))
    return effects.among_verified(benchmark, graph, options.data, lambda name: Run.load(_trained(name, options)))


def _trained(name: str, options: argparse.Namespace) -> Path:
    """The run folder of a benchmark with seed 0. It is trained if it does not exist."""
    folder = run_folder(name, 0, options)
    if not folder.is_dir():
        of_run = yaml.safe_load((ROOT / "scripts/benchmarks.yaml").read_text(encoding="utf-8"))[name]
        run(name, of_run, 0, options)
    return folder


def explain_speed(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds to explain one pair: see `explain_quality`."""
    import explain_quality

    graph = Graph.load(graph_folder(benchmark["recipe"], options))
    return explain_quality.explain_speed(benchmark, graph, options.quick)


def start(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """Seconds of `kgrec recommend` for one user: see `start_speed`."""
    import start_speed

    return start_speed.start(benchmark, Graph.load(graph_folder(benchmark["recipe"], options)), options.out)


def audit(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """What the facts of a graph are worth on warm and on cold items, by `kgrec.audit`, and how many seconds that takes.
    Its folder stays beside the results; it is begun anew each time."""
    import kgrec

    out = options.out / f"audit-{Path(benchmark['recipe']).name}{'-quick' * options.quick}"
    graph = graph_folder(benchmark["recipe"], options)
    begun = time.perf_counter()
    found = kgrec.audit(
        benchmark["model"],
        graph,
        config=benchmark.get("set", {}),
        training=configure(TrainingConfig, benchmark.get("training", {})),
        split=benchmark.get("split"),
        cold=benchmark["cold"],
        metrics=benchmark["metrics"],
        seeds=1 if options.quick else benchmark["seeds"],
        jobs=benchmark["jobs"],
        out=out,
        overwrite=True,
        notify=lambda result, number, total: print(f"{number} of {total}: {result.arm}", file=sys.stderr, flush=True),
    )
    worth = {row.scope: row.difference for scope in ("warm", "cold") for row in found.of(scope) if row.what == "graph"}
    alone = {row.part: row for row in found.of("cold") if row.what == "alone" and row.part_kind == "relation"}
    return {
        "test": {
            "seconds": time.perf_counter() - begun,
            "warm_worth": worth["warm"],
            "cold_worth": worth["cold"],
        },
        "trainings": found.trainings,
        "metric": found.metric,
        "sentence": found.sentence,
        "alone_on_cold": {name: [row.difference, row.interval, row.p] for name, row in alone.items()},
    }


def tuning(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The best value on valid that `kgrec.tune` finds over the model's own ranges, from the benchmark's settings on,
    and how many seconds that takes. Test is not looked at."""
    import kgrec
    from kgrec import models
    from kgrec.search_ranges import ranges_of

    begun = time.perf_counter()
    found = kgrec.tune(
        benchmark["model"],
        graph_folder(benchmark["recipe"], options),
        trials=3 if options.quick else benchmark["trials"],
        config=benchmark["set"],
        ranges=ranges_of(models.find(benchmark["model"]).Config, "ranking"),
        split=benchmark["split"],
        metrics=benchmark["metrics"],
        training=configure(
            TrainingConfig, {**benchmark.get("training", {}), **({"epochs": 2} if options.quick else {})}
        ),
        notify=lambda trial: print(f"trial {trial.number}: {trial.value}", file=sys.stderr, flush=True),
    )
    start = {} if found.start is None else {"start": found.start.value}
    return {"test": {"valid": found.best.value, **start, "seconds": time.perf_counter() - begun}}


def model_choice(benchmark: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The best value on valid of several models that share a time, and that of the best simple model among them. Test
    is not looked at."""
    import kgrec

    found = kgrec.tune_models(
        benchmark["models"],
        graph_folder(benchmark["recipe"], options),
        timeout=benchmark["timeout"] / (15 if options.quick else 1),
        split=benchmark["split"],
        metrics=benchmark["metrics"],
        notify=lambda trial: print(f"trial {trial.number}: {trial.value}", file=sys.stderr, flush=True),
    )
    print(found.best.command, file=sys.stderr)
    values = {name: one.best.value or 0.0 for name, one in found.tunings.items()}
    best_control = max(values.get(name, 0.0) for name in found.controls)
    test = {"valid": values[found.best.model], "times_best_control": values[found.best.model] / best_control}
    return {
        "test": {**test, "seconds": found.seconds},
        "valid_of": values,
        "failed": found.failed,
        "settings": found.best.best.settings,
    }


MEASURES: dict[str, Callable[[Mapping[str, Any], argparse.Namespace], dict[str, Any]]] = {
    function.__name__: function
    for function in (
        build,
        build_csv,
        build_bounded,
        build_facts_bounded,
        link_films,
        link_plots,
        read_ntriples,
        full_ranking,
        fit,
        fit_large,
        negatives,
        neighbors,
        load_mapped,
        scale_kgat,
        filter_requests,
        service_requests,
        item_index,
        score_all,
        two_hosts,
        report_runs,
        rules,
        fold_in,
        cold_items,
        serve,
        start,
        audit,
        tuning,
        model_choice,
        explanations,
        explain_speed,
        now_effect,
        among_verified,
        race_to_quality,
    )
}


# ---------------------------------------------------------------------- the table


def results_table(benchmarks: Mapping[str, Mapping[str, Any]], path: Path) -> str:
    """A Markdown table of results. For each benchmark it shows the mean over seeds (± standard deviation), with the
    newest result of each seed."""
    if not path.is_file():
        raise KgrecError(f"{path} does not exist; run some benchmarks first")
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    lines = ["| benchmark | measured on test | to reach | held against |", "|---|---|---|---|"]
    for name, benchmark in benchmarks.items():
        shown = benchmark.get("show", ())
        newest = {
            row["seed"]: {**{key: row[key] for key in shown}, **row["test"]}
            for row in rows
            if row["name"] == name and not row["quick"]
        }
        if not newest:
            continue
        reach = benchmark.get("reach", {})
        measured = {metric: [test[metric] for test in newest.values()] for metric in next(iter(newest.values()))}
        wanted = ", ".join(f"{m} {'≤' if m in LESS_IS_BETTER else '≥'} {_shown(v)}" for m, v in reach.items())
        missed = [m for m, bound in reach.items() if _misses(m, float(np.mean(measured[m])), bound)]
        verdict = f"{wanted} (missed: {', '.join(missed)})" if missed else wanted
        figures = ", ".join(f"{metric} {_spread(values)}" for metric, values in measured.items())
        lines.append(f"| `{name}` | {figures} | {verdict or '—'} | {benchmark['against']} |")
    return "\n".join(lines)


def _misses(metric: str, value: float, bound: float) -> bool:
    return value > bound if metric in LESS_IS_BETTER else value < bound


def _spread(values: Iterable[float]) -> str:
    values = list(values)
    mean = _shown(float(np.mean(values)))
    return mean if len(values) == 1 else f"{mean} ± {_shown(float(np.std(values, ddof=1)))}"


def _shown(value: float) -> str:
    return f"{value:.4f}" if abs(value) < 1 else f"{value:,.2f}" if abs(value) < 1000 else f"{value:,.0f}"


if __name__ == "__main__":
    sys.exit(main())

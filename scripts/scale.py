"""What mapped graphs of several sizes cost: seconds, memory of the process's own (anonymous), and files, by model.

    python scripts/scale.py --sizes 1000000,5000000,25000000,100000000 --folder /tmp/scale --out scale.json
    python scripts/scale.py --draw scale.json --image docs/images/scale.svg

The first form writes synthetic graphs (see scale_graph.py) to a folder, makes their arrays, and measures each model on
each graph in a process of its own. The second one draws the curves; it needs matplotlib, the extra `plot`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))

from kgrec.errors import KgrecError
from scale_graph import write_scale_graph

TURN = 4  #: batches of one graph before those of the other
WARM = 20  #: batches before those that are timed: indexes are made, kernels compiled, pages mapped
#: The settings of each model. Vectors of 16 numbers, so that the vectors and Adam's moments of 10 million nodes are
#: 1.9 GB: with them, a model's own memory is mostly that of its vectors
MODELS: Mapping[str, Mapping[str, Any]] = {
    "mf": {"dim": 16},
    "sasrec": {"dim": 16, "length": 20, "loss": "sampled_softmax", "negatives": 64},
    "kgat": {
        **{"dim": 16, "layer_dims": [16, 8], "relation_dim": 16, "fanouts": [10, 5], "sparse": True, "prefetch": 1},
        **{"batch_size": 256, "loss": "bpr", "negatives": 1, "init_std": 0.1, "lr": 0.001, "l2": 0},
    },
}


class Memory:
    """The process's own memory (anonymous pages) and that of files, in MB. Use it as a context: a thread keeps the
    highest value of the former."""

    def __init__(self) -> None:
        self.peak, self.ended = 0.0, False

    @staticmethod
    def now(kind: str = "RssAnon") -> float:
        """Pages of a kind in memory: RssAnon or RssFile."""
        lines = (line.split() for line in Path("/proc/self/status").read_text().splitlines())
        return next(int(words[1]) / 1024 for words in lines if words[0] == f"{kind}:")

    def __enter__(self) -> Memory:
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()
        return self

    def _watch(self) -> None:
        while not self.ended:
            self.peak = max(self.peak, self.now())
            time.sleep(0.005)

    def __exit__(self, *_: object) -> None:
        self.ended = True
        self.thread.join()


def measure_making(path: Path) -> dict[str, float]:
    """Seconds and memory for making the arrays of a graph folder."""
    from kgrec.graph.mapped_storage import write_arrays

    shutil.rmtree(path / "arrays", ignore_errors=True)
    with Memory() as memory:
        before, begun = memory.now(), time.perf_counter()
        write_arrays(path)
        seconds = time.perf_counter() - begun
    size = sum(file.stat().st_size for file in (path / "arrays").rglob("*.npy"))
    return {"seconds": seconds, "anonymous_mb": memory.peak - before, "arrays_mb": size / 2**20}


def measure_load(path: Path) -> dict[str, float]:
    """Seconds and memory for loading a mapped graph, and for its first batch of edges with negatives."""
    from kgrec.graph import Graph
    from kgrec.samplers import Edges, Loader, Negatives

    with Memory() as memory:
        before, begun = memory.now(), time.perf_counter()
        graph = Graph.load(path, mmap=True)
        found = {"seconds": time.perf_counter() - begun}
        known = graph.only(graph.target)
        batches = Loader(Edges(known), Negatives(known, 4), batch_size=2048)
        found["anonymous_mb"] = max(memory.peak, memory.now()) - before
        next(iter(batches))
        found["first_batch_seconds"] = time.perf_counter() - begun
    return {**found, "first_batch_anonymous_mb": memory.peak - before}


def measure_model(path: Path, name: str, settings: Mapping[str, Any], batches: int) -> dict[str, float]:
    """Milliseconds of a batch, by the clock and of CPU, for each objective, the seconds of `refresh`, and the highest
    memory of each part. All edges are trained on."""
    import torch

    from kgrec import models
    from kgrec.graph import Graph
    from kgrec.training.config import TrainingConfig
    from kgrec.training.processes import make_fabric
    from kgrec.training.trainer import Trainer

    found, config = dict[str, float](), TrainingConfig(device="cpu")
    before = Memory.now()
    graph = Graph.load(path, mmap=True)
    with Memory() as memory:
        begun = time.perf_counter()
        model = models.build(name, graph, dict(settings))
        trainer = Trainer(model, graph, config, make_fabric(config))
        model.train()
        found["parameters_mb"] = sum(one.numel() * 4 for one in model.parameters()) / 2**20
        found["build_seconds"] = time.perf_counter() - begun
        for index, objective in enumerate(trainer.objectives):
            stream = trainer._batches(index, 1)
            begun = time.perf_counter()
            with trainer.compiled_steps(1):
                for _ in range(WARM):
                    trainer._step(*next(stream))
                found[f"{objective.name}_warm_seconds"] = time.perf_counter() - begun
                begun, cpu, nodes = time.perf_counter(), time.process_time(), []
                for _ in range(batches):
                    number, batch = next(stream)
                    trainer._step(number, batch)
                    nodes.append(rows_of(batch, name))
                found[f"{objective.name}_ms"] = (time.perf_counter() - begun) / batches * 1000
                found[f"{objective.name}_cpu_ms"] = (time.process_time() - cpu) / batches * 1000
            found[f"{objective.name}_rows"] = sum(nodes) / batches
            stream.close()
    found["training_anonymous_mb"] = memory.peak - before
    with Memory() as memory:
        begun = time.perf_counter()
        model.eval()
        with torch.no_grad():
            model.refresh()
        found["refresh_seconds"] = time.perf_counter() - begun
    return {**found, "refresh_anonymous_mb": memory.peak - before, "file_mb": Memory.now("RssFile")}


def measure_pair(small: Path, large: Path, settings: Mapping[str, Any], rounds: int) -> dict[str, float]:
    """Milliseconds of a batch of KGAT on two graphs, by the clock and of CPU, and how many times longer the large one
    takes. Both are trained in one process in turns, a few batches each, so that what else runs slows both alike; the
    medians of the turns count."""
    from kgrec import models
    from kgrec.graph import Graph
    from kgrec.training.config import TrainingConfig
    from kgrec.training.processes import make_fabric
    from kgrec.training.trainer import Trainer

    config, streams = TrainingConfig(device="cpu"), {}
    for name, path in (("small", small), ("large", large)):
        graph = Graph.load(path, mmap=True)
        model = models.build("kgat", graph, {**settings, "prefetch": 0})  # a thread would draw in the other's turn
        trainer = Trainer(model, graph, config, make_fabric(config))
        model.train()
        streams[name] = trainer, trainer._batches(0, 1)
    taken: dict[tuple[str, str], list[float]] = {}
    for turn in range(rounds + WARM // TURN):
        for name, (trainer, stream) in streams.items():
            begun, cpu = time.perf_counter(), time.process_time()
            for _ in range(TURN):
                trainer._step(*next(stream))
            if turn >= WARM // TURN:
                taken.setdefault((name, "ms"), []).append((time.perf_counter() - begun) / TURN * 1000)
                taken.setdefault((name, "cpu_ms"), []).append((time.process_time() - cpu) / TURN * 1000)
    found = {f"{name}_{kind}": median(values) for (name, kind), values in taken.items()}
    found["times_small"] = found["large_ms"] / found["small_ms"]
    return {**found, "cpu_times_small": found["large_cpu_ms"] / found["small_cpu_ms"]}


def rows_of(batch: Any, name: str) -> int:
    """The number of vectors that a batch reads, which are those that it changes."""
    import torch

    if batch.neighborhood is not None:
        return len(batch.neighborhood.node)
    parts = [batch.tail, batch.negative, batch.history if name == "sasrec" else batch.head]
    return len(torch.cat([part.flatten() for part in parts]).unique())


def estimate(edges: int, nodes: int, dim: int, row: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """What a model would take for a graph of this size, in GB: its vectors with Adam's two moments and, if gradients
    are dense, the gradient; and what one process sends for a batch and for an epoch, if only touched rows travel. row:
    measured on the largest graph; half of the edges are interactions, and users and items are six in ten nodes."""
    found, gb = {}, 1e9
    batch_sizes = {"mf": 2048, "kgat": 256, "sasrec": 128}
    for name, batch_size in batch_sizes.items():
        of_model = row[name]
        rows = of_model.get("ranking_rows", of_model.get("sampled_softmax_rows"))
        vectors = {"mf": 0.6, "sasrec": 0.2, "kgat": 1.0}[name] * nodes  #: users and items, items, all nodes
        copies = {"mf": 4, "sasrec": 4, "kgat": 5}[name]
        batches = edges / 2 / batch_size if name != "sasrec" else 0.4 * nodes / batch_size
        wire = rows * (4 * dim + 8)
        found[name] = {
            "vectors_gb": vectors * dim * 4 / gb,
            "trained_gb": copies * vectors * dim * 4 / gb,
            "wire_mb_a_batch": wire / 1e6,
            "batches": batches,
            "wire_gb_an_epoch": wire * batches / gb,
        }
    return found


def apart(what: str, path: Path, **options: Any) -> dict[str, float]:
    """One of these measurements, in a process of its own. Raises KgrecError if that fails."""
    wanted = json.dumps({"what": what, "path": str(path), **options})
    done = subprocess.run([sys.executable, __file__, "--one", wanted], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise KgrecError(f"the process that measured {what} of {path} failed")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def _one(what: str, path: str, **options: Any) -> dict[str, float]:
    if what == "making":
        return measure_making(Path(path))
    if what == "pair":
        return measure_pair(Path(path), Path(options["large"]), options["settings"], options["rounds"])
    if what == "load":
        return measure_load(Path(path))
    return measure_model(Path(path), what, options.get("settings") or MODELS[what], options.get("batches", 20))


def scale_graph(folder: Path, edges: int) -> Path:
    """The synthetic graph of a size in a folder, written if it is not there."""
    path = folder / f"scale-{edges}.graph"
    if not path.exists():
        write_scale_graph(path, edges)
    return path


def measure_sizes(sizes: Sequence[int], folder: Path, names: Sequence[str], batches: int, out: Path) -> None:
    """Measure what making the arrays, loading and each model take, and write a row for each size to `out`. What is
    there already is not measured again."""
    rows = json.loads(out.read_text()) if out.exists() else []
    for edges in sizes:
        row: dict[str, Any] = next((one for one in rows if one["edges"] == edges), {})
        if not row:
            rows.append(row)
            row.update(edges=edges, nodes=edges // 10)
        for what in ("making", "load", *names):
            if what not in row:
                more = {"batches": batches} if what in MODELS else {}
                row[what] = apart(what, scale_graph(folder, edges), **more)
                print(edges, what, json.dumps(row[what]), file=sys.stderr, flush=True)
                out.write_text(json.dumps(sorted(rows, key=lambda one: one["edges"]), indent=1) + "\n")


def draw(rows: Sequence[Mapping[str, Any]], image: Path) -> None:
    """Draw memory and time against the number of edges, as SVG. Raises KgrecError without matplotlib."""
    try:
        import matplotlib as mpl
    except ImportError as error:
        raise KgrecError("drawing needs matplotlib; install it with `pip install 'kgrec[plot]'`") from error
    mpl.use("svg")
    mpl.rcParams["svg.hashsalt"] = "kgrec"  # the same file from the same figures
    from matplotlib import pyplot

    edges = [row["edges"] / 1e6 for row in rows]  #: of each row, in millions
    figure, (memory, seconds) = pyplot.subplots(1, 2, figsize=(10, 4), layout="constrained")
    for name, color in (("mf", "#4051b5"), ("sasrec", "#c2410c"), ("kgat", "#15803d")):
        measured = [row for row in rows if name in row]
        of_model, sizes = [row[name] for row in measured], [row["edges"] / 1e6 for row in measured]
        highest = [max(one["training_anonymous_mb"], one["refresh_anonymous_mb"]) / 1024 for one in of_model]
        memory.plot(sizes, highest, "o-", color=color, label=name)
        batch = [one.get("ranking_cpu_ms", one.get("sampled_softmax_cpu_ms")) for one in of_model]
        seconds.plot(sizes, batch, "o-", color=color, label=name)
    memory.plot(edges, [90e6 * one / 2**30 for one in edges], ":", color="black", label="the graph in memory")
    memory.set(title="memory of the process's own", xlabel="million edges", ylabel="GiB", xscale="log", yscale="log")
    seconds.set(title="a batch", xlabel="million edges", ylabel="ms of CPU", xscale="log", yscale="log")
    for axes in (memory, seconds):
        axes.grid(alpha=0.3)
        axes.legend(frameon=False)
    figure.savefig(image, metadata={"Date": None})


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", type=lambda text: [int(part) for part in text.split(",")], default=[1_000_000])
    parser.add_argument("--models", type=lambda text: text.split(","), default=list(MODELS))
    parser.add_argument("--batches", type=int, default=20)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--draw", type=Path)
    parser.add_argument("--image", type=Path, default=Path("docs/images/scale.svg"))
    numbers = "with --draw: what a graph with so many edges, nodes and dimensions would take, instead of an image"
    parser.add_argument("--estimate", type=int, nargs=3, metavar=("EDGES", "NODES", "DIMS"), help=numbers)
    parser.add_argument("--one", type=json.loads, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(_one(**options.one)))
    elif options.estimate:
        edges, nodes, dim = options.estimate
        print(json.dumps(estimate(edges, nodes, dim, json.loads(options.draw.read_text())[-1]), indent=1))
    elif options.draw:
        draw(json.loads(options.draw.read_text()), options.image)
    elif options.folder is None or options.out is None:
        parser.error("--folder and --out are needed to measure")
    else:
        options.folder.mkdir(parents=True, exist_ok=True)
        measure_sizes(options.sizes, options.folder, options.models, options.batches, options.out)

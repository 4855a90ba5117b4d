"""The tasks (rows) that scripts/perf.py measures. Any version of kgrec can do them; each runs in its own process.

`perf_rows.py prepare FOLDER ROW ...` writes the data of some rows. `perf_rows.py ROW FOLDER COMMAND` prepares a row and
does its work once, so that imports, indexes and compiled kernels are ready. Then, for each line `go` on stdin, it does
the work again and prints its seconds as a line of JSON; for `stop` it prints the peak of memory. COMMAND is the entry
point of `kgrec`. A row may also be one of the benchmarks that train a model on real data, which is found in the folder
that KGREC_DATA names; its work is an epoch.

PYTHONPATH chooses the version of kgrec, which may be older. So rows only use names of `kgrec` and `kgrec.models`, which
do not move, and this file imports kgrec only when a row needs it.
"""

from __future__ import annotations

import importlib.util
import itertools
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

if TYPE_CHECKING:
    import numpy as np

    from kgrec import Graph

SCRIPTS = Path(__file__).resolve().parent
Pause = Callable[..., None]  #: waits for the next round, and answers with the seconds of the last

RECIPE = """\
name: made-up
nodes:
  item: {file: items.csv, id: item, edges: {has_genre: {column: genre, to: genre}}}
interactions: {file: ratings.csv, relation: rated, weight: rating, rating_range: [1, 5], time: time}
links:
  item: {template: "http://example.org/{id}"}
rdf:
  files: facts.nt
"""
METRICS = tuple(f"{name}@{k}" for name in ("recall", "precision", "hit_rate", "ndcg", "mrr", "map") for k in (10, 20))
SHOW_HELP = "import sys; from {module} import {function}; sys.argv = ['kgrec', '--help']; sys.exit({function}())"
IMPORT = "import sys, kgrec; from kgrec import KgrecError; sys.exit(kgrec.__file__ != sys.argv[1])"


class Finished(Exception):
    """No more rounds are wanted."""


# ---------------------------------------------------------------------- the data


GRAPHS = {
    "small": {"users": 1_000, "items": 600, "edges": 20_000, "facts": 4_000},
    "medium": {"users": 6_000, "items": 3_000, "edges": 120_000, "facts": 0},
    "held": {"users": 6_000, "items": 3_000, "edges": 30_000, "facts": 0},
    "large": {"users": 40_000, "items": 10_000, "edges": 1_500_000, "facts": 100_000},
}
#: of edge models, so that the same work is measured in every commit
FORMER_DEFAULTS = {"loss": "bpr", "negatives": 1, "lr": 1e-3, "l2": 0.0, "init_std": 0.1}
DATA = {
    "build": ("recipe",),
    "load": ("large",),
    "mf": ("medium",),
    "sasrec": ("small",),
    "kgat": ("small",),
    "lightgcn": ("small",),
    "sampling": ("large",),
    "negatives": ("large",),
    "ranking": ("medium", "held"),
    "recommend": ("medium",),
    "cli": (),
    "import": (),
}  #: by row, what of the data it reads


def prepare(folder: Path, rows: Sequence[str]) -> str:
    """Write the data of some rows, the same at every call. Returns the version of kgrec. Each version writes its own
    graphs, because versions may store them differently."""
    from kgrec import __version__

    folder.mkdir(parents=True)
    trained = {row: trainings()[row]["recipe"] for row in rows if row not in DATA}
    for name in dict.fromkeys([*trained.values(), *(name for row in rows for name in DATA.get(row, ()))]):
        if name in trained.values():
            build_real_graph(name, folder)
        elif name == "recipe":
            write_recipe(folder)
        else:
            made_up_graph(**GRAPHS[name], seed=list(GRAPHS).index(name)).save(folder / f"{name}.graph")
    return __version__


@cache
def trainings() -> dict[str, Any]:
    """The benchmarks that can be rows, by name: those of speed that train a model."""
    import yaml

    benchmarks = yaml.safe_load((SCRIPTS / "benchmarks.yaml").read_text(encoding="utf-8"))
    return {name: one for name, one in benchmarks.items() if name.startswith("speed-") and {"set", "split"} <= set(one)}


def build_real_graph(recipe: str, folder: Path) -> None:
    """Build a graph of real data, by the recipe of this tree."""
    from kgrec import build

    graph, _ = build(SCRIPTS.parent / f"graphs/{recipe}.yaml", Path(os.environ["KGREC_DATA"]))
    graph.save(folder / f"{recipe}.graph")


def write_recipe(folder: Path) -> None:
    """A recipe of 500,000 interactions, 2,000 items with a genre each, and 40,000 triples about them."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(0)
    rated = interactions(rng, users=5_000, items=2_000, edges=500_000)
    rated = rated.rename(columns={"source": "user", "target": "item", "weight": "rating"})
    rated.to_csv(folder / "ratings.csv", index=False)
    items = [f"i{item}" for item in range(2_000)]
    genres = [f"g{genre}" for genre in rng.integers(0, 50, 2_000)]
    pd.DataFrame({"item": items, "genre": genres}).to_csv(folder / "items.csv", index=False)
    triples = zip(*(rng.integers(0, most, 40_000).tolist() for most in (2_000, 10, 4_000)))
    place = "http://example.org"
    facts = [f"<{place}/i{s}> <{place}/of/p{p}> <{place}/e{o}> .\n" for s, p, o in triples]
    (folder / "facts.nt").write_text("".join(facts), encoding="utf-8")
    (folder / "recipe.yaml").write_text(RECIPE, encoding="utf-8")


def interactions(rng: np.random.Generator, *, users: int, items: int, edges: int) -> Any:
    """A frame of random interactions with times and ratings; popularity falls off as in real catalogs."""
    import numpy as np
    import pandas as pd

    names_of_users = np.array([f"u{user}" for user in range(users)])
    names_of_items = np.array([f"i{item}" for item in range(items)])
    return pd.DataFrame(
        {
            "source": names_of_users[rng.integers(0, users, edges)],
            "target": names_of_items[(rng.random(edges) ** 2 * items).astype(np.int64)],
            "weight": rng.integers(1, 6, edges),
            "time": rng.integers(1_000_000_000, 1_100_000_000, edges),
        }
    )


def made_up_graph(*, users: int, items: int, edges: int, facts: int, seed: int) -> Graph:
    """A graph of random interactions, with facts of four relations from items to entities (half as many as items)."""
    import numpy as np
    import pandas as pd

    from kgrec import Graph

    rng = np.random.default_rng(seed)
    entities = items // 2
    nodes = {"user": ("u", users), "item": ("i", items), "entity": ("e", entities)}
    frames = {("user", "rated", "item"): interactions(rng, users=users, items=items, edges=edges)}
    for relation in range(4):
        heads, tails = rng.integers(0, items, facts // 4), rng.integers(0, entities, facts // 4)
        ends = {"source": [f"i{head}" for head in heads], "target": [f"e{tail}" for tail in tails]}
        frames[("item", f"fact{relation}", "entity")] = pd.DataFrame(ends)
    return Graph.from_frames(
        edges=frames,
        nodes={kind: pd.DataFrame({"id": [f"{c}{n}" for n in range(size)]}) for kind, (c, size) in nodes.items()},
        target=("user", "rated", "item"),
    )


# ---------------------------------------------------------------------- the rows


def build(data: Path, command: str, pause: Pause) -> None:
    """Files of 500,000 interactions and 40,000 triples to a graph."""
    from kgrec import build

    repeat(lambda: build(data / "recipe.yaml", data), pause)


def load(data: Path, command: str, pause: Pause) -> None:
    """A graph folder of 1.6 million edges, until its edges are in memory."""
    from kgrec import Graph

    repeat(lambda: int(Graph.load(data / "large.graph").edge_index.sum()), pause)


def mf(data: Path, command: str, pause: Pause) -> None:
    """An epoch of mf over 120,000 interactions."""
    train_on("medium", "mf", FORMER_DEFAULTS, data, pause)


def sasrec(data: Path, command: str, pause: Pause) -> None:
    """An epoch of sasrec over 1,000 histories."""
    train_on("small", "sasrec", {}, data, pause)


def kgat(data: Path, command: str, pause: Pause) -> None:
    """An epoch of kgat over 20,000 interactions and 4,000 facts."""
    train_on("small", "kgat", FORMER_DEFAULTS, data, pause)


def lightgcn(data: Path, command: str, pause: Pause) -> None:
    """An epoch of lightgcn over 20,000 interactions."""
    train_on("small", "lightgcn", {**FORMER_DEFAULTS, "batch_size": 512}, data, pause)


def sampling(data: Path, command: str, pause: Pause) -> None:
    """Neighborhoods of two hops around the ends of 15 batches of 1,024 edges."""
    from kgrec import Edges, Graph, Loader, Neighbors, Stream

    graph = Graph.load(data / "large.graph")
    loader = Loader(Edges(graph), Neighbors(graph, (10, 5)), batch_size=1024)

    def draw() -> None:
        for batch in itertools.islice(loader.epoch(Stream()), 15):
            assert batch.neighborhood is not None

    repeat(draw, pause)


def negatives(data: Path, command: str, pause: Pause) -> None:
    """Four negatives, none of them known, for each edge of 64 batches of 8,192 out of 1.6 million."""
    from kgrec import Edges, Graph, Loader, Negatives, Stream

    graph = Graph.load(data / "large.graph")
    loader = Loader(Edges(graph), Negatives(graph, 4, reject=graph), batch_size=8192)

    def draw() -> None:
        for batch in itertools.islice(loader.epoch(Stream()), 64):
            assert batch.negative is not None

    repeat(draw, pause)


def ranking(data: Path, command: str, pause: Pause) -> None:
    """The catalog of 3,000 items ranked for 6,000 users by mf, and twelve metrics of it."""
    from kgrec import Graph, evaluate, models

    known, held = Graph.load(data / "medium.graph"), Graph.load(data / "held.graph")
    model = models.build("mf", known).eval()
    repeat(lambda: evaluate(model, known, held, metrics=METRICS), pause)


def recommend(data: Path, command: str, pause: Pause) -> None:
    """Lists of ten items for 3,000 users by a run of mf."""
    from kgrec import Graph, TrainingConfig, recommend, train

    training = TrainingConfig(epochs=1, device="cpu")
    graph = Graph.load(data / "medium.graph")
    run = train("mf", graph, split="ratio:0.01", config=FORMER_DEFAULTS, training=training)
    users = [f"u{user}" for user in range(3_000)]
    repeat(lambda: recommend(run, users, k=10), pause)


def cli(data: Path, command: str, pause: Pause) -> None:
    """`kgrec --help`, from the start of Python to its end."""
    module, function = command.split(":")
    repeat_start(SHOW_HELP.format(module=module, function=function), 2, pause)


def import_(data: Path, command: str, pause: Pause) -> None:
    """`import kgrec` five times, each from the start of Python to its end."""
    repeat_start(IMPORT, 5, pause)


ROWS: dict[str, Callable[[Path, str, Pause], None]] = {
    function.__name__.strip("_"): function
    for function in (
        build, load, mf, sasrec, kgat, lightgcn, sampling, negatives, ranking, recommend, cli, import_
    )
}  # fmt: skip


def row_of(name: str) -> Callable[[Path, str, Pause], None]:
    """The task of this name, or the epochs of this benchmark."""
    return ROWS[name] if name in ROWS else partial(epochs_of, trainings()[name])


def epochs_of(benchmark: dict[str, Any], data: Path, command: str, pause: Pause) -> None:
    """Epochs of a benchmark's model."""
    train_on(benchmark["recipe"], benchmark["model"], benchmark["set"], data, pause, benchmark["split"])


def train_on(
    graph: str, model: str, config: dict[str, Any], data: Path, pause: Pause, split: str = "ratio:0.01"
) -> None:
    """Do rounds that are training epochs. Nothing is validated, so nothing else runs between two epochs."""
    from kgrec import Graph, TrainingConfig, train

    training = TrainingConfig(epochs=1_000_000, validate_every=1_000_000, device="cpu")
    train(model, Graph.load(data / f"{graph}.graph"), split=split, config=config, training=training, report=pause)


def repeat(work: Callable[[], object], pause: Pause) -> None:
    """Do rounds that are calls of a function. The result of a call is released before the next call."""
    while True:
        work()
        pause()


def repeat_start(code: str, times: int, pause: Pause) -> None:
    """Do rounds that start Python several times. Raises CalledProcessError if it fails."""
    found = origin()
    repeat(
        lambda: [
            subprocess.run([sys.executable, "-c", code, found], check=True, stdout=subprocess.DEVNULL)
            for _ in range(times)
        ],
        pause,
    )


# ---------------------------------------------------------------------- the process of a row


def origin() -> str:
    """The file of the kgrec that is imported here, or would be; "" if there is none."""
    if "kgrec" in sys.modules:
        return str(sys.modules["kgrec"].__file__)
    found = importlib.util.find_spec("kgrec")
    return "" if found is None or found.origin is None else found.origin


def peak_mb() -> float:
    """The peak of memory so far, in MiB, of this process or of the largest one that it started.

    On Linux, `ru_maxrss` of a process includes the memory of its parent when it was started; VmHWM does not.
    """
    started = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    status = Path("/proc/self/status")
    if not status.exists():
        unit = 1024 * 1024 if sys.platform == "darwin" else 1024
        return max(started, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss) / unit
    own = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return max(started, int(own.split()[1])) / 1024


def threads() -> int | None:
    """torch's number of threads; None if torch is not imported."""
    torch = sys.modules.get("torch")
    return None if torch is None else int(torch.get_num_threads())


def answer_rounds(row: str, data: Path, command: str, answers: TextIO) -> None:
    """Do the work of a row once, then once for each `go`, until `stop`."""
    begun: float | None = None

    def pause(*_: object) -> None:
        nonlocal begun
        seconds = None if begun is None else time.perf_counter() - begun
        print(json.dumps({"seconds": seconds, "kgrec": origin()}), file=answers, flush=True)
        if sys.stdin.readline().strip() != "go":
            raise Finished
        begun = time.perf_counter()

    try:
        row_of(row)(data, command, pause)
    except Finished:
        print(json.dumps({"peak_mb": peak_mb(), "threads": threads(), "kgrec": origin()}), file=answers, flush=True)


def main() -> None:
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever else is printed does not come between the answers
    name, data, *rest = sys.argv[1:]
    if name == "prepare":
        version = prepare(Path(data), rest)
        print(json.dumps({"version": version, "kgrec": origin()}), file=answers, flush=True)
    else:
        answer_rounds(name, Path(data), rest[0], answers)


if __name__ == "__main__":
    main()

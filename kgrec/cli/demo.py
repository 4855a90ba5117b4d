"""`kgrec demo`: the sample shop from files to runs, and to a page in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

import kgrec
from kgrec.cli.next_steps import shown
from kgrec.cli.options import Overwrite, with_options
from kgrec.cli.output import say, status
from kgrec.cli.serve import ServerOptions, must_have_server, run_server
from kgrec.errors import KgrecError

#: The models that are trained; the first is the default of the server
MODELS: dict[str, dict[str, Any]] = {
    "ease": {"l2": 100},
    "mf": {
        "features": "all",
        "loss": "bpr",
        "negatives": 1,
        "init_std": 0.1,
        "lr": 5e-3,
        "l2": 1e-2,
        "batch_size": 256,
    },
}
EPOCHS = 10


@with_options
def demo(
    *,
    out: Annotated[Path, typer.Option("--out", help="The folder for the graph and the runs.")] = Path("kgrec-demo"),
    serve: Annotated[bool, typer.Option("--serve", help="Serve the runs, with a page for the browser.")] = False,
    overwrite: Overwrite = False,
    server: ServerOptions,
) -> None:
    """Build the sample shop's graph, train two models on it, and with --serve show them in the browser.

    What is in the folder already is not made again, unless --overwrite says so."""
    if serve:
        must_have_server()
    graph, runs = out / "shop.graph", {name: out / f"{name}.run" for name in MODELS}
    if overwrite or not graph.exists():
        from kgrec.sources.building import build_to

        status(f"building {graph}")
        out.mkdir(parents=True, exist_ok=True)
        build_to(sample_shop(), None, graph, overwrite=overwrite)
    for name, folder in runs.items():
        if overwrite or not folder.exists():
            status(f"training {name}")
            _train(name, graph, folder, overwrite)
    if serve:
        run_server(runs, server)
        return
    say(f"{graph}, {' and '.join(map(str, runs.values()))} are there. Try:")
    for words in (
        ["kgrec", "recommend", runs["ease"], "--user", "u0003", "--why"],
        ["kgrec", "compare", *runs.values()],
        ["kgrec", "demo", "--out", out, "--serve"],
    ):
        say(f"  {shown(words)}")


def _train(name: str, graph: Path, folder: Path, overwrite: bool) -> None:
    from kgrec.graph import Graph
    from kgrec.run import train
    from kgrec.training.config import TrainingConfig

    training = TrainingConfig(epochs=EPOCHS, patience=3, metric="ndcg@10")
    train(name, Graph.load(graph), config=MODELS[name], training=training, out=folder, overwrite=overwrite)


def sample_shop() -> Path:
    """The recipe of the sample shop: in the installed package, or in the checkout. Raises KgrecError."""
    package = Path(kgrec.__file__).parent
    for folder in (package / "sample/shop", package.parent / "graphs/shop"):
        if (folder / "shop.yaml").is_file():
            return folder / "shop.yaml"
    raise KgrecError(f"the sample shop is not in {package}; install kgrec again")

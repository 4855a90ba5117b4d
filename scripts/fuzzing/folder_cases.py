"""Cases of folders: of graphs, runs and checkpoints one file of which, or two, are wrong."""

from __future__ import annotations

from pathlib import Path
from random import Random

from fuzzing import mutations as odd
from fuzzing.bases import RUNS, Bases
from fuzzing.case import Case


def _odd_in_folder(folder: Path, random: Random) -> tuple[str, bytes]:
    """One file of a folder with something wrong, as its path in it and its contents."""
    names = sorted(str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file())
    documents = [name for name in names if name.endswith(".json")]
    weights = [name for name in names if name.endswith(".safetensors")]
    name = random.choice(
        documents if random.random() < 0.45 else weights if weights and random.random() < 0.2 else names
    )
    content = (folder / name).read_bytes()
    match name.rpartition(".")[2]:
        case "json":
            return name, odd.odd_json(content, random)
        case "parquet":
            return name, odd.odd_parquet(content, random)
        case "safetensors":
            return name, odd.odd_safetensors(content, random)
    return name, odd.odd_bytes(content, random)


def graphs(random: Random, bases: Bases) -> Case:
    """A file of a graph folder is wrong."""
    files = {}
    for _ in range(random.choice([1, 1, 1, 2])):
        name, content = _odd_in_folder(bases.graph, random)
        files[f"graph/{name}"] = content
    again = ("graph",) if random.random() < 0.85 else ()
    match random.randrange(12):
        case 0 | 1 | 2:
            argv: tuple[str, ...] = ("info", "graph", *random.choice([(), ("--json",)]))
        case 3 | 4:
            argv = ("check", "graph")
        case 5 | 6 | 7 | 8:
            argv = ("@graph", "graph")
        case 9:
            model = random.choice(["popularity", "popularity", "mf", "itemknn"])
            options = {"mf": ("--epochs", "1", "--set", "dim=4", "--set", "features=[price,genres,age]")}.get(model, ())
            return Case(
                "graphs", ("train", model, "graph", "--out", "out", *options), files, {"graph": "graph"}, again, "out"
            )
        case _:
            argv = ("evaluate", "run", "graph")
            return Case("graphs", argv, files, {"graph": "graph", "run": "run-popularity"}, again)
    return Case("graphs", argv, files, {"graph": "graph"}, again)


def runs(random: Random, bases: Bases) -> Case:
    """A file of a run folder is wrong."""
    name = random.choice([*RUNS, "mf", "mf"])
    files = {}
    for _ in range(random.choice([1, 1, 1, 2])):
        inner, content = _odd_in_folder(bases.run(name), random)
        files[f"run/{inner}"] = content
    again = ("run",) if random.random() < 0.85 else ()
    copies = {"run": f"run-{name}"}
    match random.randrange(14):
        case 0 | 1 | 2:
            argv: tuple[str, ...] = (
                "recommend",
                "run",
                "--users",
                "all",
                "--k",
                "2",
                *random.choice([(), ("--json",)]),
            )
        case 3:
            return Case(
                "runs",
                ("recommend", "run", "--user", "u1", "--k", "2", "--out", "out.csv"),
                files,
                copies,
                again,
                "out.csv",
            )
        case 4:
            argv, files["pairs.csv"] = ("predict", "run", "pairs.csv"), b"user,item\nu1,i1\n"
        case 5:
            argv, copies["graph"] = ("evaluate", "run", "graph"), "graph"
        case 6:
            argv, copies["other"] = ("compare", "run", "other", "--resamples", "10"), f"run-{name}"
        case 7:
            argv = ("train", "mf", "graph", "--out", "out", "--epochs", "1", "--set", "dim=4", "--init", "run")
            return Case("runs", argv, files, {**copies, "graph": "graph"}, again, "out")
        case 8:
            argv = ("@scorer", "run")
        case 9:
            argv, files["history.csv"] = (
                ("recommend", "run", "--history", "history.csv", "--k", "2", "--why"),
                b"item\ni1\n",
            )
        case 10 if name == "gan":
            return Case(
                "runs", ("generate", "run", "--users", "3", "--out", "out.csv"), files, copies, again, "out.csv"
            )
        case _:
            argv = ("@run", "run")
    return Case("runs", argv, files, copies, again)


def checkpoints(random: Random, bases: Bases) -> Case:
    """A file of an interrupted training's checkpoint is wrong."""
    name, content = _odd_in_folder(bases.checkpoint, random)
    argv = ("train", "mf", "graph", "--out", "out", "--epochs", "3", "--set", "dim=4", "--resume")
    copies = {"graph": "graph", "out.checkpoint": "checkpoint"}
    return Case("checkpoints", argv, {f"out.checkpoint/{name}": content}, copies, out="out")

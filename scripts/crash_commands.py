"""The commands that scripts/crash kills, and the files that they start from."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from crash_process import Ending, run
from kgrec.errors import KgrecError

ROOT = Path(__file__).resolve().parent.parent
SHOP = ROOT / "graphs/shop/shop.yaml"
INPUTS = "../inputs"  #: folder of the inputs, relative to the folder that commands run in
TRAIN = ("train", "mf", f"{INPUTS}/shop.graph", "--set", "dim=4", "--epochs", "4", "--device", "cpu")
SMALL = ("--set", "dim=4", "--epochs", "1", "--device", "cpu")


@dataclass(frozen=True)
class Command:
    """A command to be killed. Its working folder is empty except for the files in `finds`."""

    name: str
    arguments: tuple[str, ...]
    out: str  #: its output, in the working folder
    finds: tuple[tuple[str, str], ...] = ()  #: pairs of a prepared file and its name in the working folder
    kept: tuple[str, ...] = ()  #: names besides the output that may remain after a kill

    @property
    def reads(self) -> set[str]:
        """The names of the inputs that it reads."""
        return {one.removeprefix(f"{INPUTS}/") for one in self.arguments if one.startswith(INPUTS)}


def _listed(*commands: Command) -> dict[str, Command]:
    return {command.name: command for command in commands}


_RECOMMEND = ("recommend", f"{INPUTS}/popularity", "--users", "all", "--out")
_STUDY = ("robustness", "popularity", f"{INPUTS}/shop.graph", "--noise", "0.2", "--kinds", "add", "--seeds", "2")
COMMANDS = _listed(
    Command("build", ("build", str(SHOP), "--out", "g"), "g"),
    Command("build-over", ("build", str(SHOP), "--out", "g", "--overwrite"), "g", (("small.graph", "g"),)),
    Command("build-query", ("build", f"{INPUTS}/films.yaml", "--out", "g"), "g"),
    Command("train", (*TRAIN, "--out", "m"), "m", kept=("m.checkpoint",)),
    Command("train-over", (*TRAIN, "--out", "m", "--overwrite"), "m", (("run", "m"),), ("m.checkpoint",)),
    Command("refit", (*TRAIN, "--refit", "--out", "m"), "m", kept=("m.checkpoint",)),
    Command(
        "resume", (*TRAIN, "--refit", "--out", "m", "--resume"), "m",
        (("m.checkpoint", "m.checkpoint"),), ("m.checkpoint",),
    ),
    Command("recommend", (*_RECOMMEND, "lists.csv"), "lists.csv"),
    Command("recommend-over", (*_RECOMMEND, "lists.parquet", "--overwrite"), "lists.parquet", (("lists.parquet",) * 2,)),  # noqa: E501
    Command("predict", ("predict", f"{INPUTS}/run", f"{INPUTS}/pairs.csv", "--out", "pairs.parquet"), "pairs.parquet"),
    Command("generate", ("generate", f"{INPUTS}/gan", "--users", "200", "--out", "fake.csv"), "fake.csv"),
    Command("robustness", (*_STUDY, "--out", "study"), "study"),
    Command("robustness-over", (*_STUDY, "--out", "study", "--overwrite"), "study", (("study", "study"),)),
    Command(
        "backtest",
        ("backtest", "popularity", f"{INPUTS}/shop.graph", "--every", "4w", "--windows", "2", "--out", "back.json",
         "--overwrite"), "back.json", (("back.json",) * 2,),
    ),
)  # fmt: skip

#: A recipe whose items come from a query over RDF, so that kgrec starts a second process
QUERY = """\
name: films
nodes:
  item:
    file: films.ttl
    query: SELECT ?film ?name ?length WHERE { ?film o:name ?name ; o:length ?length }
    prefixes: {o: "https://films.example/ontology/"}
    id: film
    label: name
    features: {length: numeric}
interactions: {file: ratings.csv, relation: rated}
"""


def prepare(base: Path, commands: Sequence[Command]) -> None:
    """Make the files that the commands read and find, with kgrec's own commands. Raises KgrecError if one fails."""
    work, inputs, prepared, graph = base / "work", base / "inputs", base / "prepared", f"{INPUTS}/shop.graph"
    _write_films(inputs)
    (inputs / "pairs.csv").write_text("user,item\n" + "".join(f"u{n:04d},p{n:04d}\n" for n in range(1, 400)))
    read = {"shop.graph"}.union(*(command.reads for command in commands))
    found = {name for command in commands for name, _ in command.finds}
    if "lists.parquet" in found:
        read.add("popularity")
    made: dict[str, tuple[str, ...]] = {
        "shop.graph": ("build", str(SHOP)),
        "popularity": ("train", "popularity", graph),
        "run": ("train", "mf", graph, *SMALL),
        "gan": ("train", "gan", graph, "--epochs", "1", "--device", "cpu"),
        "small.graph": ("build", f"{INPUTS}/films.yaml"),
        "lists.parquet": ("recommend", f"{INPUTS}/popularity", "--users", "all", "--k", "3"),
        "study": (*_STUDY[:-1], "1"),
        "back.json": ("backtest", "popularity", graph, "--every", "4w", "--windows", "1"),
    }
    for folder, names in ((inputs, read), (prepared, found)):
        for name in (name for name in made if name in names):
            arguments = (*made[name], "--out", str(folder / name))
            _must(run(arguments, work).said, (folder / name).exists(), arguments)
    if "m.checkpoint" in found:
        _checkpoint(work, prepared)


def _write_films(folder: Path) -> None:
    """Write a recipe of films and their ratings, with its files."""
    film = '<https://films.example/{n}> o:name "Film {n}" ; o:length {n} .\n'
    films = "".join(film.format(n=n) for n in range(60, 90))
    pairs = [(user, 60 + (7 * user + step) % 30) for user in range(40) for step in range(5)]
    (folder / "films.yaml").write_text(QUERY)
    (folder / "films.ttl").write_text(f"@prefix o: <https://films.example/ontology/> .\n{films}")
    (folder / "ratings.csv").write_text(
        "user,item\n" + "".join(f"{user},https://films.example/{film}\n" for user, film in pairs)
    )


def _checkpoint(work: Path, prepared: Path) -> None:
    """Make the checkpoint of a training that is killed in its third epoch."""
    arguments = (*TRAIN, "--refit", "--out", "m")
    touches = run(arguments, work).touches
    shutil.rmtree(work / "m")
    third = [n for n, (_, what, path) in enumerate(touches) if what == "os.rename" and path == "m.checkpoint"][2]
    said = run(arguments, work, Ending("KILL", touch=third + 1)).said
    _must(said, (work / "m.checkpoint").exists(), arguments)
    shutil.move(work / "m.checkpoint", prepared / "m.checkpoint")
    empty(work)


def empty(folder: Path) -> None:
    """Remove everything in a folder."""
    for one in folder.iterdir():
        shutil.rmtree(one) if one.is_dir() and not one.is_symlink() else one.unlink()


def resumed(arguments: Sequence[str]) -> tuple[str, ...]:
    """The arguments that resume the same training from its checkpoint."""
    return (*(one for one in arguments if one != "--resume"), "--resume")


def _must(said: str, is_there: bool, arguments: Sequence[str]) -> None:
    if not is_there:
        raise KgrecError(f"kgrec {' '.join(arguments)} fails without being killed: {said}")

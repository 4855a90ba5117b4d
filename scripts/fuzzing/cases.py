"""A case by its number: files with something wrong, and what kgrec is asked to do with them."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from random import Random
from typing import Any

from fuzzing import bases as base
from fuzzing import mutations as odd
from fuzzing.bases import Bases, Files
from fuzzing.options import odd_command


@dataclass(frozen=True)
class Case:
    """What is put into a folder, and what is asked of it."""

    kind: str
    argv: tuple[str, ...]  #: of the command line; or @ and the name of a library call of `fuzzing.trial`
    files: Files = field(default_factory=dict)  #: written over the copies
    copies: Mapping[str, str] = field(default_factory=dict)  #: folder -> `graph`, `checkpoint` or `run-NAME` of `Bases`
    listed_again: tuple[str, ...] = ()  #: folders whose files are listed anew, with their hashes
    out: str | None = None  #: what is whole or absent at the end

    def to_json(self) -> dict[str, Any]:
        """Plain JSON data, with each file as text or, as it needs be, in base64."""
        return asdict(self) | {"files": {name: _written(content) for name, content in self.files.items()}}

    @staticmethod
    def from_json(value: Mapping[str, Any]) -> Case:
        """What `to_json` gave."""
        files = {name: _read(content) for name, content in value["files"].items()}
        lists = {name: tuple(value[name]) for name in ("argv", "listed_again")}
        return Case(**{**value, **lists, "files": files})


def _written(content: bytes) -> str | list[str]:
    try:
        return content.decode()
    except UnicodeDecodeError:
        return [base64.b64encode(content).decode()]


def _read(content: str | list[str]) -> bytes:
    return content.encode() if isinstance(content, str) else base64.b64decode(content[0])


# ---------------------------------------------------------------------- sources


def _built(kind: str, files: Files, random: Random) -> Case:
    """Files with a recipe: built, checked, or built in memory."""
    match random.randrange(8):
        case 0 | 1:
            return Case(kind, ("check", "recipe.yaml", *random.choice([(), ("--json",)])), files)
        case 2:
            return Case(kind, ("@build", "recipe.yaml"), files)
        case _:
            return Case(
                kind, ("build", "recipe.yaml", "--out", "out", *random.choice([(), ("--json",)])), files, out="out"
            )


#: What YAML has that JSON has not
YAML_TOKENS = [
    *("&a ", "*a", "<<: *a", "!!python/object:os.system x", "!!binary x", "? [a, b]\n: c\n", "{", "]", "- ", "- - - "),
    *(
        "2024-13-45",
        "0o8",
        "1_000",
        "0b2",
        ".nan",
        "-.inf",
        "1:60:60",
        "!!timestamp x",
        "!!int x",
        "!!float ''",
        "!!set x",
    ),
    *(
        "!!omap [a]",
        "!!pairs [[a]]",
        "|\n",
        ">-\n",
        "%YAML 9.9\n",
        "---\n",
        "...\n",
        "\t",
        "@",
        "`",
        "!!null 5",
        "!<x> y",
    ),
    *("!!bool x", "? \n", ": ", "#", "'", '"', "1e400", "!!str [a]", "!!map x", "!!seq x", "[" * 300, "a: " * 80),
]


def _yaml(tree: Any, random: Random) -> bytes:
    """A tree as YAML, in which by chance something is wrong beside what is wrong with the tree."""
    import yaml

    style: dict[str, Any] = {
        "default_flow_style": random.choice([None, False, True]),
        "allow_unicode": random.random() < 0.5,
    }
    try:
        text = yaml.safe_dump(tree, sort_keys=False, **style)
    except (RecursionError, ValueError, UnicodeError):
        try:
            text = json.dumps(tree)
        except RecursionError:
            text = "[" * 1000
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        place = random.randrange(len(data) + 1)
        data = data[:place] + random.choice(YAML_TOKENS).encode() + data[place:]
    return data


def recipes(random: Random, bases: Bases) -> Case:
    """The recipe is wrong."""
    name = random.choice(["shop", "shop", "ratings", "sessions", "sessions", "lists", "rows", "facts.ttl", "query"])
    tree, files = base.RECIPES[name]()
    text = (
        odd.odd_bytes(_yaml(tree, random), random)
        if random.random() < 0.2
        else _yaml(odd.odd_tree(tree, random), random)
    )
    return _built("recipes", {"recipe.yaml": text, **files}, random)


def odd_file(name: str, content: bytes, random: Random) -> bytes:
    """A table's file with something wrong, by its suffix."""
    import gzip

    match name.rpartition(".")[2]:
        case "parquet":
            return odd.odd_parquet(content, random)
        case "npy":
            return odd.odd_npy(content, random)
        case "gz" if random.random() < 0.7:
            return gzip.compress(odd_file(name.removesuffix(".gz"), gzip.decompress(content), random), mtime=0)
        case "json":
            return odd.odd_json(content, random)
        case "jsonl":
            lines = content.splitlines(keepends=True)
            place = random.randrange(len(lines))
            lines[place] = odd.odd_json(lines[place], random) + b"\n"
            return b"".join(lines)
        case "csv":
            return odd.odd_separated(content, ",", random)
        case "tsv":
            return odd.odd_separated(content, "\t", random)
        case "dat":
            return odd.odd_separated(content, "::" if b"::" in content else "|", random)
    return odd.odd_bytes(content, random)


def _packed(files: Files, name: str, random: Random) -> None:
    """Let a table be packed, in the recipe as in its own name, and by chance something be wrong with that."""
    import pyarrow as pa

    suffix, kind = random.choice([("gz", "gzip"), ("bz2", "bz2"), ("zst", "zstd"), ("zst", "gzip"), ("zip", "gzip")])
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, kind) as stream:
        stream.write(files.pop(name))
    content = buffer.getvalue().to_pybytes()
    files[f"{name}.{suffix}"] = odd.odd_bytes(content, random) if random.random() < 0.5 else content
    files["recipe.yaml"] = files["recipe.yaml"].replace(f" {name}\n".encode(), f" {name}.{suffix}\n".encode())


SOURCES = ["shop", "shop", "ratings", "ratings", "sessions", "sessions", "sessions", "lists", "rows", "rows"]


def tables(random: Random, bases: Bases) -> Case:
    """One or two of a recipe's tables are wrong."""
    files = base.recipe_files(random.choice(SOURCES))
    names = [name for name in files if name not in ("recipe.yaml", "facts.ttl")]
    for name in random.sample(names, min(len(names), random.choice([1, 1, 1, 2]))):
        files[name] = odd_file(name, files[name], random)
    if random.random() < 0.1:
        _packed(files, random.choice([name for name in names if not name.endswith((".gz", ".npy"))]), random)
    if random.random() < 0.15:  # bad rows are left out, or not
        files["recipe.yaml"] = files["recipe.yaml"].replace(b"on_bad_rows: report\n", b"") + random.choice(
            [b"", b"on_bad_rows: report\n"]
        )
    return _built("tables", files, random)


RDF_TOKENS = [
    *(
        "@prefix x: <y> .",
        "@base <rel> .",
        "<< <a> <b> <c> >>",
        '"""',
        "'''",
        "[]",
        "( )",
        "_:",
        "^^<x>",
        "@en-",
        "\\uD800",
        "a a a .",
    ),
    *(
        '<?xml version="1.1"?>',
        "<!DOCTYPE r [<!ENTITY a 'b'>]>",
        "&a;",
        "&#0;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "xmlns:rdf='x'",
        "rdf:ID='1'",
    ),
    *(
        '{"@id": null}',
        '"@context": null',
        '"@list": [[[]]]',
        '"@reverse": {"a": 1}',
        '"@type": 5',
        "GRAPH <g> {",
        "}",
        "<\x00>",
    ),
    *(
        "<http://x/ y>",
        "<http://é/>",
        "<http://[::1>",
        "<%zz>",
        "INF",
        "1e999",
        "true.",
        "-",
        "+.",
        "{| <a> <b> |}",
        "@version '1.2' .",
    ),
]


def _odd_rdf(content: bytes, random: Random) -> bytes:
    if random.random() < 0.35:
        place = random.randrange(len(content) + 1)
        content = content[:place] + random.choice(RDF_TOKENS).encode("utf-8", "surrogatepass") + content[place:]
        return content if random.random() < 0.5 else odd.odd_bytes(content, random)
    return odd.odd_bytes(content, random)


def _odd_graph_file(name: str, content: bytes, random: Random) -> bytes:
    import gzip

    if name.endswith(".gz") and random.random() < 0.6:
        return gzip.compress(_odd_rdf(gzip.decompress(content), random), mtime=0)
    if name.endswith(".jsonld") and random.random() < 0.7:
        return odd.odd_json(content, random)
    return _odd_rdf(content, random)


def rdf(random: Random, bases: Bases) -> Case:
    """An RDF file is wrong."""
    name = random.choice([*base.RDF_FORMS, "facts.jsonld", "facts.rdf", "facts.ttl"])
    recipe = random.choice([name] * 40 + ["query"])
    files = base.recipe_files(recipe)
    if recipe == "query":
        name = "facts.ttl"
    files[name] = _odd_graph_file(name, files[name], random)
    if random.random() < 0.2:
        files["recipe.yaml"] = files["recipe.yaml"].replace(
            b"  base: http://x/\n", random.choice([b"", b"  lenient: true\n", b"  base: x\n"])
        )
    return _built("rdf", files, random)


MEDIA_TYPES = [
    *base.ANSWERS,
    "text/html",
    "text/plain",
    "application/xml",
    "text/n3",
    "application/sparql-results+json; charset=x",
    "x",
    "/",
    ";",
]


def answers(random: Random, bases: Bases) -> Case:
    """An endpoint's answer is wrong."""
    import yaml

    media_type, body = random.choice(list(base.ANSWERS.items()))
    body = odd.odd_json(body, random) if "json" in media_type and random.random() < 0.7 else _odd_rdf(body, random)
    if random.random() < 0.1:
        media_type = random.choice(MEDIA_TYPES)
    recipe = yaml.safe_dump(base.answer_recipe("results" in media_type)).encode()
    files = {
        "recipe.yaml": recipe,
        "events.csv": base.EVENTS.encode(),
        "answer": body,
        "answer.type": media_type.encode(),
    }
    return _built("answers", files, random)


# ---------------------------------------------------------------------- folders


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
    name = random.choice([*base.RUNS, "mf", "mf"])
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


# ---------------------------------------------------------------------- what people ask with

HISTORY = "user,item,time,weight,behaviour\n" + "".join(
    f"new{n % 2},i{n},{1_700_000_000 + n},{n}.5,viewed\n" for n in range(1, 5)
)


def _input_file(text: str, random: Random) -> tuple[str, bytes]:
    """A table of people's own with something wrong, as CSV or Parquet."""
    import io

    import pyarrow as pa
    import pyarrow.csv
    import pyarrow.parquet as pq

    columns = text.partition("\n")[0].split(",")
    kept = [column for column in columns if column == "item" or random.random() < 0.7] or columns
    rows = [dict(zip(columns, line.split(","))) for line in text.splitlines()[1:]]
    text = ",".join(kept) + "\n" + "".join(",".join(row[column] for column in kept) + "\n" for row in rows)
    if random.random() < 0.3:
        written = io.BytesIO()
        pq.write_table(pa.csv.read_csv(io.BytesIO(text.encode())), written)
        return "table.parquet", odd.odd_parquet(written.getvalue(), random)
    return "table.csv", odd.odd_separated(text.encode(), ",", random)


def histories(random: Random, bases: Bases) -> Case:
    """What new users did is wrong."""
    name, content = _input_file(HISTORY, random)
    argv = ("recommend", "run", "--history", name, "--k", "2")
    run = random.choice(["sasrec", "gru4rec", "ease", "itemknn", "kgatseq", "popularity", "ials", "svdpp", "mf"])
    copies = {"run": f"run-{run}"}
    match random.randrange(5):
        case 0:
            return Case(
                "histories",
                (*argv, "--skip-unknown", "--out", "out.parquet"),
                {name: content},
                copies,
                out="out.parquet",
            )
        case 1:
            return Case("histories", ("@history", "run", name), {name: content}, copies)
    return Case(
        "histories",
        (*argv, *random.choice([(), ("--skip-unknown",), ("--json",), ("--why",)])),
        {name: content},
        copies,
    )


def pairs(random: Random, bases: Bases) -> Case:
    """Pairs to predict are wrong."""
    text = "user,item,note\n" + "".join(f"u{user},i{item},x\n" for user, item in base.PAIRS[:6])
    name, content = _input_file(text, random)
    argv: tuple[str, ...] = (
        "predict",
        "run",
        name,
        *random.choice([(), ("--skip-unknown",), ("--json",), ("--csv-safe",)]),
    )
    copies = {"run": f"run-{random.choice(['mf', 'ease', 'svdpp', 'popularity', 'sasrec', 'kgat'])}"}
    if random.random() < 0.4:
        out = random.choice(["out.csv", "out.parquet"])
        return Case("pairs", (*argv, "--out", out), {name: content}, copies, out=out)
    return Case("pairs", argv, {name: content}, copies)


def users(random: Random, bases: Bases) -> Case:
    """A file of users is wrong."""
    content = odd.odd_bytes(b"u1\nu2\nu3\n", random)
    if random.random() < 0.3:
        content = odd.odd_text(random).encode("utf-8", "surrogatepass") + b"\n" + content
    options = random.choice([(), ("--skip-unknown",), ("--json", "--skip-unknown")])
    argv = ("recommend", "run", "--users", "users.txt", "--k", "2", *options)
    return Case("users", argv, {"users.txt": content}, {"run": f"run-{random.choice(['popularity', 'ease', 'mf'])}"})


def settings_files(random: Random, bases: Bases) -> Case:
    """A file of settings is wrong."""
    tree = {
        "dim": 4,
        "l2": 1e-4,
        "features": ["price", "genres"],
        "loss": "bpr",
        "batch_size": 8,
        "training": {"epochs": 1, "seed": 1, "lr_decay": "linear", "adversarial": {"weight": 0.5, "epsilon": 0.1}},
    }
    text = (
        odd.odd_bytes(_yaml(tree, random), random)
        if random.random() < 0.25
        else _yaml(odd.odd_tree(tree, random), random)
    )
    argv = ("train", "mf", "graph", "--config", "settings.yaml", "--epochs", "1", "--out", "out")
    return Case("settings", argv, {"settings.yaml": text}, {"graph": "graph"}, out="out")


def options(random: Random, bases: Bases) -> Case:
    """Options of a command are wrong."""
    argv, copies, files, out = odd_command(random)
    return Case("options", argv, files, copies, out=out)


#: Kind -> how many of a hundred cases are of it, and what makes one
KINDS: Mapping[str, tuple[int, Callable[[Random, Bases], Case]]] = {
    "recipes": (14, recipes),
    "tables": (19, tables),
    "rdf": (14, rdf),
    "answers": (5, answers),
    "graphs": (13, graphs),
    "runs": (14, runs),
    "checkpoints": (2, checkpoints),
    "histories": (6, histories),
    "pairs": (4, pairs),
    "users": (2, users),
    "settings": (2, settings_files),
    "options": (5, options),
}
#: The kinds of a hundred numbers, so that a number says its kind whatever other kinds are asked for
ORDER = [kind for kind, (share, _) in KINDS.items() for _ in range(share)]
Random(0).shuffle(ORDER)


def kind_of(number: int) -> str:
    """The kind of a case."""
    return ORDER[number % len(ORDER)]


def case_of(number: int, seed: int, bases: Bases) -> Case:
    """The case of a number, which is the same for the same seed, numbers of cases asked for, and version of kgrec."""
    _, make = KINDS[kind_of(number)]
    return make(Random(f"{seed} {number}"), bases)


def numbers(first: int, count: int, kinds: set[str]) -> Iterator[int]:
    """The numbers of a range that are of some kinds."""
    return (number for number in range(first, first + count) if kind_of(number) in kinds)

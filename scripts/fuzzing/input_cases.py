"""Cases of what people ask with: histories, pairs, users, settings and options in which something is wrong."""

from __future__ import annotations

import io
from random import Random

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from fuzzing import mutations as odd
from fuzzing.bases import Bases
from fuzzing.case import Case
from fuzzing.options import odd_command
from fuzzing.source_cases import as_yaml
from fuzzing.texts import PAIRS

HISTORY = "user,item,time,weight,behaviour\n" + "".join(
    f"new{n % 2},i{n},{1_700_000_000 + n},{n}.5,viewed\n" for n in range(1, 5)
)


def _input_file(text: str, random: Random) -> tuple[str, bytes]:
    """A table of people's own with something wrong, as CSV or Parquet."""

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
    text = "user,item,note\n" + "".join(f"u{user},i{item},x\n" for user, item in PAIRS[:6])
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
        odd.odd_bytes(as_yaml(tree, random), random)
        if random.random() < 0.25
        else as_yaml(odd.odd_tree(tree, random), random)
    )
    argv = ("train", "mf", "graph", "--config", "settings.yaml", "--epochs", "1", "--out", "out")
    return Case("settings", argv, {"settings.yaml": text}, {"graph": "graph"}, out="out")


def options(random: Random, bases: Bases) -> Case:
    """Options of a command are wrong."""
    argv, copies, files, out = odd_command(random)
    return Case("options", argv, files, copies, out=out)

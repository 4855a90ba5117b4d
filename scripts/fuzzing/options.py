"""Command lines with one or two wrong options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from random import Random
from typing import Any

#: Numbers that are out of range, too long or of another type; none is valid and means hours of work
NUMBERS = [
    *(
        "",
        "0",
        "-1",
        "1.5",
        "nan",
        "inf",
        "-inf",
        "1e-300",
        "1e300",
        "1e400",
        "1e999",
        "-0",
        "2147483648",
        "4294967296",
    ),
    *("9223372036854775807", "9223372036854775808", "18446744073709551616", "9" * 20, "9" * 5000, "x", " 1", "１", "²"),
    *("0x10", "1_0", "true", "None", "[1]", "1,2", "--", "\udcff", "[/b]", "\x1b[31m"),
]
TEXTS = [
    *(
        "",
        " ",
        ",",
        "@",
        "x",
        "x" * 5000,
        "[/b]",
        "\x1b[31m",
        "\udcff",
        "none",
        "null",
        "../x",
        "/",
        ".",
        "~",
        "-",
        "0",
        "a,b,,c",
    ),
    *("%s", "{0}", "é", "\u202e", "=", "a=b", "a.b.c", "os.system", "graph", "nan", "\n", "*", "?", "[", "\\"),
]
METRICS = ["ndcg", "recall", "mrr", "hit_rate", "auc", "rmse", "precision", "map", "coverage", "novelty"]
SPLITS = ["last_n", "ratio", "by_time", "cold_items", "given", "x"]


def _number(random: Random) -> str:
    return random.choice(NUMBERS)


def _text(random: Random) -> str:
    return random.choice(TEXTS)


def _metrics(random: Random) -> str:
    parts = [
        random.choice([random.choice(METRICS), _text(random)])
        + random.choice(["", "@", "@10", f"@{_number(random)}", "@5@5"])
        for _ in range(random.choice([1, 1, 2]))
    ]
    return ",".join(parts)


def _split(random: Random) -> str:
    values = [
        random.choice(
            [
                _number(random),
                "1",
                "0.2",
                "valid=1",
                f"valid={_number(random)}",
                "per_user",
                f"seed={_number(random)}",
                "users=0.5",
                "2023-11-20",
                _text(random),
            ]
        )
        for _ in range(random.choice([0, 1, 1, 2, 3]))
    ]
    return f"{random.choice(SPLITS)}{random.choice([':', ':', ':', ',', ''])}{','.join(values)}"


def _rates(random: Random) -> str:
    return ",".join(random.choice([_number(random), "0.1", "0"]) for _ in range(random.choice([1, 2, 2])))


def _span(random: Random) -> str:
    return random.choice([f"{_number(random)}{random.choice('dhmwx')}", _number(random), _text(random), "7d"])


def _few(random: Random) -> str:
    """A number of repetitions that is either small or invalid."""
    return random.choice(["", "0", "-1", "1.5", "nan", "x", "9" * 5000, "9" * 20, "true", "1"])


def _field(random: Random, model: str) -> str:
    """A setting of a model, or of its training."""
    import dataclasses

    from kgrec import models
    from kgrec.training.config import AdversarialConfig, TrainingConfig

    groups = [("", models.find(model).Config), ("training.", TrainingConfig), ("adversarial.", AdversarialConfig)]
    prefix, kind = random.choice([groups[0], *groups])
    fields = dataclasses.fields(kind)
    name = prefix + random.choice(fields).name if fields and random.random() < 0.9 else _text(random)
    repeated = ("training.epochs", "training.devices")
    value = _few(random) if name in repeated else random.choice([_number, _text])(random)
    return f"{name}{random.choice(['=', '=', '=', '=', '==', ''])}{value}"


#: Command -> its words, then the options that may be wrong and a function that makes a value for each; None: a flag
COMMANDS: Mapping[str, tuple[tuple[str, ...], dict[str, Callable[[Random], str] | None]]] = {
    "train": (
        ("MODEL", "graph"),
        {
            **{"--seed": _number, "--patience": _number, "--validate-every": _number, "--metric": _metrics},
            **{"--metrics": _metrics, "--split": _split, "--candidates": _text, "--task": _text, "--precision": _text},
            **{
                "--device": _text,
                "--devices": lambda random: random.choice(["0", "-1", "x", "9" * 30]),
                "--init": _text,
            },
            **{
                "--init-part": _text,
                "--resume": None,
                "--lean": None,
                "--refit": None,
                "--json": None,
                "--epochs": _few,
            },
        },
    ),
    "evaluate": (
        ("run", "graph"),
        {"--split": _split, "--candidates": _text, "--metrics": _metrics, "--device": _text, "--model": _text},
    ),
    "compare": (
        ("run", "run"),
        {
            **{"--reference": _text, "--metrics": _metrics, "--confidence": _number, "--seed": _number, "--json": None},
            "--resamples": lambda random: random.choice(["0", "-1", "1.5", "10", "9" * 20, "9" * 5000, "x"]),
        },
    ),
    "backtest": (
        ("MODEL", "graph"),
        {"--every": _span, "--windows": _number, "--metrics": _metrics, "--seed": _number, "--no-valid": None},
    ),
    "robustness": (
        ("MODEL", "graph"),
        {
            "--noise": _rates,
            "--kinds": _text,
            "--seeds": _few,
            "--targets": _number,
            "--seed": _number,
            "--metrics": _metrics,
        },
    ),
    "recommend": (
        ("run",),
        {
            "--user": _text,
            "--users": _text,
            "--k": _number,
            "--device": _text,
            "--model": _text,
            "--json": None,
            "--why": None,
        },
    ),
    "predict": (("run", "pairs.csv"), {"--device": _text, "--model": _text, "--json": None, "--csv-safe": None}),
    "generate": (("gan",), {"--users": _few, "--seed": _number, "--device": _text, "--csv-safe": None}),
    "info": (("graph",), {"--json": None}),
    "check": (("graph",), {"--json": None, "--data": _text}),
    "models": ((), {"--json": None}),
}
OUTPUTS = {
    "train": "out",
    "backtest": "out.json",
    "recommend": "out.csv",
    "predict": "out.parquet",
    "generate": "out.csv",
}
MODELS = ["popularity", "mf", "itemknn", "ease", "svdpp", "sasrec", "transe"]


def odd_command(random: Random) -> tuple[tuple[str, ...], dict[str, str], dict[str, bytes], str | None]:
    """A command line, the folders and files that it names, and its output."""
    command = random.choice([*COMMANDS, "train", "train", "train", "recommend"])
    words, options = COMMANDS[command]
    model = random.choice(MODELS)
    argv = [command, *(model if word == "MODEL" else word for word in words)]
    chosen = dict(random.sample(list(options.items()), min(len(options), random.choice([1, 1, 2]))))
    if command in ("train", "backtest", "robustness"):
        if "--epochs" not in chosen:
            argv += ["--epochs", "1"]
        if random.random() < 0.5:
            argv += ["--set", _field(random, model)]
        if model in ("mf", "sasrec", "svdpp", "transe") and "dim" not in argv[-1]:
            argv += ["--set", "dim=4"]
    needed: dict[str, dict[str, Any]] = {
        "backtest": {"--every": "5d", "--windows": "1"},
        "robustness": {"--noise": "0.1", "--kinds": "drop", "--seeds": "1"},
        "generate": {"--users": "2"},
        "compare": {"--resamples": "10"},
    }
    for name, value in needed.get(command, {}).items():
        if name not in chosen:
            argv += [name, value]
    for name, make in chosen.items():
        argv += [name] if make is None else [name, make(random)]
    out = OUTPUTS.get(command)
    if out is not None and (command in ("train", "generate") or random.random() < 0.5):
        if random.random() < 0.1:
            out = random.choice(["", ".", "..", "graph", "a/b/c", "x\udcff", "out.txt", "/", "[b]", "x" * 300])
        argv += ["--out", out]
    else:
        out = None
    if random.random() < 0.1:
        argv.insert(random.randrange(len(argv) + 1), random.choice(TEXTS))
    if random.random() < 0.1 and words:
        argv[1] = random.choice(TEXTS)
    copies = {
        word: {"graph": "graph", "run": "run-mf", "gan": "run-gan"}[word]
        for word in words
        if word in ("graph", "run", "gan")
    }
    files = {"pairs.csv": b"user,item\nu1,i1\n"} if command == "predict" else {}
    return tuple(argv), copies, files, out

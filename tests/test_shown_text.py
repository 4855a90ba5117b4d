"""What is shown is data: brackets, emoji names, escapes and control characters, in every table, note and error."""

from __future__ import annotations

import io
import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
from rich.console import Console

from kgrec import cli
from kgrec.graph import Graph
from kgrec.printable import printable
from kgrec.serving.answers import Table
from kgrec.serving.recommendation import Recommendations, Step
from kgrec.table_files import without_formulas

#: What does harm where it is taken for markup or reaches a terminal as it is
HARMFUL = ("[/b]", "[red]x", ":skull:", "\x1b[31m", "\x07", "\u202e", "\n", "\t", "\r", "\x9b1m", "\u2028")
MIXED = "t[/b][red]x:skull:\x1b[31m\x07\u202e\n\tend"
SHOWN = r"t[/b][red]x:skull:\x1b[31m\x07\u202e\n\tend"
LONG = "http://example.org/" + "very/long/" * 30 + "p6"


@dataclass
class Done:
    stdout: str
    stderr: str


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def kgrec(*arguments: object, code: int = 0, stdout: type[io.StringIO] = io.StringIO) -> Done:
    """Run the command in this process, and look at all that it prints."""
    out, err = stdout(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kgrec", *map(str, arguments)])
        try:
            cli.main()
            found: object = 0
        except SystemExit as end:
            found = end.code or 0
    done = Done(out.getvalue(), err.getvalue())
    assert found == code, f"exit code {found}\n{done.stdout}\n{done.stderr}"
    return done


def is_clean(text: str) -> bool:
    """Whether a text holds nothing that controls a terminal but the ends of its lines."""
    return printable(text, "\n") == text


def shows(done: Done, *texts: str) -> None:
    assert is_clean(done.stdout) and is_clean(done.stderr), (done.stdout, done.stderr)
    for text in texts:
        assert text in done.stdout, (text, done.stdout)


@pytest.fixture(scope="module")
def graph(tmp_path_factory) -> Path:
    """20 users and 24 items whose ids, labels, columns and categories do harm where they are not shown as data."""
    ends = [f"{number}{HARMFUL[number % len(HARMFUL)]}" for number in range(24)]
    items = pd.DataFrame(
        {
            "id": [LONG, *(f"i{end}" for end in ends[1:])],
            "label": [MIXED, *(f"label {end}" for end in ends[1:])],
            MIXED: [f"c{end}" for end in ends],
        }
    )
    users = pd.DataFrame({"id": [f"u{end}" for end in ends[:20]], "age": range(20)})
    pairs = [(user, (user + step * step) % 24, user + step) for user in range(20) for step in range(7)]
    user, item, time = (np.array(column) for column in zip(*pairs))
    rated = pd.DataFrame({"source": users["id"][user].values, "target": items["id"][item].values, "time": time * 3600})
    about = pd.DataFrame({"source": items["id"], "target": [f"g{end}" for end in ends]})
    made = Graph.from_frames(
        edges={("user", "rated", "item"): rated, ("item", "about", "genre"): about},
        nodes={"user": users, "item": items},
    )
    schema = made.schema
    edges = {edge: replace(one, label=MIXED) for edge, one in schema.edges.items()}
    nodes = {name: replace(one, label=MIXED) for name, one in schema.nodes.items()}
    folder = tmp_path_factory.mktemp("shown") / "[b]g\x1b[31m"
    replace(made, schema=replace(schema, edges=edges, nodes=nodes)).save(folder)
    return folder


@pytest.fixture(scope="module")
def runs(graph, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "[/b] [red]:skull:\x1b[31m"
    folder.mkdir(parents=True)
    for model, *options in (("ease",), ("gruatt", "--epochs", 1), ("gan", "--epochs", 2), ("popularity",)):
        done = kgrec("train", model, graph, "--split", "last_n:1,valid=1", "--out", folder / model, *options)
        shows(done, f"{model} (last_n:1,valid=1; full ranking)", "ndcg@10")
    return folder


@pytest.mark.parametrize("text", HARMFUL)
def test_text_is_shown_and_controls_nothing(text):
    assert printable(f"a{text}b").startswith("a") and is_clean(printable(text))
    assert printable("caf\u00e9 \u05d0 \u2014 [x] :skull: \\x1b") == "caf\u00e9 \u05d0 \u2014 [x] :skull: \\x1b"
    assert (
        printable("\x1b\x07\u202e\ud800\n") == r"\x1b\x07\u202e\ud800\n" and printable("a\nb\x1b", "\n") == "a\nb\\x1b"
    )


def test_info_and_check(graph):
    shows(kgrec("info", graph), SHOWN, "user-rated-item")
    done = kgrec("info", graph, "--samples", 0)
    assert done.stdout.count(SHOWN) == 3 + 2 + 1  # node types, relations, a column
    shows(kgrec("check", graph), "0 errors")


def test_recommend_says_ids_and_labels_whole(graph, runs):
    every = kgrec("recommend", runs / "popularity", "--users", "all", "--k", 24, "--include-seen")
    shows(every, LONG, SHOWN, *(printable(f"for u{number}{HARMFUL[number % 11]}") for number in range(20)))
    assert every.stdout.count(LONG) == 20
    shows(kgrec("recommend", runs / "gruatt", "--users", "all", "--why"), "because of, for u0[/b]", "attention")
    shows(kgrec("recommend", runs / "ease", "--user", f"u1{HARMFUL[1]}"), "for u1[red]x")


def test_errors_and_notes_reach_no_terminal_raw(graph, runs, tmp_path):
    done = kgrec("recommend", runs / "ease", "--user", MIXED, code=1)
    shows(done)
    assert "[/b][red]x:skull:" in done.stderr
    path = tmp_path / "no\x1b[31m"
    for command in (("info", path), ("recommend", path, "--user", "a"), ("build", path, "--out", tmp_path / "g")):
        done = kgrec(*command, code=1)
        assert is_clean(done.stderr) and r"no\x1b[31m" in done.stderr, done.stderr
    shows(kgrec("\x1b[31m", code=2))
    shows(kgrec("info", graph, "--\x1b[31m", code=2))
    shows(kgrec("train", MIXED, graph, code=1))
    shows(kgrec("train", "mf", graph, "--set", f"{MIXED}={MIXED}", code=1))
    shows(kgrec("train", "mf", graph, "--split", MIXED, code=1))
    shows(kgrec("evaluate", runs / "ease", graph, "--metrics", MIXED, code=1))
    (tmp_path / "history.csv").write_text("item\n\x1b[31mx\n" + f"i2{HARMFUL[2]}\n")
    done = kgrec("recommend", runs / "ease", "--history", tmp_path / "history.csv", "--skip-unknown")
    shows(done)
    assert "left out" in done.stderr


def test_predict_keeps_data_whole_when_piped(runs, tmp_path):
    pairs = pa.table({"user": [f"u1{HARMFUL[1]}", f"u3{HARMFUL[3]}"], "item": [LONG, f"i2{HARMFUL[2]}"]})
    pq.write_table(pairs, tmp_path / "pairs.parquet")
    done = kgrec("predict", runs / "ease", tmp_path / "pairs.parquet")
    read = pa.csv.read_csv(io.BytesIO(done.stdout.encode()))
    assert read.select(["user", "item"]).to_pydict() == pairs.to_pydict() and is_clean(done.stderr)
    shows(kgrec("predict", runs / "ease", tmp_path / "pairs.parquet", stdout=Terminal), r"u3\x1b[31m")


def test_the_other_commands(graph, runs, tmp_path):
    shows(kgrec("evaluate", runs / "ease", graph), "ease (last_n:1,valid=1; full ranking)")
    shows(kgrec("compare", runs / "ease", runs / "popularity"), printable(f"{runs / 'ease'}"))
    shows(kgrec("backtest", "popularity", graph, "--every", "2h", "--windows", 2), "popularity (2 windows of 2h")
    shows(kgrec("robustness", "popularity", graph, "--split", "last_n:1", "--noise", "0.5", "--seeds", 1), "add 0.5")
    out = tmp_path / "[b]\x1b.csv"
    done = kgrec("generate", runs / "gan", "--users", 3, "--out", out)
    shows(done, "synthetic users")
    assert r"[b]\x1b.csv" in done.stderr
    shows(kgrec("models"), "popularity")
    shows(kgrec("models", "mf"), "Settings of mf")


def test_build_says_names_as_they_are(tmp_path):
    (tmp_path / "r.csv").write_text("user,item\nu,a\nu,b\nv,b\nw,\x1b[31m[/b]\n")
    (tmp_path / "r.yaml").write_text('name: "[/b] :skull: \\e[31m"\ninteractions: {file: r.csv}\n')
    shows(kgrec("build", tmp_path / "r.yaml", "--out", tmp_path / "g"), r"[/b] :skull: \x1b[31m")


def test_a_terminal_folds_and_cuts_nothing(runs):
    screen = Console(file=io.StringIO(), width=60, force_terminal=True, color_system=None)
    one = Recommendations(MIXED, ["i" * 150 + MIXED], ["[/b]" * 30], [1.0], (Step(MIXED, "[/x]", 0.5),))
    for table in (one.table(), one.why_table()):
        screen.print(table)
    shown = screen.file.getvalue()
    assert is_clean(shown) and "\u2026" not in shown and shown.count("i") >= 150 and shown.count("[/b]") >= 30


def test_a_table_shows_itself_and_its_notes():
    table = Table(pa.table({MIXED: [MIXED[:20], "a"]}), notes=(MIXED,))
    for shown in (repr(table), table._repr_html_()):
        assert is_clean(shown) and r"\x1b[31m" in shown
    assert "&" in Table(pa.table({"<b>": ["<script>"]}))._repr_html_() and "<script>" not in table._repr_html_()


FORMULAS = ["=1+1", "+a", "-b", "@c", "\td", "\re", "a=b", "", None]


def test_csv_safe_puts_a_quote_before_formulas(tmp_path):
    found = without_formulas(pa.table({"=x": FORMULAS, "n": [-1.5] * len(FORMULAS)}))
    assert found.column_names == ["'=x", "n"] and found["n"].to_pylist() == [-1.5] * len(FORMULAS)
    assert found["'=x"].to_pylist() == ["'=1+1", "'+a", "'-b", "'@c", "'\td", "'\re", "a=b", "", None]
    coded = without_formulas(pa.table({"x": pa.array(["=a", "b", None]).dictionary_encode()}))
    assert coded["x"].to_pylist() == ["'=a", "b", None]
    table = Table(pa.table({"item": ["=a", "b"], "score": [-1.0, 2.0]}))
    table.write(tmp_path / "t.csv", csv_safe=True)
    assert (tmp_path / "t.csv").read_text() == '"item","score"\n"\'=a",-1\n"b",2\n'
    table.write(tmp_path / "t.parquet", csv_safe=True)
    assert pq.read_table(tmp_path / "t.parquet")["item"].to_pylist() == ["=a", "b"]


def test_csv_safe_in_the_commands(tmp_path):
    frame = pd.DataFrame({"source": ["=u", "=u", "v", "v", "w"], "target": ["@i", "b", "b", "-c", "@i"]})
    Graph.from_frames(edges={("user", "rated", "item"): frame}).save(tmp_path / "g")
    kgrec("train", "popularity", tmp_path / "g", "--split", "last_n:1", "--out", tmp_path / "run")
    kgrec("recommend", tmp_path / "run", "--users", "all", "--k", 3, "--csv-safe", "--out", tmp_path / "safe.csv")
    kgrec("recommend", tmp_path / "run", "--users", "all", "--k", 3, "--out", tmp_path / "plain.csv")
    safe, plain = (pd.read_csv(tmp_path / f"{name}.csv") for name in ("safe", "plain"))
    assert {"'=u", "v"} <= set(safe["user"]) and {"=u", "v"} <= set(plain["user"])
    assert set(safe["item"]) == {"'@i", "b", "'-c"} and set(plain["item"]) == {"@i", "b", "-c"}
    (tmp_path / "pairs.csv").write_text("user,item\n=u,@i\nv,b\n")
    done = kgrec("predict", tmp_path / "run", tmp_path / "pairs.csv", "--csv-safe")
    assert done.stdout.splitlines()[1].startswith('"\'=u","\'@i",')
    kgrec("predict", tmp_path / "run", tmp_path / "pairs.csv", "--csv-safe", "--out", tmp_path / "p.csv")
    assert list(pd.read_csv(tmp_path / "p.csv")["item"]) == ["'@i", "b"]

"""What may be replaced: what kgrec made, known by its contents, and nothing else; said before anything is done."""

from __future__ import annotations

import io
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from kgrec import cli
from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole
from kgrec.graph import Graph
from kgrec.graph.storage import GRAPH_FOLDER
from kgrec.run_files import RUN_FOLDER
from kgrec.studies.robustness_results import ROBUSTNESS_FOLDER
from kgrec.training.checkpoint import CHECKPOINT_FOLDER

NOISE = ("robustness", "popularity", "--seeds", "1", "--noise", "0.2")  #: and the graph
ROOT = Path(__file__).parent.parent
SHOP = ROOT / "graphs/shop/shop.yaml"


def kgrec(*arguments: object, code: int = 0) -> str:
    """Run the command in this process, in the folder of the sources. Returns what it says on stderr."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["kgrec", *map(str, arguments)])
        patch.chdir(ROOT)
        try:
            cli.main()
            found: object = 0
        except SystemExit as end:
            found = end.code or 0
    assert found == code, f"exit code {found}\n{out.getvalue()}\n{err.getvalue()}"
    return err.getvalue()


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("overwrite") / "shop.graph"
    kgrec("build", SHOP, "--out", folder)
    return folder


@pytest.fixture(scope="module")
def run(shop) -> Path:
    kgrec("train", "popularity", shop, "--out", shop.parent / "popularity")
    return shop.parent / "popularity"


def contents(folder: Path) -> dict[str, bytes | None]:
    """Every file below a folder and what it holds, folders and links too."""
    found: dict[str, bytes | None] = {}
    for path in sorted(folder.rglob("*")):
        found[path.relative_to(folder).as_posix()] = path.read_bytes() if path.is_file() else None
    return found


COMMANDS = {
    "build": ("build", SHOP, "--out", "OUT"),
    "train": ("train", "popularity", "GRAPH", "--out", "OUT"),
    "backtest": ("backtest", "popularity", "GRAPH", "--every", "7d", "--windows", "2", "--out", "OUT"),
    "robustness": ("robustness", "popularity", "GRAPH", "--seeds", "1", "--noise", "0.2", "--out", "OUT"),
    "recommend": ("recommend", "RUN", "--users", "all", "--out", "OUT"),
    "predict": ("predict", "RUN", "PAIRS", "--out", "OUT"),
    "generate": ("generate", "RUN", "--users", "3", "--out", "OUT"),
}
ENDINGS = {
    "recommend": ".csv",
    "predict": ".parquet",
    "generate": ".csv",
    "backtest": ".json",
}  #: of those that write files


@pytest.fixture
def refused(shop, run, tmp_path) -> Iterator:
    """A command with an --out is refused, and leaves all that is beside it as it is. Returns the message."""
    (tmp_path / "pairs.csv").write_text("user,item\nu0001,i0001\n")
    places = {"GRAPH": shop, "RUN": run, "PAIRS": tmp_path / "pairs.csv"}

    def call(command: str, out: object, *, overwrite: bool = True) -> str:
        before = contents(tmp_path)
        words = [places.get(str(word), word) if word != "OUT" else out for word in COMMANDS[command]]
        message = kgrec(*words, *(["--overwrite"] if overwrite else []), code=1)
        assert contents(tmp_path) == before
        assert "epoch" not in message and "Traceback" not in message
        return message

    return call


@pytest.mark.parametrize("command", COMMANDS)
def test_a_users_folder_is_kept(refused, tmp_path, command):
    out = tmp_path / f"thesis{ENDINGS.get(command, '')}"
    out.mkdir()
    (out / "chapter.tex").write_text("three years")
    wanted = "a folder, which a file cannot replace" if command in ENDINGS else "that has other files"
    assert wanted in refused(command, out)


@pytest.mark.parametrize("command", COMMANDS)
def test_an_empty_folder_is_not_replaced_by_a_file(refused, tmp_path, command):
    out = tmp_path / f"empty{ENDINGS.get(command, '')}"
    out.mkdir()
    if command in ENDINGS:
        assert "which a file cannot replace" in refused(command, out)


@pytest.mark.parametrize("command", COMMANDS)
def test_a_users_file_is_kept(refused, tmp_path, command):
    out = tmp_path / f"notes{ENDINGS.get(command, '')}"
    out.write_text("mine, all mine\n1,2\n")
    wanted = "so it is not replaced" if command in ENDINGS else "cannot replace"
    assert wanted in refused(command, out)


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("command", COMMANDS)
def test_links_are_refused(refused, tmp_path, command, overwrite):
    ending = ENDINGS.get(command, "")
    (tmp_path / f"dangling{ending}").symlink_to(tmp_path / "nowhere")
    (tmp_path / "target").mkdir()
    (tmp_path / f"link{ending}").symlink_to(tmp_path / "target")
    for name in ("dangling", "link"):
        assert "is a symbolic link" in refused(command, tmp_path / f"{name}{ending}", overwrite=overwrite)


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in ("recommend", "predict", "generate")])
def test_the_folder_one_is_in_and_those_above_are_refused(refused, command):
    for out in (".", "/", "..", ROOT, ROOT.parent, "tests/.."):
        assert "is the current folder, or one above it" in refused(command, out)


def test_what_is_read_and_what_holds_it_are_refused(refused, shop, run, tmp_path):
    for command in ("train", "backtest", "robustness"):
        for out in (shop, shop.parent):
            assert "which this command reads" in refused(command, out)
    assert "which this command reads" in refused("build", SHOP)
    assert "which this command reads" in refused("build", SHOP.parent)
    (tmp_path / "pairs.csv").rename(tmp_path / "pairs.csv.old")
    (tmp_path / "pairs.csv.old").rename(tmp_path / "pairs.csv")
    assert "which this command reads" in refused("predict", tmp_path / "pairs.csv")
    os.link(tmp_path / "pairs.csv", tmp_path / "other.csv")
    assert "which this command reads" in refused("predict", tmp_path / "other.csv")
    again = ("train", "popularity", shop, "--init", run, "--out", run, "--overwrite")
    assert "which this command reads" in kgrec(*again, code=1)


@pytest.mark.parametrize("command", COMMANDS)
def test_where_nothing_can_be_written_is_said_first(refused, tmp_path, command):
    (tmp_path / "file").write_text("")
    ending = ENDINGS.get(command, "")
    assert "file is no folder" in refused(command, tmp_path / "file" / f"out{ending}", overwrite=False)
    assert "use a name of at most 232 bytes" in refused(command, tmp_path / f"{'x' * 240}{ending}", overwrite=False)


@pytest.mark.parametrize("kind", [GRAPH_FOLDER, RUN_FOLDER, CHECKPOINT_FOLDER, ROBUSTNESS_FOLDER])
@pytest.mark.parametrize(
    "text", ["", "{}", "[]", '{"model": "bert", "hidden_size": 768}', '{"nodes": [], "links": []}']
)
def test_a_name_alone_makes_a_folder_none_of_ours(tmp_path, kind, text):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / kind.document).write_text(text)
    with pytest.raises(KgrecError, match=f"has a {kind.document} that is not that of a {kind.name}"):
        refuse_existing(tmp_path / "mine", True, kind)
    with pytest.raises(KgrecError, match="is not replaced"), whole(tmp_path / "mine", True, kind):
        raise AssertionError("it came so far as to write")
    assert (tmp_path / "mine" / kind.document).read_text() == text


@pytest.fixture(scope="module")
def noise(shop) -> Path:
    kgrec(*NOISE, shop, "--out", shop.parent / "noise")
    return shop.parent / "noise"


def own_folders(shop: Path, run: Path, noise: Path, tmp_path: Path) -> Iterator[tuple[Path, tuple]]:
    """A folder of each kind, and the command that may replace it."""
    shutil.copytree(shop, tmp_path / "g")
    yield tmp_path / "g", ("build", SHOP, "--out", tmp_path / "g")
    shutil.copytree(run, tmp_path / "r")
    yield tmp_path / "r", ("train", "popularity", shop, "--out", tmp_path / "r")
    shutil.copytree(noise, tmp_path / "n")
    yield tmp_path / "n", (*NOISE, shop, "--out", tmp_path / "n")


@pytest.mark.parametrize(
    "place", ["notes.txt", "nodes/notes.txt", "features/mine.parquet", "deep/down/x", "empty/", "-> link"]
)
def test_ours_with_something_of_others_is_kept(shop, run, noise, tmp_path, place):
    for out, arguments in own_folders(shop, run, noise, tmp_path):
        if place.startswith("->"):
            (out / "link").symlink_to(tmp_path)
        elif place.endswith("/"):
            (out / place).mkdir()
        else:
            (out / place).parent.mkdir(parents=True, exist_ok=True)
            (out / place).write_text("mine")
        before = contents(out)
        message = kgrec(*arguments, "--overwrite", code=1)
        assert "that also has other files" in message and f"'{place.removeprefix('-> ')}'" in message
        assert contents(out) == before


def test_ours_is_replaced(shop, run, noise, tmp_path):
    for out, arguments in own_folders(shop, run, noise, tmp_path):
        (one,) = out.glob("*.json") if out.name == "n" else [next(out.glob("[cg]*.json"))]
        document = json.loads(one.read_text())
        one.write_text(json.dumps(document | {"old": 1}))
        kgrec(*arguments, "--overwrite")
        assert "old" not in json.loads(one.read_text())


def test_one_kind_of_folder_is_not_replaced_by_another(shop, run, noise, tmp_path):
    for out, arguments in own_folders(shop, run, noise, tmp_path):
        others = [("build", SHOP, "--out", out), ("train", "popularity", shop, "--out", out)]
        for other in others:
            if other[0] != arguments[0]:
                assert "is not replaced" in kgrec(*other, "--overwrite", code=1)


def test_ours_of_the_first_format_is_replaced(shop, run, tmp_path):
    shutil.copytree(run, tmp_path / "r")
    config = json.loads((run / "config.json").read_text())
    del config["files"]
    (tmp_path / "r/config.json").write_text(json.dumps(config | {"format": 1}))
    kgrec("train", "popularity", shop, "--out", tmp_path / "r", "--overwrite")
    assert json.loads((tmp_path / "r/config.json").read_text())["format"] == 2


def test_a_file_of_ours_is_replaced(shop, run, tmp_path):
    items = Graph.load(shop).vocabulary["item"].id_array.to_pylist()
    (tmp_path / "pairs.csv").write_text(f"user,item\nu0001,{items[0]}\n")
    for arguments in (
        ("recommend", run, "--user", "u0001", "--out", tmp_path / "a.csv"),
        ("recommend", run, "--user", "u0001", "--out", tmp_path / "a.parquet"),
        ("predict", run, tmp_path / "pairs.csv", "--out", tmp_path / "b.csv"),
        ("backtest", "popularity", shop, "--every", "7d", "--windows", "1", "--out", tmp_path / "c.json"),
    ):
        kgrec(*arguments)
        (written,) = {path.read_bytes() for path in [arguments[-1]]}
        kgrec(*arguments, "--overwrite")
        assert arguments[-1].read_bytes()[:60] == written[:60]
        arguments[-1].write_bytes(b"")  # an empty file is nobody's loss
        kgrec(*arguments, "--overwrite")
        assert arguments[-1].read_bytes()[:60] == written[:60]


@pytest.mark.parametrize("model", ["mf", "popularity"])  # one writes a checkpoint, the other does not
@pytest.mark.parametrize("overwrite", [False, True])
def test_what_is_called_as_the_checkpoint_is_kept(shop, tmp_path, model, overwrite):
    options = ["--overwrite"] if overwrite else []
    arguments = ("train", model, shop, "--out", tmp_path / "m", *options)
    (tmp_path / "m.checkpoint").mkdir()
    (tmp_path / "m.checkpoint/photo.jpg").write_text("mine")
    assert "m.checkpoint is a folder without state.json" in kgrec(*arguments, code=1)
    assert contents(tmp_path) == {"m.checkpoint": None, "m.checkpoint/photo.jpg": b"mine"}
    shutil.rmtree(tmp_path / "m.checkpoint")
    (tmp_path / "m.checkpoint").write_text("mine")
    assert "m.checkpoint is a file" in kgrec(*arguments, code=1)
    (tmp_path / "m.checkpoint").unlink()
    (tmp_path / "m.checkpoint").symlink_to(tmp_path / "elsewhere")
    assert "is a symbolic link" in kgrec(*arguments, code=1)


def test_events_inside_of_the_run_are_refused(shop, tmp_path):
    arguments = ("train", "mf", shop, "--out", tmp_path / "m", "--set", f"training.tensorboard={tmp_path}/m/events")
    assert "is inside --out" in kgrec(*arguments, code=1)
    assert contents(tmp_path) == {}

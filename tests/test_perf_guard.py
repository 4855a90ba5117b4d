"""The guard for speed: what it makes of figures, what it refuses, and a wheel of a commit measured against a tree."""

import importlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.training.trainer import Epoch

ROOT = Path(__file__).parents[1]


@pytest.fixture
def perf(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """scripts/perf.py, as scripts/benchmark.py imports it."""
    monkeypatch.syspath_prepend(ROOT / "scripts")
    return importlib.import_module("perf")


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """This tree's package and scripts as a git repository of one commit."""
    root = tmp_path / "project"
    for folder in ("kgrec", "scripts"):
        shutil.copytree(ROOT / folder, root / folder, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, root / file)
    git = ["git", "-C", str(root), "-c", "user.name=nobody", "-c", "user.email=nobody@example.org"]
    for arguments in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "all"]):
        subprocess.run([*git, *arguments], check=True)
    return root


def result(perf: ModuleType, old: list[float], new: list[float], old_mb: float = 100, new_mb: float = 100) -> object:
    return perf.Result("ranking", perf.Figures(old, [old_mb]), perf.Figures(new, [new_mb]))


def test_time_ratio_is_the_smaller_of_least_and_median(perf: ModuleType) -> None:
    # least 3 / 2; pairs 3/2, 3/4, 4/2: median 3/2
    assert result(perf, [2, 4, 2], [3, 3, 4]).time_ratio == 3 / 2  # type: ignore[attr-defined]
    # one lucky round of the old side: least 4 / 2, but pairs 4/4, 4/4, 4/2: median 1
    assert result(perf, [4, 4, 2], [4, 4, 4]).time_ratio == 1  # type: ignore[attr-defined]
    # a load upon two of the new side's rounds: pairs 2, 2, 1, but least 4 / 4
    assert result(perf, [4, 4, 4], [8, 8, 4]).time_ratio == 1  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("new", "new_mb", "failures"),
    [
        (1.15, 110, []),  # at both bounds, and not beyond
        (0.5, 50, []),
        (1.25, 100, ["25% slower"]),
        (1.0, 112, ["12% more memory"]),
        (2.0, 150, ["100% slower", "50% more memory"]),
    ],
)
def test_verdict(perf: ModuleType, new: float, new_mb: float, failures: list[str]) -> None:
    row = result(perf, [1.0, 1.0], [new, new], 100, new_mb)
    assert row.failures == failures  # type: ignore[attr-defined]
    assert row.line().endswith(", ".join(failures) or "  ok")  # type: ignore[attr-defined]


def test_peak_is_the_least_over_processes(perf: ModuleType) -> None:
    row = perf.Result("load", perf.Figures([1.0], [200, 100]), perf.Figures([1.0], [150, 120]))
    assert row.memory_ratio == 120 / 100
    assert row.to_json()["failures"] == ["20% more memory"]


def test_conclusion_names_what_fails(perf: ModuleType) -> None:
    fine, slow = result(perf, [1.0], [1.0]), result(perf, [1.0], [1.5])
    assert perf.conclusion([fine], 2, 61.4) == (
        "none of 1 rows is more than 15% slower or 10% larger (61 s, 2 torch threads)"
    )
    assert perf.conclusion([fine, slow], None, 9) == (
        "FAILED, more than 15% slower or 10% larger: ranking (50% slower) (9 s)"
    )


def test_other_work_is_named(perf: ModuleType) -> None:
    assert perf.load_warning(1.0, 2) == ""
    assert perf.load_warning(6.54, 2).startswith("warning: other work has a load of 6.5 on 2 cores")


def test_rows_that_look_slower_are_measured_again(perf: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two rounds of 2 s against 1 s in the first processes, then rounds that are equal: the row passes."""
    sides = [perf.Side(name, ROOT, "", ROOT, "") for name in ("old", "new")]
    orders = []

    def take_turns(row: str, order: list[object], repeats: int, figures: dict[str, object]) -> int:
        orders.append([side.name for side in order])  # type: ignore[attr-defined]
        for name in ("old", "new"):
            slow = name == "new" and (len(orders) == 1 or always)
            figures[name].seconds.extend([2.0 if slow else 1.0] * repeats)  # type: ignore[attr-defined]
            figures[name].peak_mb.append(100)  # type: ignore[attr-defined]
        return 1

    monkeypatch.setattr(perf, "take_turns", take_turns)
    always = False
    assert perf.measured("mf", sides, 2).failures == []
    assert orders == [["old", "new"], ["new", "old"]]
    orders.clear()
    always = True
    assert perf.measured("mf", sides, 2).failures == ["100% slower"]
    assert orders == [["old", "new"], ["new", "old"], ["old", "new"]]


def test_another_kgrec_is_refused(perf: ModuleType, tmp_path: Path) -> None:
    side = perf.Side("old", tmp_path, "kgrec.cli:main", tmp_path, "a wheel")
    side.check_origin(str(tmp_path / "kgrec/__init__.py"))
    with pytest.raises(KgrecError, match=r"the old side imported /elsewhere/kgrec/__init__[.]py, not"):
        side.check_origin("/elsewhere/kgrec/__init__.py")
    with pytest.raises(KgrecError, match="imported no kgrec"):
        side.check_origin("")


def test_unknown_names_are_refused(perf: ModuleType, capsys: pytest.CaptureFixture[str]) -> None:
    assert perf.main(["--rows", "rankin"]) == 1
    assert "no row 'rankin'; did you mean 'ranking'?" in capsys.readouterr().err
    assert perf.main(["--against", "no-such-commit", "--rows", "import"]) == 1
    assert "--against 'no-such-commit' is no commit here" in capsys.readouterr().err
    assert perf.main(["--repeats", "0"]) == 1
    assert "--repeats is 0" in capsys.readouterr().err


def test_a_row_that_fails_says_why(perf: ModuleType, tmp_path: Path) -> None:
    """No data was prepared here."""
    side = perf.Side("new", ROOT, "kgrec.cli:main", tmp_path, "this tree")
    with perf.Process("build", side, side.command) as process, pytest.raises(KgrecError) as error:
        process.answer()
    assert "row 'build' does not run on the new side (this tree)" in str(error.value)
    assert "recipe.yaml" in str(error.value)


def test_a_wheel_without_its_build_system_is_refused(
    perf: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "pyproject.toml").write_text('[build-system]\nrequires = ["hatchling==1.33.0"]\n')
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(KgrecError, match=r"could not build a wheel[^$]*hatchling==1\.33\.0 from a package index"):
        perf.unpacked_wheel(tmp_path, tmp_path / "wheel")


def test_a_commit_against_a_changed_tree(project: Path) -> None:
    """The tree fills 50 MB as kgrec is imported, some 13 MB with the wheel of its own commit."""
    with (project / "kgrec/__init__.py").open("a") as file:
        file.write("\n_FILLED = b'1' * 50 * 1024 * 1024\n")
    guard = ["scripts/benchmark.py", "perf", "--rows", "import", "--repeats", "1", "--out", "perf.json"]
    done = subprocess.run(
        [sys.executable, *guard, "--against", "HEAD"], cwd=project, capture_output=True, text=True, check=False
    )
    if "pip could not build a wheel" in done.stderr:
        pytest.skip(done.stderr)
    assert done.returncode == 1, done.stderr
    report = json.loads((project / "perf.json").read_text())
    assert report["failed"] == ["import"]
    assert report["sides"]["new"]["what"].endswith("with changes")
    (row,) = report["rows"]
    assert "more memory" in row["failures"][-1]
    assert min(row["new"]["peak_mb"]) - min(row["old"]["peak_mb"]) == pytest.approx(50, abs=3)


def test_data_of_every_row(perf: ModuleType) -> None:
    rows = importlib.import_module("perf_rows")
    assert list(rows.DATA) == list(rows.ROWS)
    assert {name for names in rows.DATA.values() for name in names} == {"recipe", *rows.GRAPHS}


def test_a_benchmark_is_refused_without_its_data(
    perf: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("KGREC_DATA", raising=False)
    assert perf.main(["--rows", "speed-mf-ml1m"]) == 1
    assert "speed-mf-ml1m is trained on real data, and --data is not given" in capsys.readouterr().err
    assert perf.main(["--rows", "speed-mf-ml1m", "--data", str(tmp_path / "none")]) == 1
    assert "which is no folder" in capsys.readouterr().err


def test_the_rounds_of_a_benchmark_are_epochs_of_its_model(perf: ModuleType, planted: Graph, tmp_path: Path) -> None:
    rows = importlib.import_module("perf_rows")
    benchmark = rows.trainings()["speed-mf-ml1m"]
    planted.save(tmp_path / f"{benchmark['recipe']}.graph")
    ends = []

    def pause(end: Epoch, *_: object) -> None:
        ends.append(end)
        if len(ends) == 3:
            raise rows.Finished

    with pytest.raises(rows.Finished):
        rows.epochs_of(benchmark, tmp_path, "", pause)
    assert [end.number for end in ends] == [1, 2, 3]

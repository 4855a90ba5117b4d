"""What is published: a wheel that works outside of the checkout, and an sdist from which all can be built and run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest
import yaml

import kgrec

ROOT = Path(__file__).parent.parent
PARTS = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["hatch"]["build"]["targets"]
LEFT_OUT = shutil.ignore_patterns("__pycache__", ".*", "*.graph", "*.run")


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> tuple[Path, Path]:
    """The wheel and the sdist, made of a copy of the checkout."""
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("built")
    for name in ["pyproject.toml", ".gitignore", *PARTS["sdist"]["include"]]:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, copy / name, ignore=LEFT_OUT)
        else:
            shutil.copy(ROOT / name, copy / name)
    run(sys.executable, "-m", "hatchling", "build", "-d", str(out), cwd=copy)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return wheel, sdist


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory) -> Path:
    """A folder with nothing in it but what the wheel installs."""
    target = tmp_path_factory.mktemp("installed")
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--no-index"]
    run(*pip, "--target", str(target), str(built[0]), cwd=target)
    return target


def run(*command: str, cwd: Path, **variables: str) -> str:
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, **variables}, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done.stdout


def test_the_wheel_runs_away_from_the_checkout(installed, tmp_path):
    def command(*words: str) -> str:
        return run(sys.executable, "-m", "kgrec", *words, cwd=tmp_path, PYTHONPATH=str(installed))

    origin = run(sys.executable, "-c", "import kgrec; print(kgrec.__file__)", cwd=tmp_path, PYTHONPATH=str(installed))
    assert Path(origin.strip()).is_relative_to(installed)
    assert "recommend" in command("--help")
    assert json.loads(command("schema")) == json.loads((installed / "kgrec/recipe.schema.json").read_text("utf-8"))
    command("build", str(installed / "kgrec/sample/shop/shop.yaml"), "--out", "shop.graph")  # as `kgrec demo` does
    assert json.loads(command("info", "shop.graph", "--json"))["nodes"]["item"]["count"] == 400


def test_the_wheel_has_the_package_alone_and_says_what_it_is(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = wheel.namelist()
        metadata = next(wheel.read(name).decode() for name in names if name.endswith("METADATA"))
        entries = next(wheel.read(name).decode() for name in names if name.endswith("entry_points.txt"))
    assert {name.split("/")[0].partition("-")[0] for name in names} == {"kgrec"}
    assert {"kgrec/py.typed", "kgrec/recipe.schema.json"} <= set(names)
    page = "kgrec/server/page"
    assert {f"{page}/templates/list.html", f"{page}/static/page.css", f"{page}/static/page.js"} <= set(names)
    assert "kgrec = kgrec.cli:main" in entries
    assert f"Version: {kgrec.__version__}\n" in metadata and "License-Expression: Apache-2.0\n" in metadata
    for name in ("Homepage", "Documentation", "Repository", "Issues", "Changelog"):
        assert f"Project-URL: {name}, https://" in metadata


def test_the_sdist_holds_what_is_needed_to_build_and_to_run_the_demo(built, installed, tmp_path):
    with tarfile.open(built[1]) as sdist:
        safely = {"filter": "data"} if hasattr(tarfile, "data_filter") else {}  # not before Python 3.11.4
        sdist.extractall(tmp_path, **safely)
    (top,) = tmp_path.iterdir()
    needed = [
        "pyproject.toml", "constraints.txt", "scripts/demo", "scripts/demo.py", "scripts/environment", "scripts/test",
        "graphs/shop/shop.yaml", "graphs/shop/events.csv", "graphs/shop/catalog.ttl", "tests/test_packaging.py",
        "mkdocs.yml", "docs/index.md", "docs/images/layers.svg", "kgrec/recipe.schema.json", "README.md", "LICENSE",
        "CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md",
    ]  # fmt: skip
    assert [name for name in needed if not (top / name).is_file()] == []
    assert os.access(top / "scripts/demo", os.X_OK)
    run(sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path / "again"), cwd=top)
    with zipfile.ZipFile(built[0]) as first, zipfile.ZipFile(next((tmp_path / "again").glob("*.whl"))) as second:
        assert first.namelist() == second.namelist()
    shown = run(sys.executable, "scripts/demo.py", "--epochs", "2", cwd=top, PYTHONPATH=str(installed))
    assert "recommendations of mf" in shown or "recommendations of ease" in shown
    assert "u0042" in shown and "done in" in shown


def test_the_citation_is_of_this_version():
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == kgrec.__version__ and citation["license"] == "Apache-2.0"
    assert {"cff-version", "message", "title", "authors", "repository-code"} <= citation.keys()

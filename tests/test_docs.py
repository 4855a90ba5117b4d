"""What the documentation shows is so: its Python and commands run and print what stands there, its recipes are read.

CONTRIBUTING.md says how blocks are read. `python scripts/run_docs.py PAGE` runs one page, and `--write` mends outputs.
"""

from __future__ import annotations

import doctest
import json
import re
import sys
from pathlib import Path

import pytest
import yaml

from kgrec import cli

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
try:
    from documentation import blocks, notebooks, recipes, running
    from documentation.blocks import WrongPage, blocks_of, commands_of, fits
    from documentation.notebooks import page_text
    from documentation.running import run_page, simple_words
    from run_docs import pages, write_outputs
finally:
    sys.path.remove(str(ROOT / "scripts"))


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_what_a_page_shows_is_so(page, tmp_path, record_property):
    (tmp_path / "page").mkdir()
    result = run_page(page, tmp_path / "page")
    name = str(page.relative_to(ROOT))
    record_property("documentation", [result.num_blocks, result.num_commands, result.num_outputs])
    for line, reason in result.skipped:
        record_property("documentation not run", f"{name} line {line}: {reason}")
    assert not result.differences, f"{name}\n" + "\n".join(map(str, result.differences))


def test_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) <= 8_000


def test_commands_that_are_shown_exist():
    known = {command.name for command in cli.app.registered_commands}
    shown = set()
    for page in pages():
        for block in blocks_of_any(page):
            if block.language == "console":
                words = [simple_words(command.text) or command.text.split() for command in commands_of(block)]
                shown |= {found[1] for found in words if found[:1] == ["kgrec"] and not found[1].startswith("-")}
    assert shown <= known and {"check", "build", "info", "train", "evaluate", "recommend"} <= shown


def blocks_of_any(page: Path):
    return blocks_of(page_text(page))


def test_results_are_of_benchmarks_that_exist():
    benchmarks = yaml.safe_load((ROOT / "scripts/benchmarks.yaml").read_text(encoding="utf-8"))
    texts = [page.read_text(encoding="utf-8") for page in results_pages()]
    rows = {row for text in texts for row in re.findall(r"^\| `([a-z0-9-]+)` \|", text, re.MULTILINE)}
    assert rows and rows <= set(benchmarks)


def results_pages() -> list[Path]:
    return [page for page in pages() if "results" in page.relative_to(ROOT).as_posix()]


REPOSITORY = re.compile(r"https://github\.com/kgrec/kgrec/(?:blob|tree|raw)/main/([^\s)#>\"'`]+)")
LINK = re.compile(r"\]\((?!https?:|mailto:|#)([^)#\s]+)")


@pytest.mark.parametrize("page", pages(), ids=lambda page: str(page.relative_to(ROOT)))
def test_links_to_files_of_the_project_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    missing = [name for name in REPOSITORY.findall(text) if not (ROOT / name).exists()]
    if not page.is_relative_to(ROOT / "docs"):  # of those MkDocs checks the others
        missing += [name for name in LINK.findall(text) if not (page.parent / name).exists()]
    assert missing == []


def test_the_site_fails_for_a_broken_link(tmp_path):
    from mkdocs.commands.build import build
    from mkdocs.config import load_config
    from mkdocs.exceptions import Abort

    def site(text: str, folder: Path) -> None:
        (folder / "docs").mkdir(parents=True)
        (folder / "docs/index.md").write_text(text, encoding="utf-8")
        places = {"docs_dir": str(folder / "docs"), "site_dir": str(folder / "site")}
        config = load_config(str(ROOT / "mkdocs.yml"), strict=True, plugins=[], hooks=[], **places)
        config["nav"] = [{"A page": "index.md"}]
        build(config)

    site("# A page\n\n[here](#a-page)\n", tmp_path / "good")
    page = (tmp_path / "good/site/index.html").read_text(encoding="utf-8")
    assert "<h1" in page and "style" in page  # and nothing is fetched from elsewhere
    assert re.findall(r'(?:src|rel="(?:stylesheet|preconnect|icon)" href)="(?:https?:)?//[^"]+', page) == []
    for number, text in enumerate(("[gone](gone.md)", "[gone](#gone)", "[gone](../README.md)")):
        with pytest.raises(Abort):
            site(f"# A page\n\n{text}\n", tmp_path / f"bad{number}")


# ---------------------------------------------------------------------- what runs the pages


def run(text: str, folder: Path):
    """A page of this text, run."""
    (folder / "page").mkdir()
    (folder / "page.md").write_text(text, encoding="utf-8")
    return run_page(folder / "page.md", folder / "page")


GOOD = """\
# A page

<!-- setup
$ echo 'user,item' > events.csv
$ for n in 1 2 3; do echo "ann,film$n"; done >> events.csv
-->

```yaml title="films.yaml"
name: films
interactions: {file: events.csv}
```

```console
$ kgrec build films.yaml --out films.graph  # two files; one graph
$ kgrec info films.graph --json \\
    --samples 0
{"...": {"user": ...}
$ wc -l < events.csv
4
$ kgrec info films.graph | grep -c user
...
```

<!-- exit: 1 -->
```console
$ kgrec info none.graph
error: none.graph ...
```

!!! note

    ```python
    graph = __import__("kgrec").Graph.load("films.graph")
    ```

```python
print(graph.num_nodes)
print([1,
       2])
```

```text
4
[1, 2]
```

```python title="mine.py"
NAME = "mine"
```

```python
import mine
print(mine.NAME)
```

<!-- no-run: it installs packages -->
```console
$ pip install kgrec
```

```yaml
# part of a recipe: nodes.item
features: {year: numeric}
```

<!-- not-a-recipe -->
```yaml
dim: 64
```
"""


def test_a_page_that_is_so(tmp_path):
    result = run(GOOD, tmp_path)
    assert [str(one) for one in result.differences] == []
    assert (result.num_blocks, result.num_commands, result.num_outputs) == (8, 7, 5)
    assert result.skipped == [(58, "it installs packages")]
    assert "mine" not in sys.modules and Path.cwd() != tmp_path / "page"


WRONG = {
    "another output of Python": ("```python\nprint(1)\n```\n\n```text\n2\n```\n", "printed:\n    1"),
    "more output than is shown": ("```console\n$ printf 'a\\nb\\n'\na\n```\n", "printed:\n    a\n    b"),
    "an error": ("```python\nint('x')\n```\n", "line 2: fails:"),
    "a name of a block that was not run": (
        "<!-- no-run: slow -->\n```python\na = 1\n```\n```python\na\n```\n",
        "NameError",
    ),
    "an exit code": ("```console\n$ kgrec info none.graph\n```\n", "exit code 1, not 0"),
    "another exit code": ("<!-- exit: 2 -->\n```console\n$ false\n```\n", "exit code 1, not 2"),
    "no option": ("```console\n$ kgrec models --fast\n```\n", "No such option"),
    "a recipe's key": (
        "```yaml\nname: a\ninteractions: {file: a.csv, columm: b}\n```\n",
        "is neither a recipe nor a part",
    ),
    "a part's key": (
        "```yaml\n# part of a recipe: nodes.item\nfeature: {year: numeric}\n```\n",
        "is neither a recipe nor a part",
    ),
    "a mark without a reason": ("<!-- no-run: -->\n```python\n1\n```\n", "the mark no-run has no reason"),
    "a mark without a reason or colon": ("<!-- no-run -->\n```python\n1\n```\n", "the mark no-run has no reason"),
    "a mark of nothing": ("<!-- exit: 1 -->\n\nText.\n", "no block follows the mark exit"),
    "an unchecked language": ("```bash\nkgrec models\n```\n", "say 'console'"),
    "no language": ("```\n$ kgrec models\n```\n", "say 'text'"),
    "code by indentation": ("Say this:\n\n    kgrec models\n", "put the code between"),
    "no prompt": ("```console\nkgrec models\n```\n", "begins with `$ `"),
    "no end": ("```python\n1\n", "never closed"),
}


@pytest.mark.parametrize(("text", "found"), WRONG.values(), ids=WRONG)
def test_a_page_that_is_not_so(text, found, tmp_path):
    differences = "\n".join(map(str, run(text, tmp_path).differences))
    assert found in differences


def test_dots_stand_for_lines_and_for_text():
    assert fits(["...", "b 1...", "..."], "a\nb 12\n") and fits(["a", "", "b"], "\na  \n\nb\n\n")
    assert not fits(["...", "c"], "a\nb\n") and not fits(["a.c"], "abc\n") and not fits(["a"], "a\nb\n")


def test_outputs_are_written_in_their_place(tmp_path):
    text = (
        "1.  One\n\n    ```console\n    $ echo one; echo two\n    ?\n    ```\n\n"
        "```console\n$ echo 3\n4\n5\n$ echo 6\n6\n```\n"
    )
    result = run(text, tmp_path)
    write_outputs(tmp_path / "page.md", result.differences)
    written = (tmp_path / "page.md").read_text(encoding="utf-8")
    assert written == text.replace("    ?\n", "    one\n    two\n").replace("4\n5\n", "3\n")


def test_a_notebook_is_run_and_written_as_a_page_is(tmp_path):
    def cell(source: str, printed: str | None = None) -> dict:
        if printed is None:
            return {"cell_type": "markdown", "source": [source]}
        outputs = [{"name": "stdout", "output_type": "stream", "text": [printed]}] if printed else []
        return {"cell_type": "code", "source": [source], "outputs": outputs}

    path = tmp_path / "a.ipynb"
    cells = [cell("# One"), cell("a = 1", ""), cell("print(a)\nprint(2)", "?"), cell("print(a + 2)", "3\n")]
    path.write_text(json.dumps({"cells": cells}), encoding="utf-8")
    (tmp_path / "page").mkdir()
    (wrong,) = run_page(path, tmp_path / "page").differences
    assert wrong.printed == ["1", "2"]
    write_outputs(path, [wrong])
    (tmp_path / "again").mkdir()
    again = run_page(path, tmp_path / "again")
    assert (again.num_blocks, again.num_outputs, again.differences) == (3, 2, [])
    assert json.loads(path.read_text(encoding="utf-8"))["cells"][2]["outputs"][0]["text"] == ["1\n", "2\n"]


def test_a_setup_without_an_end_is_refused():
    with pytest.raises(WrongPage, match="never closed"):
        blocks_of("<!-- setup\n$ true\n")


@pytest.mark.parametrize("module", [blocks, notebooks, recipes, running], ids=lambda module: module.__name__)
def test_examples_in_its_docstrings(module):
    assert doctest.testmod(module).failed == 0

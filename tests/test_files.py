"""Folders and files that appear whole or not at all."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from kgrec.errors import KgrecError
from kgrec.files import refuse_existing, whole
from kgrec.graph.storage import GRAPH_FOLDER


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fill(draft: Path, text: str) -> None:
    draft.mkdir()
    (draft / "text").write_text(text)


def dead_process() -> int:
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_folder_and_a_file_take_their_place_when_the_block_ends(tmp_path):
    with whole(tmp_path / "new" / "out") as draft:
        fill(draft, "a")
        assert not (tmp_path / "new" / "out").exists()
    assert (tmp_path / "new" / "out" / "text").read_text() == "a"
    with whole(tmp_path / "new" / "list.txt") as draft:
        draft.write_text("b")
    assert names(tmp_path / "new") == ["list.txt", "out"]


def test_what_exists_is_refused_and_left_as_it_is(tmp_path):
    (tmp_path / "out").write_text("old")
    with (
        pytest.raises(KgrecError, match=r"out exists already; name another --out, or use --overwrite"),
        whole(tmp_path / "out") as draft,
    ):
        draft.write_text("new")
    assert (tmp_path / "out").read_text() == "old" and names(tmp_path) == ["out"]
    with pytest.raises(KgrecError, match="exists already"):
        refuse_existing(tmp_path / "out", overwrite=False)
    refuse_existing(tmp_path / "out", overwrite=True)


def test_what_appeared_while_writing_is_not_replaced(tmp_path):
    with (
        pytest.raises(KgrecError, match="exists already"),
        whole(tmp_path / "out") as draft,
    ):
        draft.write_text("mine")
        (tmp_path / "out").write_text("theirs")
    assert (tmp_path / "out").read_text() == "theirs" and names(tmp_path) == ["out"]


def test_overwrite_swaps_only_at_the_end(tmp_path):
    fill(tmp_path / "out", "old")
    with whole(tmp_path / "out", overwrite=True) as draft:
        fill(draft, "new")
        assert (tmp_path / "out" / "text").read_text() == "old"
    assert (tmp_path / "out" / "text").read_text() == "new" and names(tmp_path) == ["out"]


@pytest.mark.parametrize("error", [KeyboardInterrupt(), ValueError("bad"), OSError(errno.ENOSPC, "No space left")])
def test_an_error_leaves_nothing_and_the_old_one_stays(tmp_path, error):
    fill(tmp_path / "out", "old")
    wanted = KgrecError if isinstance(error, OSError) else type(error)
    with (
        pytest.raises(wanted),
        whole(tmp_path / "out", overwrite=True) as draft,
    ):
        fill(draft, "half")
        raise error
    assert (tmp_path / "out" / "text").read_text() == "old" and names(tmp_path) == ["out"]


def test_a_full_disk_is_said_with_the_path(tmp_path):
    with (
        pytest.raises(KgrecError, match=r"cannot write .*out: No space left; no file is left there"),
        whole(tmp_path / "out") as draft,
    ):
        fill(draft, "half")
        raise OSError(errno.ENOSPC, "No space left")
    assert names(tmp_path) == []


def test_a_swap_that_fails_puts_the_old_one_back(tmp_path, monkeypatch):
    fill(tmp_path / "out", "old")
    rename = Path.rename

    def failing(self: Path, target: Path) -> Path:
        if ".part-" in self.name:
            raise OSError(errno.EIO, "Input/output error")
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", failing)
    with (
        pytest.raises(KgrecError, match="Input/output error"),
        whole(tmp_path / "out", overwrite=True) as draft,
    ):
        fill(draft, "new")
    assert (tmp_path / "out" / "text").read_text() == "old" and names(tmp_path) == ["out"]


def test_a_folder_that_is_not_ours_is_not_replaced(tmp_path):
    fill(tmp_path / "thesis", "three years")
    with (
        pytest.raises(KgrecError, match=r"thesis is a folder without graph.json that has other files"),
        whole(tmp_path / "thesis", overwrite=True, kind=GRAPH_FOLDER) as draft,
    ):
        fill(draft, "new")
    assert (tmp_path / "thesis" / "text").read_text() == "three years"
    (tmp_path / "empty").mkdir()
    with whole(tmp_path / "empty", overwrite=True, kind=GRAPH_FOLDER) as draft:
        fill(draft, "new")
    assert (tmp_path / "empty" / "text").read_text() == "new"


@pytest.mark.parametrize("name", ["out", "my[1] *.graph"])
def test_drafts_of_dead_writers_are_removed_and_those_of_living_ones_kept(tmp_path, name):
    dead, living = dead_process(), os.getppid()
    for writer in (dead, living, os.getpid()):  # its own number: a container's earlier process had it
        fill(tmp_path / f".{name}.part-{writer}", "half")
    fill(tmp_path / f".other.part-{dead}", "of another path")
    with whole(tmp_path / name) as draft:
        fill(draft, "a")
    assert names(tmp_path) == sorted([name, f".{name}.part-{living}", f".other.part-{dead}"])


def test_what_a_killed_writer_had_moved_aside_comes_back(tmp_path):
    fill(tmp_path / f".out.old-{dead_process()}", "old")
    with (
        pytest.raises(KgrecError, match="exists already"),
        whole(tmp_path / "out"),
    ):
        pass
    assert (tmp_path / "out" / "text").read_text() == "old" and names(tmp_path) == ["out"]
    fill(tmp_path / f".out.old-{dead_process()}", "older")
    with whole(tmp_path / "out", overwrite=True) as draft:
        fill(draft, "new")
    assert (tmp_path / "out" / "text").read_text() == "new" and names(tmp_path) == ["out"]

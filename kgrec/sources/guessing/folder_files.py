"""The files of a folder that a recipe could read, and why the others are left out."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kgrec.errors import KgrecError
from kgrec.files import SQLITE
from kgrec.printable import is_no_unicode
from kgrec.sources.packed_files import COMPRESSIONS, open_bytes

HEAD = 1 << 16  #: bytes by which a file's kind is recognized
MOST_FILES = 100_000  #: files that are listed
RDF_SUFFIXES = (".ttl", ".turtle", ".nt", ".nq", ".trig", ".rdf", ".owl", ".n3", ".jsonld")
ARCHIVES = (".zip", ".tar", ".tgz", ".tar.gz", ".tar.bz2")
NO_DATA = {
    **dict.fromkeys((".md", ".rst", ".pdf", ".html", ".htm", ".doc", ".docx"), "is a document"),
    **dict.fromkeys((".py", ".ipynb", ".r", ".sh", ".js", ".sql", ".yaml", ".yml", ".toml", ".cfg"), "is code"),
    **dict.fromkeys((".jpg", ".jpeg", ".png", ".gif", ".svg", ".webp", ".mp3", ".mp4", ".wav"), "is an image or sound"),
    **dict.fromkeys((".xlsx", ".xls", ".ods"), "is a spreadsheet; save its sheets as CSV files"),
    **dict.fromkeys((".pkl", ".pickle", ".h5", ".hdf5", ".npz", ".npy", ".mat", ".pt", ".rds"), "is no table of text"),
    **dict.fromkeys((".7z", ".rar", ".xz"), "is an archive of a kind that is not read; unpack it"),
}
DOCUMENTS = re.compile(r"^(readme|licen[cs]e|changelog|notice|copying|manifest|checksums?|md5sums?)\b", re.IGNORECASE)
OWN_DOCUMENTS = ("graph.json", "config.json")  #: by which folders of kgrec are recognized


@dataclass(frozen=True)
class FoundFile:
    """A file that may be part of a recipe."""

    path: Path
    name: str  #: how the recipe writes its path: relative to the data folder
    size: int  #: bytes on disk
    form: str  #: text, parquet, json, json_lines, python_lines, json_lists, rdf, sqlite or archive

    @property
    def suffix(self) -> str:
        """The suffix without that of a packed file. A recipe knows those in lower case."""
        path = self.path
        return path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix

    @property
    def is_packed(self) -> bool:
        """Whether its bytes are packed, so that only its beginning can be sampled."""
        return self.path.suffix in COMPRESSIONS

    @property
    def group(self) -> tuple[str, str]:
        """Its folder, and its name with digits and months taken out: files of one such name are parts of one table."""
        stem = re.sub(
            r"(?<![a-z])(jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]*(?![a-z])",
            "#",
            self.path.name.lower(),
        )
        return str(Path(self.name).parent), re.sub(r"\d+", "#", stem)


def files_in(folder: Path, left_out: dict[str, str]) -> list[FoundFile]:
    """The files of a folder and those below it, by name. left_out: gets the name of each other file, and why it is
    not used. Raises KgrecError where the folder is missing or has no files."""
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise KgrecError(f"{folder} {what}; give the folder that has the raw files")
    found = []
    for path in sorted(_walk(folder)):
        name = path.relative_to(folder).as_posix()
        if is_no_unicode(name):
            left_out[ascii(name)] = "has a name that is not UTF-8; rename it"
        elif (why := no_data(path)) is not None:
            left_out[name] = why
        else:
            file = found_file(path, name)
            if isinstance(file, str):
                left_out[name] = file
            else:
                found.append(file)
    if not found:
        seen = "; ".join(f"{name} {why}" for name, why in list(left_out.items())[:5])
        raise KgrecError(
            f"{folder} has no file with data{f' ({seen})' if seen else ': it is empty'}; give a folder with tables "
            "(CSV, Parquet, JSON lines ...), an SQLite file or RDF"
        )
    return found


def _walk(folder: Path) -> Iterator[Path]:
    """Files below a folder that are not hidden and not in folders that kgrec wrote."""
    count = 0
    for here, folders, names in os.walk(folder):
        place = Path(here)
        folders[:] = sorted(
            one for one in folders if not one.startswith((".", "__MACOSX")) and not _is_own(place / one)
        )
        for name in names:
            if not name.startswith((".", "~")):
                count += 1
                if count > MOST_FILES:
                    raise KgrecError(f"{folder} has more than {MOST_FILES:,} files; give a folder with the data alone")
                yield place / name


def _is_own(folder: Path) -> bool:
    """Whether kgrec made a folder: a graph, a run, or tables that `kgrec init` prepared."""
    if folder.name.endswith(".prepared"):
        return True
    if (folder / "graph.json").is_file() and (folder / "nodes").is_dir():
        return True
    return (folder / "config.json").is_file() and (folder / "model.safetensors").is_file()


def no_data(path: Path) -> str | None:
    """Why a file is no data, by its name; None if it may be."""
    if path.exists() and not path.is_file():
        return "is no plain file"
    if DOCUMENTS.match(path.name) and path.suffix.lower() in ("", ".txt", ".md", ".rst", ".html"):
        return "is a document"
    return NO_DATA.get(path.suffix.lower())


def found_file(path: Path, name: str) -> FoundFile | str:
    """A file with its form; or why it is left out, as words to follow its name."""
    try:
        size = path.stat().st_size
        if size == 0:
            return "is empty"
        if path.name.lower().endswith(ARCHIVES):
            return FoundFile(path, name, size, "archive")
        with open_bytes(path) as stream:
            head = stream.read(HEAD)
    except (OSError, KgrecError) as error:
        return f"cannot be read: {error}"
    suffix = (path.with_suffix("").suffix if path.suffix in COMPRESSIONS else path.suffix).lower()
    form = _form(suffix, head)
    return form if form.startswith("is ") else FoundFile(path, name, size, form)


def _form(suffix: str, head: bytes) -> str:
    """The form of a file by its suffix and its first bytes; words that begin with `is ` where it is left out."""
    if head.startswith(SQLITE):
        return "sqlite"
    if head.startswith(b"PAR1"):
        return "parquet"
    if suffix in RDF_SUFFIXES:
        return "rdf"
    if suffix == ".xml":
        return "rdf" if b"rdf:RDF" in head else "is XML, but not RDF/XML"
    if suffix in (".parquet", ".sqlite", ".sqlite3"):
        return f"is no {suffix[1:]} file: its first bytes are others; get the file again"
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n")
    if suffix in (".jsonl", ".ndjson"):
        return "json_lines"
    if suffix == ".json" or text.startswith((b'{"', b"[{")):
        return _json_form(text)
    if text.startswith(b"{'") and b"': " in text:
        return "python_lines"
    wide = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not wide and b"\0" in head:
        return "is binary: it has bytes that are no text"
    return "text"


def _json_form(text: bytes) -> str:
    """rdf for JSON-LD, json_lines for an object in each line, else json."""
    if b'"@context"' in text or b'"@graph"' in text:
        return "rdf"
    lines = [line for line in text.split(b"\n")[:3] if line.strip()]
    whole = [line for line in lines if line.rstrip().endswith(b"}") and line.startswith(b"{")]
    if text.startswith(b"{") and len(whole) >= min(2, len(lines)) and (len(lines) > 1 or text.count(b"\n") == 1):
        return "json_lines" if len(lines) > 1 else "json"
    return "json"

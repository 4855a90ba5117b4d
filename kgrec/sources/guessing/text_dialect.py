"""How a text file is written: its encoding, its separator, its quotes, and whether its first line names the columns."""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kgrec.errors import KgrecError
from kgrec.sources.guessing.column_words import ROLES, words_of
from kgrec.sources.packed_files import open_bytes
from kgrec.sources.tables.record_stream import Records
from kgrec.sources.tables.separated import Separated, split_record

SEPARATORS = ("::", "\t", "|", ";", ",", " ")
LOOKED_AT = 400  #: records by which the separator is found
MOST_SKIPPED = 15  #: lines of preamble at most
NUMBER = re.compile(r"^\s*[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?\s*$")
BLOCKS = 4  #: places of a large file that are read
KNOWN = frozenset().union(*ROLES.values())


@dataclass
class Dialect:
    """How a text file is read. form: the keys of a recipe."""

    form: dict[str, Any] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    is_mixed: bool = False  #: whether some lines are in another encoding than the others
    has_header: bool = False


def sample_of(path: Path, size: int, budget: int, packed: bool) -> tuple[bytes, bool]:
    """Whole lines of a file, at most about `budget` bytes from its beginning, middle and end; and whether they are
    all."""
    with open_bytes(path) as stream:
        if packed or size <= budget:
            blocks, length = [], 0
            while length < budget and (block := stream.read(1 << 20)):
                blocks.append(block)
                length += len(block)
            data = b"".join(blocks)
            is_whole = not stream.read(1)
            return (data if is_whole else data[: data.rfind(b"\n") + 1] or data), is_whole
    pieces = []
    with path.open("rb") as file:
        for place in range(BLOCKS):
            file.seek(place * (size - budget // BLOCKS) // (BLOCKS - 1))
            block = file.read(budget // BLOCKS)
            begin = block.find(b"\n") + 1 if place else 0
            pieces.append(block[begin : block.rfind(b"\n") + 1])
    return b"".join(pieces), False


def dialect_of(data: bytes, suffix: str, copy: Path) -> Dialect:
    """The dialect of a file by a sample of its lines, which is in the file `copy` too.

    Raises KgrecError where it is no table, with the reason as words to follow the file's name.
    """
    found = Dialect()
    encoding = _encoding(data, found)
    if encoding != "utf-8":
        found.form["encoding"] = encoding
    text = data[: 1 << 20].decode(encoding, "replace")
    if encoding == "utf-8":
        text = text.removeprefix("\ufeff")
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines:
        raise KgrecError("has no lines")
    if _is_lists(lines):
        found.form["format"] = "lists"
        return found
    skip = _preamble(lines)
    separator, share = _separator(copy, encoding, skip, suffix)
    if separator is None:
        raise KgrecError("has one column only, so it is no table")
    if skip:
        found.form["skip_rows"] = skip
    if separator != ("\t" if suffix == ".tsv" else ","):
        found.form["separator"] = "tab" if separator == "\t" else separator
    if share < 1:
        found.notes.append(f"{1 - share:.1%} of the sampled lines have another number of values, and are left out")
    rows = _records(copy, separator, separator == ",", encoding, skip)
    if separator != "," and len(separator) == 1 and _is_quoted(rows):
        found.form["quote"] = True
        rows = _records(copy, separator, True, encoding, skip)
    width = Counter(map(len, rows)).most_common(1)[0][0]
    rows = [row for row in rows if len(row) == width]
    _name_columns(rows, found)
    return found


def _encoding(data: bytes, found: Dialect) -> str:
    """The encoding of some lines. Raises KgrecError where they are no text."""
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return "utf-16"
    zeros = data.count(b"\0")
    if zeros:
        at = data.index(b"\0")
        kind = "is binary" if at < 1000 else f"is text at first and binary from byte {at:,} on"
        raise KgrecError(f"{kind}; it is damaged, or no table")
    try:
        data.decode("utf-8")
        return "utf-8"
    except UnicodeDecodeError:
        pass
    right = wrong = 0
    for line in data.split(b"\n"):
        if not line.isascii():
            try:
                line.decode("utf-8")
                right += 1
            except UnicodeDecodeError:
                wrong += 1
    noise = len(re.findall(rb"[\x01-\x08\x0e-\x1f]", data))
    if noise > len(data) / 200:
        raise KgrecError("is partly binary: many of its bytes are control characters; it is damaged, or no table")
    if right > 2 and wrong:
        found.is_mixed = True
        found.notes.append(f"{right:,} sampled lines are UTF-8, {wrong:,} are in another encoding")
        return "utf-8" if right >= 20 * wrong else "cp1252"
    high = {*re.findall(rb"[\x80-\x9f]", data)}
    return "cp1252" if high and not high & {b"\x81", b"\x8d", b"\x8f", b"\x90", b"\x9d"} else "latin-1"


def _is_lists(lines: Sequence[str]) -> bool:
    """Whether lines are `user item item ...`: white space between plain ids, and lines of many lengths."""
    few = lines[:LOOKED_AT]
    if any("\t" in line or "," in line or ";" in line or "|" in line for line in few):
        return False
    fields = [line.split() for line in few]
    lengths = Counter(map(len, fields))
    firsts = [row[0] for row in fields if row]
    all_ids = all(re.fullmatch(r"[\w.-]+", value) for row in fields[:50] for value in row[:50])
    varied = len(lengths) > 2 and lengths.most_common(1)[0][1] < 0.8 * len(few)
    numeric = sum(value.isdigit() for row in fields for value in row) > 0.9 * sum(map(len, fields))
    return all_ids and varied and numeric and len(set(firsts)) == len(firsts)


def _preamble(lines: Sequence[str]) -> int:
    """How many lines at the top are comments."""
    count = 0
    while count < min(MOST_SKIPPED, len(lines) - 1) and lines[count].startswith(("#", "//", "%", "--")):
        fields = re.split(r"[\t,;|]", lines[count])
        if len(fields) > 1 and len(fields) == len(re.split(r"[\t,;|]", lines[count + 1])):
            break  # a header that begins with #
        count += 1
    return count


def _records(copy: Path, separator: str, quote: bool, encoding: str, skip: int) -> list[list[str]]:
    """The first records with a separator."""
    file = Separated(copy, copy.name, separator, None, quote, encoding, (), skip, None)
    with Records(file, 0, is_careful=True, skips_names=False, most=LOOKED_AT) as records:
        return [split_record(text, file.mark.decode(), quote) for text in records.first()]


def _separator(copy: Path, encoding: str, skip: int, suffix: str) -> tuple[str | None, float]:
    """The separator that divides most lines into equally many values, and the share of these lines."""
    best: tuple[str | None, float] = (None, 0.8)
    first = {".tsv": "\t", ".csv": ","}.get(suffix)
    for separator in sorted(SEPARATORS, key=lambda one: one != first):
        try:
            rows = _records(copy, separator, separator == ",", encoding, skip)
        except KgrecError:
            continue
        if not rows:
            continue
        if rows and all(len(row) == len(rows[0]) + 1 and row[-1] == "" for row in rows[1:]) and len(rows) > 1:
            rows = [rows[0], *(row[:-1] for row in rows[1:])]
        width, count = Counter(map(len, rows)).most_common(1)[0]
        share = count / len(rows)
        if width < 2 or (separator == " " and not _fits_spaces(rows)):
            continue
        if share > 0.97 and len(rows[0]) == width:
            return separator, share
        if share > best[1]:
            best = separator, share
    return best


def _fits_spaces(rows: Sequence[Sequence[str]]) -> bool:
    """Whether values between spaces are no words of a text."""
    return sum(bool(NUMBER.match(value)) for row in rows for value in row) > 0.4 * sum(map(len, rows))


def _is_quoted(rows: Sequence[Sequence[str]]) -> bool:
    """Whether values stand in double quotes."""
    quoted = sum(len(v) > 1 and v.startswith('"') and v.endswith('"') for row in rows for v in row)
    broken = sum(v.startswith('"') != v.endswith('"') for row in rows for v in row if len(v) > 1)
    return quoted > 0 and quoted > 5 * broken


def _name_columns(rows: Sequence[Sequence[str]], found: Dialect) -> None:
    """Decide whether the first row has the names of the columns, and name the columns where it has none or bad ones."""
    names = [name.strip() for name in rows[0]]
    found.has_header = len(rows) > 1 and _is_header(names, rows[1:])
    if not found.has_header:
        found.form["columns"] = [f"c{place}" for place in range(1, len(names) + 1)]
    elif len(set(names)) < len(names) or not all(names) or names != list(rows[0]):
        found.form["columns"] = _repaired(names)
        found.form["header"] = True


def _repaired(names: Sequence[str]) -> list[str]:
    """The same names, each once and none empty."""
    kept: list[str] = []
    for place, name in enumerate(names, 1):
        new = name or f"c{place}"
        while new in kept:
            new += "_2"
        kept.append(new)
    return kept


def _is_header(names: Sequence[str], rows: Sequence[Sequence[str]]) -> bool:
    filled = [name for name in names if name]
    if not filled or any(NUMBER.match(name) for name in filled) or len(filled) < len(names) - 1:
        return False
    if any(len(name) > 60 for name in filled) or any(name.startswith(("http:", "https:", "<")) for name in filled):
        return False
    for place in range(len(names)):
        column = [row[place] for row in rows if row[place]]
        if column and sum(bool(NUMBER.match(v)) or bool(re.match(r"\d{4}-\d\d", v)) for v in column) > 0.9 * len(
            column
        ):
            return True
    known = sum(bool(KNOWN & {*words_of(name)} | ({"id"} & {*words_of(name)})) for name in filled)
    if known >= max(1, len(filled) / 3) and all(len(words_of(name)) <= 4 for name in filled):
        below = {value for row in rows for value in row}
        return not {*filled} & below
    return False

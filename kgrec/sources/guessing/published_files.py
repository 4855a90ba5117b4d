"""Published splits: files that are named train, valid and test."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field

from kgrec.graph.schema import clean_name
from kgrec.sources.guessing.column_words import PARTS, part_of_split
from kgrec.sources.guessing.folder_tables import joined, row_share
from kgrec.sources.guessing.key_search import ProfiledTable, percent

LEAST_SHARE = 0.98  #: of the rows of a part that must be in a table of all rows


@dataclass(eq=False)
class PublishedFiles:
    """The parts of a published split by name. table: one table of all rows, which has those of the parts too, or which
    the parts make together."""

    name: str
    parts: dict[str, ProfiledTable]
    table: ProfiledTable
    is_whole: bool  #: whether the parts together are the table
    because: str = ""


@dataclass(eq=False)
class FoundSplits:
    """Tables without those that are parts of splits, and the splits."""

    tables: list[ProfiledTable]
    splits: list[PublishedFiles] = field(default_factory=list)


def find_splits(tables: Sequence[ProfiledTable], left_out: dict[str, str]) -> FoundSplits:
    """Take the files of published splits out of the tables. left_out: gets files of parts that fit no table."""
    groups: dict[tuple[str, int], dict[str, ProfiledTable]] = defaultdict(dict)
    others = []
    for table in tables:
        found = part_of_split(table.name)
        if found is None:
            others.append(table)
        else:
            groups[found[1], len(table.columns)].setdefault(found[0], table)
    result = FoundSplits(others)
    merged: list[PublishedFiles] = []
    for (stem, _), unordered in groups.items():
        parts = {part: unordered[part] for part in PARTS if part in unordered}
        whole = next((table for table in others if _holds(table, parts)), None)
        if whole is not None and "test" in parts:
            shown = ", ".join(f"{part} {percent(row_share(one.sample, whole.sample))}" for part, one in parts.items())
            why = f"rows found in {whole.name}: {shown}"
            result.splits.append(PublishedFiles(_name(stem, result.splits), parts, whole, False, why))
        elif {"train", "test"} <= parts.keys() and _are_alike(list(parts.values())) and not _are_nodes(parts):
            merged.append(_merged(stem, parts))
        elif "train" in parts:
            result.tables.append(parts["train"])
            for part in parts.keys() - {"train"}:
                left_out[parts[part].name] = f"the {part} part of {parts['train'].name}, which is read alone"
        elif not others:
            result.tables += parts.values()
        else:
            for part, table in parts.items():
                left_out[table.name] = f"a {part} part whose rows are in no other file, so its ids may be others"
    for split in merged:
        result.splits.append(split)
        result.tables.append(split.table)
    return result


def _holds(table: ProfiledTable, parts: dict[str, ProfiledTable]) -> bool:
    """Whether a table has the rows of all parts."""
    return all(row_share(part.sample, table.sample) >= LEAST_SHARE for part in parts.values())


def _are_alike(tables: Sequence[ProfiledTable]) -> bool:
    return len({tuple(table.columns) for table in tables}) == 1 and len({str(t.sample.form) for t in tables}) == 1


def _are_nodes(parts: dict[str, ProfiledTable]) -> bool:
    """Whether each part lists nodes, as news.tsv does in the folders of train and of test."""
    return not parts["train"].sample.is_lists and any(key.is_unique for key in parts["train"].keys[:1])


def _merged(stem: str, parts: dict[str, ProfiledTable]) -> PublishedFiles:
    samples = [one.sample for one in parts.values()]
    table = joined(samples, [file for one in samples for file in one.files])
    table.parts = {part: one.sample.files for part, one in parts.items()}
    counts = ", ".join(f"{part} {one.sample.estimated:,} rows" for part, one in parts.items())
    return PublishedFiles(_name(stem, []), parts, ProfiledTable(table), True, f"the names of the files: {counts}")


def _name(stem: str, taken: Sequence[PublishedFiles]) -> str:
    plain = stem.rpartition("/")[2].strip("_-. ")
    name = clean_name(plain) if any(map(str.isalnum, plain)) else "published"
    names = {split.name for split in taken}
    return name if name not in names else clean_name(stem)

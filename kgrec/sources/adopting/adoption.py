"""`kgrec adopt`: turns a folder of Parquet files, from any program, into a graph folder, in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Literal

from kgrec.drafts import put_back
from kgrec.errors import BadData, Fault, KgrecError, unknown_name
from kgrec.files import whole
from kgrec.graph.assembly import assemble
from kgrec.graph.parts import GraphParts
from kgrec.graph.schema import EdgeType, NodeSchema, Schema
from kgrec.graph.storage import RECIPE, read_document, write_graph
from kgrec.json_files import JsonPlace, read_object
from kgrec.sources.adopting.adoption_options import AdoptionOptions
from kgrec.sources.adopting.adoption_report import AdoptionReport
from kgrec.sources.adopting.engine_files import EngineFiles
from kgrec.sources.adopting.folder_reader import FolderReader
from kgrec.sources.checking.graph_check import AGAIN, check_graph

REMEDY = "build the graph again, or remove graph.json to have everything inferred from the tables"


def adopt(
    folder: str | Path,
    *,
    target: str | None = None,
    kinds: Mapping[str, str] | None = None,
    edges_by: Literal["numbers", "ids"] | None = None,
    new_order: bool = False,
) -> AdoptionReport:
    """Turn a folder of Parquet files that another program wrote or changed into a graph folder, in place.

    The folder needs `nodes/TYPE.parquet` with a column `id`, and `edges/SOURCE__RELATION__TARGET.parquet` with `source`
    and `target`. Each may also be a folder of parts, which are read in the order of their names (10 after 9). If there
    is a former `graph.json`, its labels, kinds of features, categories, target and inverses are kept. Otherwise they
    are inferred. Columns are converted to the types that kgrec writes. Index columns of pandas and marker files of
    Spark are dropped. Counts and hashes are computed again.

    Nodes are numbered in the order of the rows. `source` and `target` are row numbers where they are integers, and ids
    where they are text. The former `graph.json` stores the order of the ids. If the order has changed and edges use row
    numbers, the folder is refused. If there is no `graph.json`, or one without the order, the present order is used.

    target: the relation to recommend, by name or as SOURCE-RELATION-TARGET; default: the former one, or the only one.
    kinds: by `TYPE.COLUMN` or `RELATION.COLUMN`, the kind of a feature, or `ignore` to drop it. edges_by: `ids` if
    integers are ids, `numbers` if text is row numbers. new_order: use the present order of the rows, even if it has
    changed.

    Raises KgrecError, and BadData with file and row, where the folder is not a valid graph; then nothing is changed.
    """
    options = AdoptionOptions(target, dict(kinds or {}), edges_by, new_order)
    folder, named = Path(folder).resolve(), str(folder)
    put_back(folder)
    if not folder.is_dir():
        raise KgrecError(f"{named} is not a folder; give a folder with nodes/ and edges/ in it")
    here = Path.cwd()
    if folder == here or folder in here.parents:
        raise KgrecError(
            f"{named} is your current folder or contains it, and it will be replaced; leave it first (cd ..)"
        )
    files = EngineFiles.of(folder)
    former, orders = _former(folder)
    reader = FolderReader(files, former, orders, options)
    reader.read()
    chosen = _target([*reader.edges], options.target, former)
    graph = _assembled(reader, chosen, former, folder)
    report = AdoptionReport(named)
    report.count(graph, former)
    if files.leftovers:
        reader.notes.append(f"{len(files.leftovers):,} marker and checksum files of other programs were dropped")
    if not orders and not options.new_order:
        reader.notes.append("the present order of rows is used, because no former order is stored to compare it with")
    report.notes = reader.notes
    with whole(folder, overwrite=True) as draft:
        write_graph(graph, draft)
        _must_be_right(draft)
        files.must_be_unchanged()
    return report


def _former(folder: Path) -> tuple[Schema | None, dict[str, str]]:
    """The schema of the former graph.json and its hashes of the order of rows; None where there is no graph.json."""
    file = folder / "graph.json"
    if not file.exists():
        return None, {}
    document = read_document(folder)
    place = JsonPlace(file, REMEDY)
    orders = place.mapping(document, "order", {})
    return Schema.from_json(document, file, REMEDY), {name: place.at("order").text(orders, name) for name in orders}


def _target(edges: list[EdgeType], wanted: str | None, former: Schema | None) -> EdgeType | None:
    """The relation to recommend. Raises KgrecError where it is not given and there are several."""
    names = {"-".join(edge): edge for edge in edges}
    if wanted is not None:
        found = [edge for name, edge in names.items() if wanted in (name, edge[1])]
        if not found:
            raise unknown_name("relation", wanted, [edge[1] for edge in edges], "for --target")
        if len(found) > 1:
            raise unknown_name("single relation", wanted, names, "for --target")
        return found[0]
    if former is not None:
        if former.target is not None and former.target not in edges:
            was = "-".join(former.target)
            raise KgrecError(
                f"the target relation {was} no longer exists; choose another with --target: {_list(names)}"
            )
        return former.target
    if len(edges) > 1:
        raise KgrecError(
            f"there are several relations; choose the one to recommend with --target: {_list(names)}", kind="no target"
        )
    return edges[0] if edges else None


def _list(names: Mapping[str, object], most: int = 20) -> str:
    listed = [*names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if len(listed) > most else "")


def _assembled(reader: FolderReader, target: EdgeType | None, former: Schema | None, folder: Path) -> GraphParts:
    """The graph made of the tables."""
    schema = Schema({name: NodeSchema(len(part.vocabulary)) for name, part in reader.nodes.items()}, {}, None)
    splits, candidates = reader.splits(replace(schema, target=target))
    return assemble(
        reader.nodes,
        reader.edges,
        target=target,
        standard=_standard(reader, former, {"split": splits, "candidates": candidates}, folder),
        splits=splits,
        candidates=candidates,
        recipe=read_object(folder / RECIPE, REMEDY) if (folder / RECIPE).is_file() else None,
    )


def _standard(
    reader: FolderReader, former: Schema | None, stored: Mapping[str, Mapping[str, object]], folder: Path
) -> dict[str, str]:
    """The former `standard`, without a published split or candidate list that was removed."""
    standard = dict(former.standard) if former is not None else {}
    was = read_document(folder).get("files", {}) if former is not None else {}
    for what, name in [*standard.items()]:
        file = f"splits/{name}.parquet" if what == "split" else f"splits/{name}.candidates.parquet"
        if file in was and name not in stored.get(what, {}):
            reader.notes.append(f"the standard {what} {name} no longer exists")
            del standard[what]
    return standard


def _must_be_right(draft: Path) -> None:
    """Raise BadData where `kgrec check` finds anything wrong with the new folder."""
    wrong = [problem for problem in check_graph(draft) if problem.severity == "error"]
    if wrong:
        raise BadData(
            Fault(
                problem.message.removesuffix(AGAIN).rstrip("; :") + "; fix it, and run kgrec adopt again",
                problem.file,
                column=problem.column,
                value=problem.value,
                kind=problem.kind,
            )
            for problem in wrong
        )

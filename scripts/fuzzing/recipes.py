"""Small correct recipes with their files. Every key and every form of table occurs in one of them."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from fuzzing.texts import ENDPOINT, EVENTS, ITEMS, RDF_FORMS, TURTLE, USERS, Files


def _parquet(table: pa.Table) -> bytes:
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def _npy(matrix: np.ndarray) -> bytes:
    written = io.BytesIO()
    np.save(written, matrix)
    return written.getvalue()


def _shop() -> tuple[dict[str, Any], Files]:
    recipe = {
        "name": "shop",
        "nodes": {
            "user": {
                "file": "users.csv",
                "id": "user",
                "features": {"age": "numeric", "country": "categorical", "note": "text"},
            },
            "item": {
                "file": "items.csv",
                "id": "item",
                "label": "title",
                "features": {"price": "numeric", "genres": {"kind": "multi", "split": "|"}},
                "edges": {
                    "has_genre": {"column": "genres", "split": "|", "to": "genre"},
                    "in_category": {"column": "path", "path": " > ", "parents": "part_of", "to": "category"},
                },
                "complete": True,
            },
        },
        "interactions": {
            "file": "events.csv",
            "relations": {"column": "event", "values": {"view": "viewed", "buy": "bought"}},
            "time": "time",
            "weight": "rating",
            "rating_range": [1, 5],
            "click": {"behaviour": "bought"},
            "all_edges": True,
        },
        "links": {"item": {"template": "http://x/{id}"}},
        "rdf": {
            "files": "facts.ttl",
            "prefixes": {"s": "https://schema.org/", "k": "http://www.w3.org/2004/02/skos/core#"},
            "types": {"s:Brand": "brand"},
            "labels": ["s:name"],
            "language": ["en"],
            "inverse_of": {"k:narrower": "k:broader"},
            "literals": {"s:weight": {"feature": "weight", "kind": "numeric"}},
        },
        "target": "viewed",
        "standard": {"split": "last_n:1,valid=1"},
    }
    files = {"users.csv": USERS, "items.csv": ITEMS, "events.csv": EVENTS, "facts.ttl": TURTLE}
    return recipe, {name: text.encode() for name, text in files.items()}


def _ratings() -> tuple[dict[str, Any], Files]:
    rows = [line.split(",") for line in EVENTS.splitlines()[1:]]
    lines = [f"{user}::{item}::{rating}::{time}" for user, item, _, time, rating in rows]
    form = {"separator": "::", "columns": ["user", "item", "rating", "time"]}
    recipe = {
        "name": "ratings",
        "interactions": {
            "parts": {"train": "train.dat", "test": "test.dat"},
            "relation": "rated",
            "weight": "rating",
            "time": "time",
            **form,
        },
        "nodes": {
            "user": {
                "tables": [
                    {
                        "file": "users.dat",
                        "separator": "|",
                        "columns": ["id", "age"],
                        "id": "id",
                        "features": {"age": "numeric"},
                    }
                ]
            }
        },
        "candidates": {"negatives": {"file": "negative.txt"}},
        "standard": {"split": "given", "candidates": "negatives"},
        "on_bad_rows": "report",
    }
    files = {
        "train.dat": "\n".join(lines[:-4]) + "\n",
        "test.dat": "\n".join(lines[-4:]) + "\n",
        "users.dat": "".join(f"u{n}|{20 + n}\n" for n in range(1, 6)),
        "negative.txt": "".join(f"({','.join(row[:2])})\ti1\ti2\ti3\n" for row in rows[-4:]),
    }
    return recipe, {name: text.encode() for name, text in files.items()}


def _sessions() -> tuple[dict[str, Any], Files]:
    rows = [line.split(",") for line in EVENTS.splitlines()[1:]]
    times = pa.array([int(row[3]) for row in rows], pa.int64()).cast(pa.timestamp("s")).cast(pa.string())
    lines = "visitor\titem\twhen\tscore\n" + "".join(
        f"{row[0]}\t{row[1]}\t{str(time).replace(' ', 'T')}Z\t{row[4]}\n" for row, time in zip(rows, times.to_pylist())
    )
    items = [
        {"item": f"i{n}", "title": f"T{n}", "tags": ["x", f"y{n % 2}"], "size": n * 1.5, "is_new": n % 2}
        for n in range(1, 7)
    ]
    recipe = {
        "name": "sessions",
        "nodes": {
            "item": {
                "tables": [
                    {
                        "file": "items.jsonl",
                        "id": "item",
                        "label": "title",
                        "flags": {"marks": ["is_new"]},
                        "features": {"tags": "multi", "size": "numeric", "marks": "multi"},
                        "edges": {"has_tag": {"column": "tags", "to": "tag"}},
                    },
                    {"file": "shelves.json", "format": "json_lists", "id": "id", "features": {"values": "multi"}},
                    {
                        "file": "more.parquet",
                        "id": "item",
                        "features": {"price": "numeric", "picture": {"kind": "vector"}},
                        "describes_only": True,
                    },
                ],
                "vectors": {"shape": {"file": "shape.npy", "ids": "ids.txt"}},
            }
        },
        "interactions": {
            "file": "visits.tsv.gz",
            "user": "visitor",
            "relation": "visited",
            "time": {"column": "when", "unit": "iso"},
            "session": {"by": "visitor", "gap": "3d"},
            "duplicates": "last",
            "min_item": 1,
            "features": {"score": "numeric"},
        },
        "triples": {
            "file": "triples.tsv",
            "head": "h",
            "relation": "r",
            "tail": "t",
            "type_relation": "isa",
            "types": {"thing": "thing"},
        },
        "links": {"item": {"file": "links.csv"}},
    }
    more = pa.table(
        {
            "item": [f"i{n}" for n in range(1, 7)],
            "price": pa.array([1.0, 2.0, None, 4.0, 5.0, 6.0]),
            "picture": pa.array([[1.0, 2.0]] * 6, pa.list_(pa.float32())),
        }
    )
    files: Files = {
        "items.jsonl": "".join(json.dumps(item) + "\n" for item in items).encode(),
        "more.parquet": _parquet(more),
        "shape.npy": _npy(np.arange(15, dtype=np.float32).reshape(5, 3)),
        "ids.txt": b"i1\ni2\ni3\ni4\ni5\n",
        "visits.tsv.gz": gzip.compress(lines.encode(), mtime=0),
        "triples.tsv": b"h\tr\tt\ne1\tlikes\te2\ne2\tlikes\te3\ne3\tisa\tthing\n",
        "links.csv": b"id,entity\ni1,e1\ni2,e2\n",
        "shelves.json": b'{"i1": ["s1", "s2"], "i2": ["s2"]}\n',
    }
    return recipe, files


def _lists() -> tuple[dict[str, Any], Files]:
    recipe = {
        "name": "lists",
        "interactions": {"file": "lists.txt", "format": "lists", "separator": " "},
        "splits": {
            "published": {
                "train": "a.csv",
                "test": ["b.csv"],
                "rest": "train",
                "format": "separated",
                "separator": ",",
                "columns": ["user", "item"],
            }
        },
    }
    files = {"lists.txt": b"u1 i1 i2 i3\nu2 i2 i3\nu3 i1 i4\n", "a.csv": b"u1,i1\nu2,i2\n", "b.csv": b"u1,i2\nu3,i4\n"}
    return recipe, files


def _rows() -> tuple[dict[str, Any], Files]:
    rows = [line.split(",") for line in EVENTS.splitlines()[1:]]
    table = pa.table(
        {
            "user": [row[0] for row in rows],
            "item": [row[1] for row in rows],
            "rating": pa.array([float(row[4]) for row in rows]),
            "time": pa.array([int(row[3]) for row in rows], pa.int64()).cast(pa.timestamp("s", "UTC")),
            "clicked": [place % 2 == 0 for place in range(len(rows))],
        }
    )
    recipe = {
        "name": "rows",
        "interactions": {
            "file": "rows.parquet",
            "weight": "rating",
            "min_weight": 1,
            "duplicates": "sum",
            "time": "time",
            "click": {"column": "clicked"},
            "features": {"rating": "numeric"},
        },
        "nodes": {
            "user": {"file": "users.tsv", "id": "user", "features": {"country": "categorical"}, "only_interacted": True}
        },
        "edges": {
            "has_tag": {
                "file": "tags.csv",
                "between": ["item", "tag"],
                "source": "item",
                "target": "tag",
                "weight": "score",
                "time": {"column": "t", "unit": "s"},
                "features": {"note": "text"},
            },
            "knows": [{"file": "knows.jsonl", "between": ["user", "user"], "source": "a", "target": "b"}],
        },
        "standard": {"split": "ratio:0.2,valid=0.2,per_user,seed=1"},
    }
    files = {
        "rows.parquet": _parquet(table),
        "users.tsv": USERS.replace(",", "\t").encode(),
        "tags.csv": b"item,tag,score,t,note\ni1,new,1,100,a\ni1,old,0.5,200,\ni2,new,2,300,b\ni1,new,1,100,a\n",
        "knows.jsonl": b'{"a": "u1", "b": "u2"}\n{"a": "u2", "b": "u1"}\n{"a": "u1", "b": "u3"}\n',
    }
    return recipe, files


def _facts(name: str) -> tuple[dict[str, Any], Files]:
    recipe: dict[str, Any] = {
        "name": "facts",
        "interactions": {"file": "events.csv"},
        "links": {"item": {"template": "http://x/{id}"}},
        "rdf": {
            "files": name,
            "labels": ["https://schema.org/name"],
            "types": {"https://schema.org/Brand": "brand"},
            "base": "http://x/",
        },
    }
    return recipe, {"events.csv": EVENTS.encode(), name: RDF_FORMS[name]}


def _query() -> tuple[dict[str, Any], Files]:
    recipe, files = _facts("facts.ttl")
    recipe["rdf"] |= {"query": "CONSTRUCT { ?a ?p ?b } { ?a ?p ?b FILTER(!isLiteral(?b)) }", "timeout": 10}
    for key in ("base", "labels"):
        recipe["rdf"].pop(key)
    recipe["nodes"] = {
        "item": {
            "file": "facts.ttl",
            "query": "SELECT ?item ?name { ?item s:name ?name FILTER(lang(?name) = 'en') }",
            "prefixes": {"s": "https://schema.org/"},
            "id": "item",
            "label": "name",
        }
    }
    return recipe, files


RECIPES: Mapping[str, Callable[[], tuple[dict[str, Any], Files]]] = {
    "shop": _shop,
    "ratings": _ratings,
    "sessions": _sessions,
    "lists": _lists,
    "rows": _rows,
    "query": _query,
    **{name: lambda name=name: _facts(name) for name in RDF_FORMS},  # type: ignore[misc]
}


def answer_recipe(is_table: bool) -> dict[str, Any]:
    """A recipe whose facts or table of items come from an endpoint."""
    recipe: dict[str, Any] = {"name": "answers", "interactions": {"file": "events.csv"}}
    if is_table:
        query = {"file": ENDPOINT, "query": "SELECT ?item ?name { ?item ?p ?name }", "timeout": 5}
        return recipe | {"nodes": {"item": {**query, "id": "item", "label": "name"}}}
    facts = {"endpoint": ENDPOINT, "query": "CONSTRUCT { ?a ?p ?b } { ?a ?p ?b }", "timeout": 5}
    return recipe | {"rdf": facts, "links": {"item": {"template": "http://x/{id}"}}}


def recipe_files(name: str) -> Files:
    """The files of a recipe of RECIPES, with `recipe.yaml`."""
    import yaml

    recipe, files = RECIPES[name]()
    return {"recipe.yaml": yaml.safe_dump(recipe, sort_keys=False).encode(), **files}

"""Small inputs in which nothing is wrong: recipes with their files, graph and run folders, an interrupted training."""

from __future__ import annotations

import gzip
import io
import json
import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

Files = dict[str, bytes]  #: path in a case's folder -> contents

PREFIXES = (
    "@prefix s: <https://schema.org/> .\n@prefix k: <http://www.w3.org/2004/02/skos/core#> .\n@prefix : <http://x/> .\n"
)
TURTLE = f"""{PREFIXES}
:i1 a s:Product ; s:name "One"@en ; s:brand :acme ; s:weight 1.5 .
:i2 a s:Product ; s:name "Two \\u00e9"@en, "Zwei"@de ; s:brand :acme .
:i2 s:weight "2"^^<http://www.w3.org/2001/XMLSchema#decimal> .
:i3 s:brand [ a s:Brand ; s:name "Nameless" ] .
:acme a s:Brand ; s:name "Acme [/b]" ; s:location :de .
:tea k:broader :drink . :drink k:narrower :juice .
"""
TRIPLES = """<http://x/i1> <https://schema.org/brand> <http://x/acme> .
<http://x/i2> <https://schema.org/brand> <http://x/acme> .
<http://x/i1> <https://schema.org/name> "One"@en .
<http://x/i3> <https://schema.org/brand> _:b1 .
_:b1 <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <https://schema.org/Brand> .
<http://x/i1> <https://schema.org/weight> "1.5"^^<http://www.w3.org/2001/XMLSchema#decimal> .
<http://x/tea> <http://www.w3.org/2004/02/skos/core#broader> <http://x/drink> .
"""
RDF_XML = """<?xml version="1.0" encoding="utf-8"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:s="https://schema.org/" xml:base="http://x/">
  <s:Product rdf:about="i1"><s:name xml:lang="en">One</s:name><s:brand rdf:resource="acme"/></s:Product>
  <rdf:Description rdf:about="http://x/i2" s:name="Two"><s:brand><s:Brand rdf:about="acme"/></s:brand>
    <s:weight rdf:datatype="http://www.w3.org/2001/XMLSchema#decimal">2.5</s:weight></rdf:Description>
  <rdf:Description rdf:about="i3"><s:part rdf:parseType="Collection"><rdf:Description rdf:about="a"/></s:part>
    <s:note rdf:parseType="Literal"><b>x</b></s:note></rdf:Description>
</rdf:RDF>
"""
JSON_LD = {
    "@context": {"s": "https://schema.org/", "name": "s:name", "brand": {"@id": "s:brand", "@type": "@id"}},
    "@graph": [
        {
            "@id": "http://x/i1",
            "@type": "s:Product",
            "name": {"@value": "One", "@language": "en"},
            "brand": "http://x/acme",
        },
        {"@id": "http://x/i2", "s:weight": 2.5, "brand": {"@id": "http://x/acme", "@type": "s:Brand", "name": "Acme"}},
        {"@id": "http://x/i3", "s:part": {"@list": [{"@id": "http://x/a"}, {"@id": "http://x/b"}]}},
    ],
}
QUADS = "".join(line.replace(" .\n", " <http://x/g> .\n") for line in TRIPLES.splitlines(keepends=True))
TRIG = TURTLE.replace(":tea k:broader", ":g {\n:tea k:broader").rstrip() + "\n}\n"
RDF_FORMS: dict[str, bytes] = {
    "facts.ttl": TURTLE.encode(),
    "facts.nt": TRIPLES.encode(),
    "facts.rdf": RDF_XML.encode(),
    "facts.jsonld": json.dumps(JSON_LD, indent=1).encode(),
    "facts.trig": TRIG.encode(),
    "facts.nq": QUADS.encode(),
    "facts.n3": TURTLE.encode(),
    "facts.ttl.gz": gzip.compress(TURTLE.encode(), mtime=0),
    "facts.nt.gz": gzip.compress(TRIPLES.encode(), mtime=0),
}
ANSWERS: dict[str, bytes] = {
    "text/turtle": TURTLE.encode(),
    "application/n-triples": TRIPLES.encode(),
    "application/rdf+xml": RDF_XML.encode(),
    "application/ld+json": json.dumps(JSON_LD).encode(),
    "application/sparql-results+json": json.dumps(
        {
            "head": {"vars": ["item", "name"]},
            "results": {
                "bindings": [
                    {
                        "item": {"type": "uri", "value": f"http://x/i{n}"},
                        "name": {"type": "literal", "xml:lang": "en", "value": f"name {n}"},
                    }
                    for n in (1, 2, 3)
                ]
            },
        }
    ).encode(),
    "application/sparql-results+xml": (
        '<?xml version="1.0"?>\n<sparql xmlns="http://www.w3.org/2005/sparql-results#"><head><variable name="item"/>'
        '<variable name="name"/></head><results>'
        + "".join(
            f'<result><binding name="item"><uri>http://x/i{n}</uri></binding><binding name="name">'
            f'<literal datatype="http://www.w3.org/2001/XMLSchema#string">name {n}</literal></binding></result>'
            for n in (1, 2, 3)
        )
        + "</results></sparql>"
    ).encode(),
}
ENDPOINT = "http://endpoint.invalid/"  #: in a recipe, for the server that gives a case's answer

USERS = "user,age,country,note\n" + "".join(f"u{n},{20 + n},{'DE' if n % 2 else 'FR'},text {n}\n" for n in range(1, 6))
ITEMS = "item,title,genres,brand,price,path\n" + "".join(
    f'i{n},"Title, {n}",A|B{n % 2},b{n % 3},{n}.50,Food > Tea {n % 2}\n' for n in range(1, 7)
)
PAIRS = [(user, item) for user in range(1, 6) for item in range(1, 7) if (user * item) % 4 != 3]
EVENTS = "user,item,event,time,rating\n" + "".join(
    f"u{user},i{item},{'buy' if item % 3 == 0 else 'view'},{1_700_000_000 + 86_400 * place},{1 + place % 5}\n"
    for place, (user, item) in enumerate(sorted(PAIRS, key=lambda pair: (pair[1] * 7 + pair[0] * 3) % 11))
)


def _parquet(table: pa.Table) -> bytes:
    written = io.BytesIO()
    pq.write_table(table, written)
    return written.getvalue()


def _npy(matrix: np.ndarray) -> bytes:
    written = io.BytesIO()
    np.save(written, matrix)
    return written.getvalue()


# ---------------------------------------------------------------------- recipes


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
        "standard": {"split": "ratio:0.2,valid=0.2,per_user,seed=1"},
    }
    return recipe, {"rows.parquet": _parquet(table), "users.tsv": USERS.replace(",", "\t").encode()}


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
    """A recipe whose facts, or whose table of items, an endpoint gives."""
    recipe: dict[str, Any] = {"name": "answers", "interactions": {"file": "events.csv"}}
    if is_table:
        query = {"file": ENDPOINT, "query": "SELECT ?item ?name { ?item ?p ?name }", "timeout": 5}
        return recipe | {"nodes": {"item": {**query, "id": "item", "label": "name"}}}
    facts = {"endpoint": ENDPOINT, "query": "CONSTRUCT { ?a ?p ?b } { ?a ?p ?b }", "timeout": 5}
    return recipe | {"rdf": facts, "links": {"item": {"template": "http://x/{id}"}}}


# ---------------------------------------------------------------------- folders

ADVERSARIAL = {"pretrain_epochs": 1}
#: Runs by name: the model, and what it is trained with beside one epoch and a dimension of 4
RUNS: Mapping[str, tuple[str, dict[str, Any]]] = {
    "popularity": ("popularity", {}),
    "mf": ("mf", {"dim": 4, "features": ["price", "genres", "age"]}),
    "ease": ("ease", {"l2": 1.0}),
    "itemknn": ("itemknn", {}),
    "ials": ("ials", {"dim": 4}),
    "svdpp": ("svdpp", {"dim": 4}),
    "sasrec": ("sasrec", {"dim": 4}),
    "gru4rec": ("gru4rec", {"dim": 4}),
    "kgat": ("kgat", {"dim": 4, "layer_dims": [4]}),
    "kgatseq": ("kgatseq", {"dim": 4}),
    "transe": ("transe", {"dim": 4}),
    "rating": ("mf", {"dim": 4, "task": "rating"}),
    "link": ("transe", {"dim": 4, "task": "link"}),
    "irgan": ("irgan", {"dim": 4, **ADVERSARIAL}),
    "gan": ("gan", {}),
}


@dataclass
class Bases:
    """Folders that are made when they are first asked for, in a folder of their own."""

    folder: Path
    _made: dict[str, Path] = field(default_factory=dict)

    def _once(self, name: str, make: Callable[[Path], object]) -> Path:
        path = self.folder / name
        if name not in self._made:
            if not path.exists():
                draft = self.folder / f"{name}.draft"
                shutil.rmtree(draft, ignore_errors=True)
                make(draft)
                draft.rename(path)
            self._made[name] = path
        return path

    @property
    def graph(self) -> Path:
        """The graph folder of the recipe `shop`."""

        def make(path: Path) -> None:
            from kgrec.sources.building import build_to

            source = self.folder / "shop"
            place(recipe_files("shop"), source)
            build_to(source / "recipe.yaml", None, path)

        return self._once("graph", make)

    def run(self, name: str) -> Path:
        """The run folder of a name of RUNS."""

        def make(path: Path) -> None:
            import kgrec

            model, config = RUNS[name]
            training = {"epochs": 2 if "pretrain_epochs" in config else 1}
            kgrec.train(model, self.graph, config=config, training=training, out=path)

        return self._once(f"run-{name}", make)

    @property
    def checkpoint(self) -> Path:
        """The checkpoint of a training of mf that stopped after its first of three epochs."""

        def make(path: Path) -> None:
            import kgrec

            def stop(*_: object) -> None:
                if stop.calls:  # type: ignore[attr-defined]
                    raise KeyboardInterrupt
                stop.calls = 1  # type: ignore[attr-defined]

            stop.calls = 0  # type: ignore[attr-defined]
            out = path.with_name("stopped")
            with suppress(KeyboardInterrupt):
                kgrec.train("mf", self.graph, config={"dim": "4"}, training={"epochs": 3}, out=out, report=stop)
            out.with_name("stopped.checkpoint").rename(path)

        return self._once("checkpoint", make)


def recipe_files(name: str) -> Files:
    """The files of a recipe of RECIPES, with `recipe.yaml`."""
    import yaml

    recipe, files = RECIPES[name]()
    return {"recipe.yaml": yaml.safe_dump(recipe, sort_keys=False).encode(), **files}


def place(files: Files, folder: Path) -> None:
    """Write files into a folder, which is made."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)


def list_again(folder: Path) -> None:
    """Let a graph or run folder list its files as they are now, so that what is wrong with them is not seen by their
    hash alone."""
    from kgrec.files import file_hash
    from kgrec.run_files import list_files

    file = folder / ("graph.json" if (folder / "graph.json").exists() else "config.json")
    try:
        document = json.loads(file.read_bytes())
        if not isinstance(document.get("files"), dict):
            return
    except (ValueError, AttributeError, OSError, RecursionError):
        return
    if file.name == "graph.json":
        document["files"] = {name: file_hash(folder / name) for name in document["files"] if (folder / name).is_file()}
    else:
        listed = list_files(folder)
        listed.pop(file.name)
        document["files"] = listed
    file.write_text(json.dumps(document))

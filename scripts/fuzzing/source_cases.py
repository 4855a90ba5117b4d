"""Cases of sources: recipes, tables, RDF files and answers of endpoints with something wrong in them."""

from __future__ import annotations

import gzip
import json
from random import Random
from typing import Any

import pyarrow as pa
import yaml

from fuzzing import mutations as odd
from fuzzing.bases import Bases
from fuzzing.case import Case
from fuzzing.recipes import RECIPES, answer_recipe, recipe_files
from fuzzing.texts import ANSWERS, EVENTS, RDF_FORMS, Files


def _built(kind: str, files: Files, random: Random) -> Case:
    """A case from files with a recipe: it is built, checked, or built in memory."""
    match random.randrange(8):
        case 0 | 1:
            return Case(kind, ("check", "recipe.yaml", *random.choice([(), ("--json",)])), files)
        case 2:
            return Case(kind, ("@build", "recipe.yaml"), files)
        case _:
            return Case(
                kind, ("build", "recipe.yaml", "--out", "out", *random.choice([(), ("--json",)])), files, out="out"
            )


#: Values that YAML has and JSON does not
YAML_TOKENS = [
    *("&a ", "*a", "<<: *a", "!!python/object:os.system x", "!!binary x", "? [a, b]\n: c\n", "{", "]", "- ", "- - - "),
    *(
        "2024-13-45",
        "0o8",
        "1_000",
        "0b2",
        ".nan",
        "-.inf",
        "1:60:60",
        "!!timestamp x",
        "!!int x",
        "!!float ''",
        "!!set x",
    ),
    *(
        "!!omap [a]",
        "!!pairs [[a]]",
        "|\n",
        ">-\n",
        "%YAML 9.9\n",
        "---\n",
        "...\n",
        "\t",
        "@",
        "`",
        "!!null 5",
        "!<x> y",
    ),
    *("!!bool x", "? \n", ": ", "#", "'", '"', "1e400", "!!str [a]", "!!map x", "!!seq x", "[" * 300, "a: " * 80),
]


def as_yaml(tree: Any, random: Random) -> bytes:
    """A tree as YAML. At random, the YAML itself is damaged as well."""

    style: dict[str, Any] = {
        "default_flow_style": random.choice([None, False, True]),
        "allow_unicode": random.random() < 0.5,
    }
    try:
        text = yaml.safe_dump(tree, sort_keys=False, **style)
    except (RecursionError, ValueError, UnicodeError):
        try:
            text = json.dumps(tree)
        except RecursionError:
            text = "[" * 1000
    data = text.encode("utf-8", "surrogatepass")
    if random.random() < 0.2:
        place = random.randrange(len(data) + 1)
        data = data[:place] + random.choice(YAML_TOKENS).encode() + data[place:]
    return data


def recipes(random: Random, bases: Bases) -> Case:
    """The recipe is wrong."""
    name = random.choice(["shop", "shop", "ratings", "sessions", "sessions", "lists", "rows", "facts.ttl", "query"])
    tree, files = RECIPES[name]()
    text = (
        odd.odd_bytes(as_yaml(tree, random), random)
        if random.random() < 0.2
        else as_yaml(odd.odd_tree(tree, random), random)
    )
    return _built("recipes", {"recipe.yaml": text, **files}, random)


def odd_file(name: str, content: bytes, random: Random) -> bytes:
    """A table's file with something wrong, by its suffix."""

    match name.rpartition(".")[2]:
        case "parquet":
            return odd.odd_parquet(content, random)
        case "npy":
            return odd.odd_npy(content, random)
        case "gz" if random.random() < 0.7:
            return gzip.compress(odd_file(name.removesuffix(".gz"), gzip.decompress(content), random), mtime=0)
        case "json":
            return odd.odd_json(content, random)
        case "jsonl":
            lines = content.splitlines(keepends=True)
            place = random.randrange(len(lines))
            lines[place] = odd.odd_json(lines[place], random) + b"\n"
            return b"".join(lines)
        case "csv":
            return odd.odd_separated(content, ",", random)
        case "tsv":
            return odd.odd_separated(content, "\t", random)
        case "dat":
            return odd.odd_separated(content, "::" if b"::" in content else "|", random)
    return odd.odd_bytes(content, random)


def _packed(files: Files, name: str, random: Random) -> None:
    """Compress a table, in the recipe and in its file name. At random, the compressed file is damaged."""

    suffix, kind = random.choice([("gz", "gzip"), ("bz2", "bz2"), ("zst", "zstd"), ("zst", "gzip"), ("zip", "gzip")])
    buffer = pa.BufferOutputStream()
    with pa.CompressedOutputStream(buffer, kind) as stream:
        stream.write(files.pop(name))
    content = buffer.getvalue().to_pybytes()
    files[f"{name}.{suffix}"] = odd.odd_bytes(content, random) if random.random() < 0.5 else content
    files["recipe.yaml"] = files["recipe.yaml"].replace(f" {name}\n".encode(), f" {name}.{suffix}\n".encode())


SOURCES = ["shop", "shop", "ratings", "ratings", "sessions", "sessions", "sessions", "lists", "rows", "rows"]


def tables(random: Random, bases: Bases) -> Case:
    """One or two of a recipe's tables are wrong."""
    files = recipe_files(random.choice(SOURCES))
    names = [name for name in files if name not in ("recipe.yaml", "facts.ttl")]
    for name in random.sample(names, min(len(names), random.choice([1, 1, 1, 2]))):
        files[name] = odd_file(name, files[name], random)
    if random.random() < 0.1:
        _packed(files, random.choice([name for name in names if not name.endswith((".gz", ".npy"))]), random)
    if random.random() < 0.15:  # sets what happens to bad rows
        files["recipe.yaml"] = files["recipe.yaml"].replace(b"on_bad_rows: report\n", b"") + random.choice(
            [b"", b"on_bad_rows: report\n"]
        )
    return _built("tables", files, random)


RDF_TOKENS = [
    *(
        "@prefix x: <y> .",
        "@base <rel> .",
        "<< <a> <b> <c> >>",
        '"""',
        "'''",
        "[]",
        "( )",
        "_:",
        "^^<x>",
        "@en-",
        "\\uD800",
        "a a a .",
    ),
    *(
        '<?xml version="1.1"?>',
        "<!DOCTYPE r [<!ENTITY a 'b'>]>",
        "&a;",
        "&#0;",
        "<![CDATA[",
        "]]>",
        "<!--",
        "xmlns:rdf='x'",
        "rdf:ID='1'",
    ),
    *(
        '{"@id": null}',
        '"@context": null',
        '"@list": [[[]]]',
        '"@reverse": {"a": 1}',
        '"@type": 5',
        "GRAPH <g> {",
        "}",
        "<\x00>",
    ),
    *(
        "<http://x/ y>",
        "<http://é/>",
        "<http://[::1>",
        "<%zz>",
        "INF",
        "1e999",
        "true.",
        "-",
        "+.",
        "{| <a> <b> |}",
        "@version '1.2' .",
    ),
]


def _odd_rdf(content: bytes, random: Random) -> bytes:
    if random.random() < 0.35:
        place = random.randrange(len(content) + 1)
        content = content[:place] + random.choice(RDF_TOKENS).encode("utf-8", "surrogatepass") + content[place:]
        return content if random.random() < 0.5 else odd.odd_bytes(content, random)
    return odd.odd_bytes(content, random)


def _odd_graph_file(name: str, content: bytes, random: Random) -> bytes:

    if name.endswith(".gz") and random.random() < 0.6:
        return gzip.compress(_odd_rdf(gzip.decompress(content), random), mtime=0)
    if name.endswith(".jsonld") and random.random() < 0.7:
        return odd.odd_json(content, random)
    return _odd_rdf(content, random)


def rdf(random: Random, bases: Bases) -> Case:
    """An RDF file is wrong."""
    name = random.choice([*RDF_FORMS, "facts.jsonld", "facts.rdf", "facts.ttl"])
    recipe = random.choice([name] * 40 + ["query"])
    files = recipe_files(recipe)
    if recipe == "query":
        name = "facts.ttl"
    files[name] = _odd_graph_file(name, files[name], random)
    if random.random() < 0.2:
        files["recipe.yaml"] = files["recipe.yaml"].replace(
            b"  base: http://x/\n", random.choice([b"", b"  lenient: true\n", b"  base: x\n"])
        )
    return _built("rdf", files, random)


MEDIA_TYPES = [
    *ANSWERS,
    "text/html",
    "text/plain",
    "application/xml",
    "text/n3",
    "application/sparql-results+json; charset=x",
    "x",
    "/",
    ";",
]


def answers(random: Random, bases: Bases) -> Case:
    """An endpoint's answer is wrong."""

    media_type, body = random.choice(list(ANSWERS.items()))
    body = odd.odd_json(body, random) if "json" in media_type and random.random() < 0.7 else _odd_rdf(body, random)
    if random.random() < 0.1:
        media_type = random.choice(MEDIA_TYPES)
    recipe = yaml.safe_dump(answer_recipe("results" in media_type)).encode()
    files = {
        "recipe.yaml": recipe,
        "events.csv": EVENTS.encode(),
        "answer": body,
        "answer.type": media_type.encode(),
    }
    return _built("answers", files, random)

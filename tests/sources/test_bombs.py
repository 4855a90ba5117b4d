"""Files made to fill the memory or the time, and queries that reach over the network: refused, soon and clearly."""

from __future__ import annotations

import bz2
import functools
import gzip
import io
import json
import os
import resource
import socket
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from kgrec.errors import BadData, KgrecError
from kgrec.parquet_files import opened
from kgrec.sources.limits import DEEPEST, LONGEST_LINE, MOST_NODES
from kgrec.sources.rdf import RdfSource, read_rdf
from kgrec.sources.rdf.endpoint import remote_word
from kgrec.sources.rdf.local_query import _run
from kgrec.sources.rdf.sparql import construct, select
from kgrec.sources.recipe import Recipe

KILOBYTES = 1 << 20

RATED = "user,item\nann,a\nbob,b\n"
SHOP = "name: shop\ninteractions: {file: rated.csv}\n"
XML = b'<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:e="http://e/">%s</rdf:RDF>'
TURTLE = b"@prefix : <http://x/> . :a :by :b . :b :by :c . :c :by :a ."


@pytest.fixture
def refused() -> Callable[..., str]:
    """Calls what must raise KgrecError in little memory, and gives its message."""

    def message(call: Callable[[], object]) -> str:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        with pytest.raises(KgrecError) as error:
            call()
        assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < KILOBYTES
        return str(error.value)

    return message


def zipped(data: bytes, times: int) -> bytes:
    """The same bytes again and again, packed: a member of a gzip file for each thousand."""
    return _thousand(data) * (times // 1000)


@functools.cache
def _thousand(data: bytes) -> bytes:
    return gzip.compress(data * 1000, 1)


def zipped_between(start: bytes, data: bytes, times: int, end: bytes) -> bytes:
    return gzip.compress(start) + zipped(data, times) + gzip.compress(end)


@functools.cache
def bzipped(data: bytes, times: int) -> bytes:
    """The same bytes again and again, packed: a stream of a bzip2 file for each hundred."""
    return bz2.compress(data * 100) * (times // 100)


def zstd(data: bytes) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.CompressedOutputStream(sink, "zstd") as stream:
        for _ in range(40):
            stream.write(data)
    return sink.getvalue().to_pybytes()


LINE = b"x" * 100_000
LAUGHS = b"".join(b'<!ENTITY e%d "%s">' % (n, b"&e%d;" % (n - 1) * 10) for n in range(1, 12))
ENTITIES = b'<!DOCTYPE rdf:RDF [<!ENTITY e0 "ha">' + LAUGHS + b"]>"


@pytest.mark.parametrize(
    ("name", "content", "what"),
    [
        ("e.rdf", lambda: ENTITIES + XML % b'<e:A rdf:about="http://e/a"><e:p>&e11;</e:p></e:A>', "DTD"),
        ("one.owl", lambda: b'<!DOCTYPE a [<!ENTITY b "c">]>' + XML % b"", "DTD"),
        ("comment.xml", lambda: b"<!-- ' --> <!-->-->" + ENTITIES + XML % b"", "DTD"),
        (
            "deep.rdf",
            lambda: XML % (b"<e:A><e:p>" * 50_000 + b"</e:p></e:A>" * 50_000),
            f"more than {DEEPEST} levels deep",
        ),
        (
            "text.rdf.gz",
            lambda: gzip.compress(XML % (b"<e:A><e:p>" + b"x" * 120_000_000 + b"</e:p></e:A>"), 1),
            "longer than",
        ),
        ("tag.rdf.gz", lambda: gzip.compress(XML % (b'<e:A e:p="' + b"x" * 120_000_000 + b'"/>'), 1), "longer than"),
        (
            "deep.jsonld",
            lambda: b'{"@graph": ' + b"[" * 200_000 + b"]" * 200_000 + b"}",
            f"more than {DEEPEST} levels deep",
        ),
        ("deep.json", lambda: b'{"http://e/p":' * 20_000 + b"1" + b"}" * 20_000, f"more than {DEEPEST} levels deep"),
        (
            "big.jsonld.gz",
            lambda: zipped_between(b'[{"@id": "', LINE, 3000, b'"}]'),
            "unpacks to more than",
        ),
        ("many.jsonld.gz", lambda: zipped_between(b"[", b"{}," * 10_000, 10_000, b"{}]"), "unpacks to more than"),
        ("line.nt.gz", lambda: zipped(LINE, 4000), "line is longer"),
        ("line.nq.bz2", lambda: bzipped(LINE, 1000), "line is longer"),
        ("line.nt.zst", lambda: zstd(LINE * 40), "line is longer"),
        ("line.ttl.gz", lambda: zipped(LINE, 2000), "longer than"),
        ("text.ttl.gz", lambda: gzip.compress(b"<http://x/a> <http://x/b> '" + b"x " * 40_000_000, 1), "longer than"),
        ("deep.ttl", lambda: b"@prefix : <http://x/> . :a :b " + b"[ :b " * 100_000, "deep.ttl"),
        ("deep.ttl", lambda: b"@prefix : <http://x/> . :a :b " + b"( " * 100_000, "deep.ttl"),
    ],
    ids=lambda value: value if isinstance(value, str) and "." in value else "",
)
def test_rdf(name: str, content: Callable[[], bytes], what: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / name).write_bytes(content())
    assert what in refused(lambda: read_rdf(RdfSource(files=[name]), tmp_path))


def test_rdf_xml_that_is_right_is_still_read(tmp_path: Path) -> None:
    start = b"<?xml version='1.0'?><!DOCTYPE rdf:RDF SYSTEM 'http://e/x.dtd'><!-- [ ]> <!ENTITY --><?pi <a> ?>\n"
    nested = b'<e:A><e:p rdf:parseType="Resource">' * 90 + b"<e:q><![CDATA[<a><a>]]]]></e:q>" + b"</e:p></e:A>" * 90
    (tmp_path / "right.rdf").write_bytes(start + XML % (b'<e:A e:t="/>" e:u=\'">\'/>' + nested + b"<e:A/>" * 1000))
    facts = read_rdf(RdfSource(files=["right.rdf"], literals={"http://e/q": {}}), tmp_path)
    assert facts.literals["http://e/q"].value.to_pylist() == ["<a><a>]]"]
    assert facts.num_triples == 1 + 2 + 90 + 90 + 1 + 1000  # types are counted: of e:A, 90 and 1,000 more


TABLES = {
    "line.csv.gz": (lambda: zipped(LINE, 4000), "", "longer than"),
    "line.csv.bz2": (lambda: bzipped(LINE, 1000), "", "longer than"),
    "line.csv.zst": (lambda: zstd(LINE * 40), "", "longer than"),
    "second.csv.gz": (lambda: gzip.compress(b"user,item\n") + zipped(LINE, 4000), "", "longer than"),
    "quoted.csv.gz": (lambda: gzip.compress(b'user,item\n"') + zipped(b"x\n" * 50_000, 4000), "", "quoted.csv.gz"),
    "columns.dat.gz": (lambda: zipped(LINE, 4000), ", separator: '::', columns: [user, item]", "longer than"),
    "rows.csv.gz": (
        lambda: gzip.compress(b"user,item\n") + zipped(b"a,b\n" * 25_000, 4000),
        "",
        "unpacks to more than",
    ),
    "line.jsonl.gz": (lambda: zipped(LINE, 4000), "", "longer than"),
    "deep.jsonl": (
        lambda: b'{"user": ' + b"[" * 3_000_000 + b"]" * 3_000_000 + b"}\n",
        "",
        f"more than {DEEPEST} levels deep",
    ),
    "later.jsonl": (
        lambda: b'{"user": "ann", "item": "a"}\n' * 20_000 + b'{"user": "]{", "item": ' + b'{"a":' * 1_000_000,
        "",
        f"more than {DEEPEST} levels deep",
    ),
    "lists.txt.gz": (lambda: zipped(b"a b " * 25_000, 4000), ", format: lists", "longer than"),
    "deep.json": (lambda: b'{"a": ' + b"[" * 1_000_000, ", format: json_lists, user: id, item: values", "deep"),
    "big.json.gz": (lambda: zipped(LINE, 4000), ", format: json_lists, user: id, item: values", "unpacks to more than"),
}


@pytest.mark.parametrize("name", TABLES)
def test_tables(name: str, tmp_path: Path, refused: Callable[..., str], build_of: Callable) -> None:
    content, words, what = TABLES[name]
    recipe, files = f"name: shop\ninteractions: {{file: {name}{words}}}", {name: content()}
    assert what in refused(lambda: build_of(recipe, files))


def parquet(table: pa.Table, **options: object) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, **options)
    return sink.getvalue()


def chunked(values: pa.Array, times: int) -> pa.ChunkedArray:
    return pa.chunked_array([values] * times)


def test_parquet_of_a_row_again_and_again(refused: Callable[..., str], build_of: Callable) -> None:
    row = chunked(pa.array(["a"] * 500_000), 40)
    many = parquet(pa.table({"user": row, "item": row}), compression="zstd")
    assert len(many) < 1_000_000
    recipe = "name: shop\ninteractions: {file: rated.parquet}"
    assert "20,000,000 values in a column" in refused(lambda: build_of(recipe, {"rated.parquet": many}))
    long = pa.DictionaryArray.from_arrays(pa.array([0] * 500_000, pa.int32()), pa.array(["x" * 100_000]))
    for column in (long, chunked(pa.array(["x" * 100_000]), 1_000)):
        table = pa.table({"user": column, "item": column})
        bomb = parquet(table, compression="zstd")
        assert len(bomb) < 2_000_000
        assert "made to fill the memory" in refused(lambda bomb=bomb: build_of(recipe, {"rated.parquet": bomb}))


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "device"])
def test_parquet_that_is_no_regular_file(make: Callable[[Path], None], tmp_path: Path) -> None:
    """A pipe is not waited for, and a device without an end is not read."""
    make(tmp_path / "rows.parquet")
    with pytest.raises(BadData, match="it is no regular file"):
        opened(tmp_path / "rows.parquet", "rows.parquet")


def test_parquet_that_says_more_than_there_is(refused: Callable[..., str], build_of: Callable) -> None:
    whole = parquet(pa.table({"user": ["ann"] * 77, "item": ["a"] * 77}))
    recipe = "name: shop\ninteractions: {file: rated.parquet}"
    graph, _ = build_of(recipe, {"rated.parquet": whole})
    assert graph.num_edges == 77
    size = struct.unpack("<I", whole[-8:-4])[0]
    footer = whole[-8 - size : -8]
    said = bytes([77 * 2 % 128 + 128, 77 * 2 // 128])  # 77 as a zigzag varint of Thrift
    assert footer.count(said) >= 4
    refusals = []
    for place in [n for n in range(len(footer)) if footer.startswith(said, n)]:
        changed = footer[:place] + b"\xfe\xff\xff\xff\xff\x7f" + footer[place + 2 :]
        bomb = whole[: -8 - size] + changed + struct.pack("<I", len(changed)) + b"PAR1"
        with suppress(AssertionError, pytest.fail.Exception):
            refusals.append(refused(lambda bomb=bomb: build_of(recipe, {"rated.parquet": bomb})))
    assert len(refusals) >= 4 and all("rated.parquet" in message for message in refusals)


def header(text: str, version: bytes = b"\x01\x00") -> bytes:
    line = text.encode("latin-1") + b"\n"
    return b"\x93NUMPY" + version + struct.pack("<H" if version[0] == 1 else "<I", len(line)) + line


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 1000000000000), }"), "16,000,000,000,000 bytes"),
        (header("{'descr': '<f8', 'fortran_order': True, 'shape': (2, 10000000000000000000000), }"), "get it again"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (-2, -4), }") + b"x" * 64, "get it again"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 0), }"), "at least one column"),
        (header("{'descr': '<f8', 'fortran_order': False, 'shape': (2, 4)"), "not a .npy matrix"),
        (header("{'descr': '<f8', 'shape': (2, 4), }"), "not a .npy matrix"),
        (header("{'descr': 'nonsense', 'fortran_order': False, 'shape': (2, 4), }"), "not a .npy matrix"),
        (header("{'descr': '|O', 'fortran_order': False, 'shape': (2, 4), }") + b"x" * 64, "they must be numbers"),
        (header("{'descr': '<U4', 'fortran_order': False, 'shape': (2, 1), }") + b"x" * 64, "they must be numbers"),
        (header("(" * 5000), "not a .npy matrix"),
        (header("__import__('os').system('x')"), "not a .npy matrix"),
        (header("{}", b"\x09\x00"), "not a .npy matrix"),
        (b"\x93NUMPY\x02\x00\xff\xff\xff\xff{", "not a .npy matrix"),
        (b"", "not a .npy matrix"),
        (b"PK\x03\x04", "not a .npy matrix"),
        (b"\x93NUMPY", "not a .npy matrix"),
    ],
)
def test_npy(content: bytes, what: str, refused: Callable[..., str], build_of: Callable) -> None:
    nodes = "nodes: {item: {file: items.csv, id: item, features: {image: {kind: vector, file: image.npy}}}}\n"
    files = {"rated.csv": RATED, "items.csv": "item\na\nb\n", "image.npy": content}
    assert what in refused(lambda: build_of(nodes + SHOP, files))


@pytest.mark.parametrize("value", [np.inf, np.nan, 1e301])
def test_npy_with_numbers_that_no_float32_holds(value: float, refused: Callable[..., str], build_of: Callable) -> None:
    nodes = "nodes: {item: {tables: [{file: items.csv, id: item}], vectors: {image: {file: image.npy}}}}\n"
    sink = io.BytesIO()
    np.save(sink, np.array([[1.0, 2.0], [3.0, value]]))
    files = {"rated.csv": RATED, "items.csv": "item\na\nb\n", "image.npy": sink.getvalue()}
    assert "row 2 has a number that is not finite" in refused(lambda: build_of(nodes + SHOP, files))


REPEAT = b"".join(b"a%d: &a%d [%s]\n" % (n, n, b",".join([b"*a%d" % (n - 1)] * 9)) for n in range(1, 30))


@pytest.mark.parametrize(
    ("text", "what"),
    [
        (b"a: " + b"[" * 400_000, "nested more than"),
        (b"a: " + b"{a: " * 200_000, "nested more than"),
        (b"- " * 400_000, "nested more than"),
        (b"? " * 400_000, "nested more than"),
        (b"".join(b" " * n + b"a:\n" for n in range(1000)), "nested more than"),
        (b"a0: &a0 [x]\n" + b"".join(b"a%d: &a%d [*a%d]\n" % (n, n, n - 1) for n in range(1, 900)), "nested more than"),
        (b"a0: &a0 [x]\n" + REPEAT, f"more than {MOST_NODES:,} values"),
        (b"a0: &a0 {x: 1}\n" + REPEAT.replace(b"[", b"{<<: [").replace(b"]", b"]}"), f"more than {MOST_NODES:,}"),
        (b"a: [" + b"x," * 400_000 + b"]", f"more than {MOST_NODES:,} values"),
        (b"a: &a [*a]", "an alias is used inside"),
        (b"&a {<<: *a}", "an alias is used inside"),
        (b"#" * 3_000_000, "the limit is"),
        (b"? [a, b]\n: 1", "line 1: a key is a list"),
        (b"name: x\n{a: b}: 1", "line 2: a key is a mapping"),
        (b"name: 2023-99-99", "line 1: month must be"),
        (b"name: " + b"9" * 5000, "line 1: "),
        (b"name: !!timestamp x", "line 1: "),
        (b"name: \xe9", "is not UTF-8 text (see byte 7)"),
        (
            b"name: x\ninteractions: {file: a, time: t, session: {by: u, gap: " + b"9" * 400 + b"d}}",
            "not a length of time",
        ),
    ],
)
def test_recipes(text: bytes, what: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "recipe.yaml").write_bytes(text)
    assert what in refused(lambda: Recipe.load(tmp_path / "recipe.yaml"))


def test_aliases_that_are_few_are_still_read(tmp_path: Path) -> None:
    text = (
        "name: shop\ninteractions:\n - &table {file: a.csv, user: who}\n - {<<: *table, file: b.csv, relation: viewed}"
    )
    (tmp_path / "recipe.yaml").write_text(text)
    assert [table.user for table in Recipe.load(tmp_path / "recipe.yaml").interactions] == ["who", "who"]


EVERYTHING = "SELECT (COUNT(*) AS ?n) { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l . ?m ?o ?p . ?q ?r ?s . ?t ?u ?v }"
BACKTRACKING = f"SELECT ?a {{ ?a ?b ?c FILTER regex('{'a' * 60}b', '^(a+)+$') }}"
ROWS = "SELECT * { ?a ?b ?c . ?d ?e ?f . ?g ?h ?i . ?j ?k ?l . ?m ?n ?o . ?p ?q ?r . ?s ?t ?u . ?v ?w ?x . ?y ?z ?aa }"


@pytest.mark.parametrize(
    "query", [EVERYTHING, BACKTRACKING, f"SELECT ?a {{ ?a ?b ?c FILTER({'(' * 400}1{')' * 400}) }}"]
)
def test_queries_have_a_time_limit(query: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    (tmp_path / "a.ttl").write_bytes(TURTLE + b"".join(b":d%d :by :a .\n" % n for n in range(100)))
    source = RdfSource(files=["a.ttl"], query=query, timeout=1.5)
    message = refused(lambda: select(source, tmp_path))
    assert "took longer than 1.5 seconds" in message or "nested too deeply" in message
    assert RdfSource(files=["a.ttl"]).timeout == 300


def test_answers_have_a_memory_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kgrec.sources.rdf.local_query.QUERY_MEMORY", 1 << 25)
    (tmp_path / "a.ttl").write_bytes(TURTLE + b"".join(b":d%d :by :a .\n" % n for n in range(100)))
    with pytest.raises(BadData, match="more memory than the limit allows"):
        select(RdfSource(files=["a.ttl"], query=ROWS, timeout=60), tmp_path)


def test_queries_say_where_there_is_no_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a.ttl").write_bytes(TURTLE)
    source = RdfSource(files=["a.ttl"], query="SELECT * { ?a ?b ?c }")

    def run(task: Path) -> int:
        (task.parent / "answer.part").mkdir()  # where the query's process would write
        return _run(task)

    monkeypatch.setattr("kgrec.sources.rdf.local_query._run", run)
    with pytest.raises(KgrecError, match="cannot write the temporary files of a query: the answer does not fit"):
        select(source, tmp_path)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, hard))
    try:
        with pytest.raises(KgrecError, match=r"cannot write the temporary files of a query: File too large"):
            select(source, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


ASKING = """
import sys
from pathlib import Path
from kgrec.sources.rdf import RdfSource
from kgrec.sources.rdf.sparql import select
select(RdfSource(files=["a.ttl"], query=sys.argv[1], timeout=100), Path(sys.argv[2]))
"""


def test_a_query_ends_with_who_asks_and_the_next_clears_its_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.ttl").write_bytes(TURTLE + b"".join(b":d%d :by :a .\n" % n for n in range(100)))
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr(tempfile, "tempdir", None)
    asking = subprocess.Popen([sys.executable, "-c", ASKING, EVERYTHING, str(tmp_path)], start_new_session=True)
    while not list(temporary.glob(".kgrec-query-*/task.json")) or len(_processes(asking.pid)) < 2:
        assert asking.poll() is None
        time.sleep(0.05)
    asking.kill()
    asking.wait()
    for _ in range(100):
        if not _processes(asking.pid):
            break
        time.sleep(0.1)
    assert not _processes(asking.pid) and list(temporary.iterdir())
    select(RdfSource(files=["a.ttl"], query="SELECT * { ?a ?b ?c }"), tmp_path)
    assert list(temporary.iterdir()) == []


def _processes(session: int) -> list[str]:
    """The processes of a session that have not ended."""
    with os.scandir("/proc") as entries:
        numbers = [entry.name for entry in entries if entry.name.isdecimal()]
    found = []
    for number in numbers:
        with suppress(OSError):  # it has ended since
            if os.getsid(int(number)) == session:
                state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
                found += [number] * (state != "Z")
    return found


class _Remote(BaseHTTPRequestHandler):
    """Answers as the path says, and counts who asks."""

    asked: ClassVar[list[str]] = []

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        self.asked.append(self.path)
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        host = f"http://localhost:{self.server.server_address[1]}"
        context = json.dumps({"@context": f"{host}/context", "@id": "http://x/a", "http://x/p": {"@id": "http://x/b"}})
        media_type, content = {
            "/context": ("application/ld+json", b'{"@context": {}}'),
            "/remote-context": ("application/ld+json", context.encode()),
            "/deep-json": ("application/ld+json", b"[" * 100_000),
            "/entities": ("application/sparql-results+xml", ENTITIES + b"<sparql>&e11;</sparql>"),
            "/graph-entities": ("application/rdf+xml", ENTITIES + XML % b""),
            "/utf16": ("application/rdf+xml", (ENTITIES + XML % b"").decode().encode("utf-16")),
            "/ebcdic": ("application/rdf+xml", b"<?xml version='1.0' encoding='cp037'?>" + XML % b""),
            "/deep-xml": ("application/rdf+xml", XML % (b"<e:A><e:p>" * 50_000)),
            "/html": ("text/html", b"<p>"),
            "/table": ("application/sparql-results+json", b'{"head": {"vars": ["a"]}, "results": {"bindings": []}}'),
        }.get(self.path, ("text/turtle", TURTLE))
        self.send_response(303 if self.path == "/redirect" else 200)
        self.send_header("Location", f"{host}/elsewhere")
        self.send_header("Content-Type", media_type)
        self.end_headers()
        if self.path == "/endless":
            with pytest.raises(OSError):
                while True:
                    self.wfile.write(b" " * (1 << 20))
        elif self.path == "/slow":
            with pytest.raises(OSError):
                while True:
                    self.wfile.write(b" ")
                    time.sleep(0.1)
        else:
            self.wfile.write(content)

    def log_message(self, *arguments: object) -> None:
        pass


@pytest.fixture
def remote() -> Iterator[str]:
    _Remote.asked.clear()
    server = HTTPServer(("127.0.0.1", 0), _Remote)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


REMOTE_QUERIES = [
    "CONSTRUCT { ?a ?b ?c } { ?a ?b ?c SERVICE <URL> { ?a ?b ?c } }",
    "CONSTRUCT { ?a ?b ?c } { ?a ?b ?c service silent <URL> { ?a ?b ?c } }",
    "CONSTRUCT { ?a ?b ?c } { ?a ?b ?c \\u0053ERVICE <URL> { ?a ?b ?c } }",
    "CONSTRUCT { ?a ?b ?c } { ?a ?b ?c FILTER EXISTS { SERVICE <URL> { ?a ?b ?c } } }",
    "CONSTRUCT { ?a ?b ?c } { { SELECT * { { ?a ?b ?c } UNION { SERVICE <URL> { ?a ?b ?c } } } } }",
    "CONSTRUCT { ?a ?b ?c } { VALUES ?s { <URL> } ?a ?b ?c OPTIONAL { SERVICE ?s { ?a ?b ?c } } }",
]


@pytest.mark.parametrize("query", [*REMOTE_QUERIES, "CONSTRUCT { ?a ?b ?c } FROM <URL> { ?a ?b ?c }"])
def test_queries_over_files_reach_no_network(
    query: str, remote: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    (tmp_path / "a.ttl").write_bytes(TURTLE)
    source = RdfSource(files=["a.ttl"], query=query.replace("URL", remote))
    message = refused(lambda: read_rdf(source, tmp_path))
    assert "network: true" in message and ("SERVICE" in message or "FROM" in message)
    assert _Remote.asked == []


def test_service_is_asked_where_the_recipe_says_so(remote: str, tmp_path: Path) -> None:
    (tmp_path / "a.ttl").write_bytes(TURTLE)
    query = f"SELECT ?a {{ ?a ?b ?c SERVICE <{remote}/table> {{ ?a ?b ?c }} }}"
    with pytest.raises(BadData, match="no answers"):
        select(RdfSource(files=["a.ttl"], query=query, network=True), tmp_path)
    assert {path.partition("?")[0] for path in _Remote.asked} == {"/table"}


@pytest.mark.parametrize("query", REMOTE_QUERIES)
def test_queries_to_an_endpoint_name_no_other(
    query: str, remote: str, tmp_path: Path, refused: Callable[..., str]
) -> None:
    source = RdfSource(endpoint=remote, query=query.replace("URL", remote))
    assert "SERVICE in the query contacts other hosts" in refused(lambda: construct(source, tmp_path))
    assert _Remote.asked == []
    assert len(construct(source.model_copy(update={"network": True}), tmp_path)) == 3


def test_words_that_are_no_service() -> None:
    assert (
        remote_word('SELECT ?service { ?service :service <http://x/#SERVICE>, \'it\'\'s service\', """a" SERVICE""" }')
        is None
    )
    assert remote_word("# SERVICE\nSELECT ?a { ?a <http://x/p> ?b } # service") is None
    assert remote_word("SELECT * { ?a ?b 'it\\'s' SERVICE<http://x/> { } }") == "SERVICE"


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("/remote-context", "is on the web, and kgrec does not download it"),
        ("/deep-json", "nested more than"),
        ("/entities", "DTD"),
        ("/graph-entities", "DTD"),
        ("/utf16", "must be in UTF-8"),
        ("/ebcdic", "must be in UTF-8"),
        ("/deep-xml", "nested more than"),
        ("/html", "text/html, which is not RDF"),
        ("/endless", "answered with more than"),
        ("/slow", "took longer than 2 s"),
        ("/redirect", "redirects to localhost"),
    ],
)
def test_answers_of_endpoints(path: str, what: str, remote: str, tmp_path: Path, refused: Callable[..., str]) -> None:
    query = "CONSTRUCT { ?a ?b ?c } { ?a ?b ?c }"
    source = RdfSource(endpoint=remote + path, query=query, timeout=2)
    assert what in refused(lambda: construct(source, tmp_path))
    assert [asked.partition("?")[0] for asked in _Remote.asked] == [path]


def test_no_file_opens_a_connection(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Files of every format that name what could be fetched."""
    opened: list[object] = []
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, lambda *arguments: opened.append(arguments))
    monkeypatch.setattr(socket, "getaddrinfo", lambda *arguments, **options: opened.append(arguments))
    imports = "<http://x/o> <http://www.w3.org/2002/07/owl#imports> <http://127.0.0.1:9/o.owl> ."
    schema = b'<rdf:Description rdf:about="http://e/o"><e:i rdf:resource="http://127.0.0.1:9/o"/></rdf:Description>'
    contents = {
        "a.ttl": imports.encode(),
        "a.nt": imports.encode() + b"\n",
        "a.nq": imports.encode() + b"\n",
        "a.trig": imports.encode(),
        "a.n3": imports.encode(),
        "a.rdf": b'<!DOCTYPE rdf:RDF SYSTEM "http://127.0.0.1:9/x.dtd">' + XML % schema,
        "a.jsonld": b'{"@context": "https://schema.org", "@id": "http://x/a", "url": "http://127.0.0.1:9/"}',
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
        assert read_rdf(RdfSource(files=[name]), tmp_path).num_triples == 1, name
    (tmp_path / "b.jsonld").write_bytes(b'{"@context": "http://127.0.0.1:9/c", "@id": "http://x/a", "p": "b"}')
    with pytest.raises(BadData, match="kgrec does not download it"):
        read_rdf(RdfSource(files=["b.jsonld"]), tmp_path)
    query = "CONSTRUCT { ?a ?b ?c } { ?a ?b ?c }"
    assert len(construct(RdfSource(files=["a.ttl"], query=query), tmp_path)) == 1
    assert opened == []


@pytest.mark.parametrize(
    ("words", "columns", "what"),
    [
        (", time: t", "t\n-1e30", "'-1e30' is before the year 1"),
        (", time: t", "t\n1e30", "too large"),
        (", time: {column: t, unit: iso}", "t\nNaT", "'NaT' is not a time in ISO 8601"),
        (", time: {column: t, unit: iso}", "t\nnan", "'nan' is not a time in ISO 8601"),
        (", time: {column: t, format: '%Y'}", "t\nNaT", "'NaT' is not a time in the format '%Y'"),
        (", weight: w", "w\n1e301", "'1e301' is not in -3.4"),
        (", weight: w", "w\n-1e39", "'-1e39' is not in -3.4"),
        (", weight: w, rating_range: [0, 1e300]", "w\n1e200", "'1e200' is not in 0..3.4"),
        (", features: {price: numeric}", "price\n1e301", "'1e301' is not in -3.4"),
        (", features: {v: {kind: vector, split: ' '}}", "v\n1 1e301", "a vector has"),
        (", features: {v: {kind: vector, split: ' '}}", "v\n1 nan", "a vector has"),
    ],
)
def test_numbers_and_times_out_of_range(
    words: str, columns: str, what: str, refused: Callable[..., str], build_of: Callable
) -> None:
    name, value = columns.split("\n")
    text = f"user,item,{name}\nann,a,{value}\n"
    assert what in refused(lambda: build_of(f"name: x\ninteractions: {{file: r.csv{words}}}", {"r.csv": text}))


def test_parquet_integers_beyond_what_float64_counts(build_of: Callable) -> None:
    table = pa.table({"user": ["ann"], "item": ["a"], "w": [2**53 + 1]})
    graph, _ = build_of("name: x\ninteractions: {file: r.parquet, weight: w}", {"r.parquet": parquet(table)})
    assert graph.weight.tolist() == [float(2**53)]


ODD = {
    "list": pa.array([["a"], ["b"]]),
    "large list": pa.array([["a"], ["b"]], pa.large_list(pa.string())),
    "nested": pa.array([[["a"]], [["b"]]]),
    "struct": pa.array([{"a": 1}, {"a": 2}]),
    "map": pa.array([[("a", 1)], [("b", 2)]], pa.map_(pa.string(), pa.int64())),
    "binary": pa.array([b"\xff", b"\xfe"]),
    "uint64": pa.array([2**64 - 1, 2**63], pa.uint64()),
    "floats": pa.array([1e300, 1e30]),
    "nan": pa.array([float("nan"), float("inf")]),
    "late": pa.array([2**62, -(2**62)], pa.timestamp("us")),
    "early": pa.array([-(2**40), 0], pa.timestamp("ms")),
    "date": pa.array([2**30, 1], pa.date32()),
    "time": pa.array([1, 2], pa.time64("us")),
    "duration": pa.array([1, 2], pa.duration("s")),
    "decimal": pa.array([1, 2], pa.decimal128(30, 2)),
    "bool": pa.array([True, False]),
    "null": pa.array([None, None]),
}


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize(
    "place", ["user", "weight", "time", "numeric", "categorical", "multi", "vector", "text", "label"]
)
def test_parquet_columns_of_every_type(kind: str, place: str, build_of: Callable) -> None:
    """Each is read or refused with the column's name."""
    table = {"user": pa.array(["ann", "bob"]), "item": pa.array(["a", "b"])}
    words = {"user": "", "weight": ", weight: odd", "time": ", time: odd"}.get(place, f", features: {{odd: {place}}}")
    name = "user" if place == "user" else "odd"
    recipe = f"name: x\ninteractions: {{file: r.parquet{words}}}"
    files = {"r.parquet": parquet(pa.table({**table, name: ODD[kind]}))}
    if place == "label":
        recipe = "name: x\ninteractions: {file: r.parquet}\nnodes: {item: {file: i.parquet, id: item, label: odd}}"
        files["i.parquet"] = parquet(pa.table({"item": table["item"], "odd": ODD[kind]}))
    try:
        graph, _ = build_of(recipe, files)
    except KgrecError as error:
        assert any(word in str(error) for word in (f"'{name}'", f" {name} ", "parquet line", "vector")), str(error)
    else:
        assert graph.num_edges == 2


def test_a_path_of_many_steps(refused: Callable[..., str], build_of: Callable) -> None:
    nodes = (
        "nodes: {item: {file: items.csv, id: item, edges: {in_category: {path: /, to: category, parents: under}}}}\n"
    )
    files = {"rated.csv": RATED, "items.csv": f"item,in_category\na,{'x/' * 1_000_000}\nb,y\n"}
    assert "a path has 1,000,001 steps" in refused(lambda: build_of(nodes + SHOP, files))


def test_lines_up_to_the_limit_are_read(build_of: Callable) -> None:
    items = " ".join(map("i%07d".__mod__, range(LONGEST_LINE // 9 - 10)))
    graph, _ = build_of("name: x\ninteractions: {file: l.txt, format: lists}", {"l.txt": f"ann {items}\n"})
    assert graph.num_edges == LONGEST_LINE // 9 - 10

"""Randomly damages bytes, texts, trees of values and Arrow tables. A seeded generator makes all choices."""

from __future__ import annotations

import copy
import io
import json
import math
import re
import struct
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

#: Texts that often cause errors where a number or a name is expected
TOKENS = [
    *("", " ", "0", "-0", "-1", "1", "2", "007", "+5", "1.5", "-1.5", "1e5", "1e-300", "1e301", "-1e301", "1e999"),
    *("9007199254740993", "2147483648", "-2147483649", "9223372036854775808", "18446744073709551616", "-1e30", "1e30"),
    *("9" * 30, "9" * 400, "NaN", "nan", "inf", "-inf", "Infinity", "NaT", "null", "None", "none", "true", "False"),
    *("0x10", "1_000", "1,5", "١٢٣", "½", "²", "2024-02-30", "2024-13-01T99:99:99", "0000-00-00", "292277026597-01-01"),
    *(
        "2024-01-01T00:00:00+25:00",
        "-5000-01-01",
        "\x00",
        "\ufeff",
        "\u202eevil",
        "\u2028",
        "\x85",
        "\x1b[31mred\x1b[0m",
    ),
    *("[/b]", "[bold]", ":skull:", "%s", "{0}", "{id}", "${HOME}", "a" * 300, "é\u0301", "😀", "\U0010ffff", "\ufffe"),
    *(
        "'",
        '"',
        '""',
        "\\",
        "\\u0000",
        "\\ud800",
        "|",
        ";",
        ",",
        "\t",
        "\n",
        "\r",
        "\r\n",
        "::",
        "#",
        "<",
        ">",
        "/",
        "..",
    ),
    *("../../etc/passwd", "/etc/passwd", "/dev/zero", "http://127.0.0.1:9/x", "file:///etc/passwd", "=1+1", "@x", "*"),
]
#: Values of wrong types for JSON and YAML
VALUES: list[Any] = [
    *(None, True, False, 0, -1, 1, 2, 3, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, -(2**63) - 1, 10**30, 10**400),
    *(0.5, -0.0, 1e-300, 1e301, -1e301, math.nan, math.inf, -math.inf, "", "x", "1", "-1", "nan", "[/b]", "\x1b[31m"),
    *(
        [],
        {},
        [[]],
        [None],
        ["x"],
        [1, "x"],
        [math.nan],
        {"": ""},
        {"x": None},
        {"a": {"b": [1]}},
        ["a"] * 50,
        "\ud800",
    ),
]


def odd_text(random: Random) -> str:
    """One of the odd texts, or several joined."""
    return "".join(random.choice(TOKENS) for _ in range(random.choice([1, 1, 1, 2])))


def odd_value(random: Random) -> Any:
    """A value for JSON or YAML: of a wrong type, out of range, an odd text, or nested deeply."""
    if random.random() < 0.35:
        return odd_text(random)
    if random.random() < 0.03:
        value: Any = []
        for _ in range(random.choice([20, 70, 200])):
            value = [value] if random.random() < 0.5 else {"x": value}
        return value
    return copy.deepcopy(random.choice(VALUES))


# ---------------------------------------------------------------------- bytes


def _span(data: bytes, random: Random) -> tuple[int, int]:
    start = random.randrange(len(data) + 1)
    return start, min(len(data), start + random.choice([1, 1, 2, 4, 8, 64, 512]))


def _flip_bit(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data))
    return data[:place] + bytes([data[place] ^ (1 << random.randrange(8))]) + data[place + 1 :]


def _set_byte(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data))
    return (
        data[:place]
        + bytes([random.choice([0, 1, 127, 128, 255, 10, 13, 34, random.randrange(256)])])
        + data[place + 1 :]
    )


def _delete(data: bytes, random: Random) -> bytes:
    start, stop = _span(data, random)
    return data[:start] + data[stop:]


def _repeat(data: bytes, random: Random) -> bytes:
    start, stop = _span(data, random)
    return data[:stop] + data[start:stop] * random.choice([1, 2, 50]) + data[stop:]


def _truncate(data: bytes, random: Random) -> bytes:
    return data[: random.randrange(len(data))]


def _insert(data: bytes, random: Random) -> bytes:
    place = random.randrange(len(data) + 1)
    return data[:place] + odd_text(random).encode("utf-8", "surrogatepass") + data[place:]


def _splice(data: bytes, random: Random) -> bytes:
    one, other = random.randrange(len(data) + 1), random.randrange(len(data) + 1)
    return data[:one] + data[other:]


def _number(data: bytes, random: Random) -> bytes:
    """One run of digits becomes another number."""
    found = list(re.finditer(rb"-?\d+(?:\.\d+)?", data))
    if not found:
        return _insert(data, random)
    match = random.choice(found)
    return data[: match.start()] + odd_text(random).encode("utf-8", "surrogatepass") + data[match.end() :]


def _lines(data: bytes, random: Random) -> bytes:
    """Lines are repeated, dropped or swapped, or have other line ends."""
    lines = data.split(b"\n")
    place, other = random.randrange(len(lines)), random.randrange(len(lines))
    match random.randrange(6):
        case 0:
            lines.insert(place, lines[other])
        case 1:
            del lines[place]
        case 2:
            lines[place], lines[other] = lines[other], lines[place]
        case 3:
            lines[place : place + 1] = [b"", lines[place]]
        case 4:
            return data.replace(b"\n", random.choice([b"\r\n", b"\r", b"\n\n", b"\x0b", b""]))
        case _:
            lines = lines[:1]
    return b"\n".join(lines)


def _whole(data: bytes, random: Random) -> bytes:
    """The whole file is changed: empty, only zeros, in another encoding, with a byte order mark."""
    match random.randrange(6):
        case 0:
            return b""
        case 1:
            return b"\x00" * len(data)
        case 2:
            return b"\xef\xbb\xbf" + data
        case 3:
            return data.decode("latin-1").encode("utf-16")
        case 4:
            return data.replace(b"e", b"\xe9")
        case _:
            return data + data


BYTES: list[Callable[[bytes, Random], bytes]] = [
    *(_flip_bit, _set_byte, _delete, _repeat, _truncate, _insert, _insert, _splice, _number, _number, _lines, _whole)
]


def odd_bytes(data: bytes, random: Random) -> bytes:
    """A file's bytes with one to four random changes."""
    for _ in range(random.choice([1, 1, 1, 2, 4])):
        if data:
            data = random.choice(BYTES)(data, random)
    return data


# ---------------------------------------------------------------------- trees of JSON and YAML


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """All pairs of a container in a tree and one of its keys."""
    found: list[tuple[Any, Any]] = []
    left = [tree]
    while left:
        one = left.pop()
        keys = list(one) if isinstance(one, dict) else list(range(len(one))) if isinstance(one, list) else []
        found += [(one, key) for key in keys]
        left += [one[key] for key in keys]
    return found


def odd_tree(tree: Any, random: Random) -> Any:
    """The same tree with one to three values replaced, moved, renamed, doubled or left out."""
    tree = copy.deepcopy(tree)
    for _ in range(random.choice([1, 1, 1, 2, 3])):
        places = _places(tree)
        if not places:
            return odd_value(random)
        holder, key = random.choice(places)
        match random.randrange(8):
            case 0 | 1 | 2 | 3:
                holder[key] = odd_value(random)
            case 4:
                del holder[key]
            case 5:
                other, its_key = random.choice(places)
                holder[key] = copy.deepcopy(other[its_key])
            case 6 if isinstance(holder, dict):
                holder[odd_text(random)] = holder.pop(key)
            case 6:
                holder.insert(0, holder[key])
            case _:
                holder[key] = random.choice([[holder[key]], {"x": holder[key]}, str(holder[key]), [holder[key]] * 3])
    return tree


def odd_json(data: bytes, random: Random) -> bytes:
    """A JSON file with a wrong tree, a repeated key, or wrong bytes."""
    if random.random() < 0.25:
        return odd_bytes(data, random)
    text = json.dumps(odd_tree(json.loads(data), random), ensure_ascii=random.random() < 0.9)
    if random.random() < 0.1:
        keys = re.findall(r'"[^"\\]*": ', text)
        if keys:
            text = text.replace(random.choice(keys), random.choice(keys))
    return text.encode("utf-8", "surrogatepass")


# ---------------------------------------------------------------------- tables of text


def odd_separated(data: bytes, separator: str, random: Random) -> bytes:
    """A table of separated values with wrong cells, columns or rows, or with wrong bytes."""
    if random.random() < 0.3:
        return odd_bytes(data, random)
    rows = [line.split(separator) for line in data.decode().rstrip("\n").split("\n")]
    for _ in range(random.choice([1, 1, 2, 3])):
        if not rows:
            break
        row = random.choice(rows)
        place = random.randrange(max(1, len(row)))
        match random.randrange(9):
            case 0 | 1 | 2:
                row[place : place + 1] = [odd_text(random)]
            case 3:  # one value for a whole column
                value = odd_text(random)
                for other in rows[1:]:
                    other[place : place + 1] = [value]
            case 4:
                rows[0][place : place + 1] = [random.choice([*rows[0], odd_text(random), "".join(rows[0][:1]).upper()])]
            case 5:
                for other in rows:
                    other[place : place + 1] = []
            case 6:
                row.insert(place, odd_text(random))
            case 7:
                del row[place : place + 1]
            case _:
                rows = random.choice([rows[:1], rows[1:], rows[:1] + rows, rows[:1] + [rows[-1]] * 3, [[""], *rows]])
    return "\n".join(separator.join(row) for row in rows).encode("utf-8", "surrogatepass") + random.choice([b"\n", b""])


# ---------------------------------------------------------------------- Arrow tables and tensors


def _columns_of_all_types(count: int, random: Random) -> pa.Array:
    """A column [count] of an unexpected type, with extreme values."""

    def repeated(values: list[Any], kind: pa.DataType) -> pa.Array:
        return pa.array([random.choice(values) for _ in range(count)], kind)

    choices: list[Callable[[], pa.Array]] = [
        lambda: pa.nulls(count),
        lambda: repeated([None, 1, -1, 2**53 + 1, 2**63 - 1, -(2**63)], pa.int64()),
        lambda: repeated([0, 2**64 - 1], pa.uint64()),
        lambda: repeated([math.nan, math.inf, 1e301, -1e301, -0.0, 0.5, None], pa.float64()),
        lambda: pa.array(np.array([random.choice([1, math.inf]) for _ in range(count)], np.float16)),
        lambda: repeated([True, False, None], pa.bool_()),
        lambda: repeated([odd_text(random).encode("utf-8", "replace").decode() for _ in range(3)], pa.string()),
        lambda: repeated(["x", None, ""], pa.large_string()),
        lambda: repeated([b"\xff\xfe", b"", None], pa.binary()),
        lambda: repeated([[1, 2], [], None], pa.list_(pa.int64())),
        lambda: repeated([["x"], [None], []], pa.list_(pa.string())),
        lambda: repeated([[1.0, math.nan], [1e301, 0.0]], pa.list_(pa.float64(), 2)),
        lambda: repeated([{"a": 1}, None], pa.struct([("a", pa.int64())])),
        lambda: repeated([[("k", 1)], []], pa.map_(pa.string(), pa.int64())),
        lambda: repeated([-(2**62), 2**62, None], pa.int64()).cast(pa.timestamp("s")),
        lambda: repeated([-(2**62), 2**62, 0], pa.int64()).cast(pa.timestamp("ns", "UTC")),
        lambda: repeated([-(2**31), 2**31 - 1], pa.int32()).cast(pa.date32()),
        lambda: repeated([-(2**62), 86_400_000], pa.int64()).cast(pa.duration("ms")),
        lambda: repeated([1, None], pa.int64()).cast(pa.decimal128(38, 2)),
        lambda: repeated(["a", "b", None], pa.string()).dictionary_encode(),
        lambda: repeated([7, 7, None], pa.int64()).dictionary_encode(),
        lambda: repeated([0, 86_399], pa.int32()).cast(pa.time32("s")),
    ]
    return random.choice(choices)()


def odd_table(table: pa.Table, random: Random) -> pa.Table:
    """An Arrow table with columns that are dropped, repeated, renamed, or have other types or odd values, or with other
    rows."""
    for _ in range(random.choice([1, 1, 2])):
        if not table.num_columns:
            return table
        place = random.randrange(table.num_columns)
        name = table.column_names[place]
        match random.randrange(9):
            case 0:
                table = table.remove_column(place)
            case 1:
                table = table.append_column(name, table.column(place))
            case 2:
                names = [*table.column_names]
                names[place] = random.choice([*names, "label", "time", "weight", name.upper(), "x\x00y", "[/b]"])
                table = table.rename_columns(names)
            case 3:
                table = table.slice(0, random.choice([0, 0, 1, len(table) // 2]))
            case 4:
                table = pa.concat_tables([table, table.slice(0, 1)])
            case 5:
                mask = pa.array([random.random() < 0.5 for _ in range(len(table))])
                table = table.set_column(place, name, _masked(table.column(place).combine_chunks(), mask))
            case 6:
                table = table.append_column(
                    random.choice(["time", "weight", "label", "extra"]), _columns_of_all_types(len(table), random)
                )
            case _:
                table = table.set_column(place, name, _columns_of_all_types(len(table), random))
    return table


def _masked(values: pa.Array, mask: pa.Array) -> pa.Array:
    """The values, null where the mask is true."""
    if isinstance(values, pa.ChunkedArray):
        values = pa.concat_arrays(values.chunks) if values.num_chunks else pa.nulls(0, values.type)
    return values.take(pa.array([None if hidden else row for row, hidden in enumerate(mask.to_pylist())], pa.int64()))


def odd_parquet(data: bytes, random: Random) -> bytes:
    """A Parquet file with a wrong table or wrong bytes."""
    if random.random() < 0.3:
        return odd_bytes(data, random)
    table = odd_table(pq.read_table(io.BytesIO(data)), random)
    written = io.BytesIO()
    try:
        pq.write_table(
            table, written, row_group_size=random.choice([None, 1, 3]), compression=random.choice(["none", "zstd"])
        )
    except pa.ArrowException:  # Parquet has no such type
        return odd_bytes(data, random)
    return odd_bytes(written.getvalue(), random) if random.random() < 0.1 else written.getvalue()


def odd_safetensors(data: bytes, random: Random) -> bytes:
    """A file of weights with a wrong header, a wrong header length, odd numbers or wrong bytes."""
    if random.random() < 0.35:
        return odd_bytes(data, random)
    (length,) = struct.unpack("<Q", data[:8])
    header, body = data[8 : 8 + length], data[8 + length :]
    match random.randrange(4):
        case 0 | 1:
            header = odd_json(header.rstrip(b" "), random)
        case 2:
            number = struct.pack("<f", random.choice([math.nan, math.inf, 1e38, 0.0]))
            body = number * (len(body) // 4) if random.random() < 0.5 else number + body[4:]
        case _:
            length = random.choice([0, 1, length + 1, 2**31, 2**63, 2**64 - 1, len(data)])
            return struct.pack("<Q", length) + header + body
    return struct.pack("<Q", len(header)) + header + body


def odd_npy(data: bytes, random: Random) -> bytes:
    """A .npy matrix with a wrong header or wrong bytes."""
    if random.random() < 0.4:
        return odd_bytes(data, random)
    shape = random.choice(
        ["(5, 3)", "(-1, 3)", "(5,)", "()", "(5, 0)", "(0, 3)", "(10**9, 10**9)", "(5, 3, 1)", "5", "(2**63, 2)"]
    )
    kind = random.choice(["<f4", "<f8", "|O", "<U9", "<i8", "<c8", "|b1", "<M8[s]", "x", "[('a', '<f4')]", "<f2"])
    header = (
        f"{{'descr': '{kind}', 'fortran_order': {random.choice(['False', 'True', '0', 'None'])}, 'shape': {shape}, }}"
    )
    if random.random() < 0.2:
        header = odd_bytes(header.encode(), random).decode("latin-1")
    padded = header.encode("latin-1", "replace").ljust(117) + b"\n"
    return (
        b"\x93NUMPY" + bytes([random.choice([1, 1, 2, 3, 9]), 0]) + struct.pack("<H", len(padded)) + padded + data[128:]
    )

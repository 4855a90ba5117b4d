"""Large blocks of memory are given back to the system when they are freed."""

import ctypes
import subprocess
import sys

import pytest

MAPPED = """
import ctypes
from kgrec.server.c_memory import give_back, keep_flat

class Info(ctypes.Structure):
    _fields_ = [(f"field{{n}}", ctypes.c_size_t) for n in range(10)]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Info
if {flat}:
    keep_flat()
first = bytearray(16 << 20)
del first  # from now on glibc maps by itself only blocks that are larger than this one
before = library.mallinfo2().field4
block = bytearray(2 << 20)
print((library.mallinfo2().field4 - before) >> 20)
del block
give_back()
print((library.mallinfo2().field4 - before) >> 20)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="the C library is not glibc")
@pytest.mark.parametrize(("flat", "megabytes"), [(True, 2), (False, 0)])
def test_a_large_block_is_mapped_alone(flat: bool, megabytes: int) -> None:
    done = subprocess.run([sys.executable, "-c", MAPPED.format(flat=flat)], capture_output=True, text=True, check=True)
    assert [int(line) for line in done.stdout.split()] == [megabytes, 0]

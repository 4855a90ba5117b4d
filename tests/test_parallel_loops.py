"""Compiled loops on several threads: begun by several threads at once, whatever threads numba finds."""

import os
import subprocess
import sys
from pathlib import Path

import numba
import numpy as np
import pytest

from kgrec.graph import edge_kernels
from kgrec.nn import vector_kernels
from kgrec.parallel_loops import SMALL, ParallelLoop

TWO_CALLERS = """
import threading
import numba, numpy as np
from kgrec.graph import edge_kernels
from kgrec.nn import vector_kernels

x, out = np.arange(4096 * 64, dtype=np.float32).reshape(4096, 64), np.empty((64, 4096), np.float32)
ptr, tail = np.arange(0, 4097, 2), np.arange(4096)
head, candidate = np.arange(2048), np.arange(4096).reshape(2048, 2)

def transpose():
    for _ in range(1500):
        vector_kernels.transpose(x, out)

def look():
    for _ in range(1500):
        assert edge_kernels.is_member(ptr, tail, head, candidate).all()

callers = [threading.Thread(target=work) for work in (transpose, look, look)]
for one in callers:
    one.start()
for one in callers:
    one.join()
assert (out == x.T).all()
print(numba.threading_layer())
"""


@pytest.mark.parametrize("layer", ["workqueue", "default"])
def test_several_threads_begin_loops_at_once(layer: str):
    """Without a lock numba's own threads end the process: it has no others on a Mac, or without libgomp."""
    environment = os.environ | {"NUMBA_THREADING_LAYER": layer}
    done = subprocess.run([sys.executable, "-c", TWO_CALLERS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert layer == "default" or done.stdout.split() == ["workqueue"]


def test_every_loop_on_several_threads_goes_by_the_guard():
    """numba's `parallel` stands in one place, where the guard is."""
    package = Path(vector_kernels.__file__).parents[1]
    named = [path for path in package.rglob("*.py") if "parallel=True" in path.read_text(encoding="utf-8")]
    assert [path.name for path in named] == ["parallel_loops.py"]
    assert edge_kernels.is_member.__doc__ and edge_kernels.is_member.__name__ == "is_member"


@pytest.mark.skipif(numba.config.NUMBA_NUM_THREADS < 2, reason="numba has one thread; set NUMBA_NUM_THREADS=2")
def test_a_small_call_runs_on_one_thread():
    """Waking others would take longer. Later calls have all threads again, also after an error."""
    before = numba.get_num_threads()
    numba.set_num_threads(2)
    try:
        loop = ParallelLoop(lambda number, by: number // by, lambda number, by: number)
        loop.compiled = lambda number, by: (numba.get_num_threads(), number // by)
        assert loop(SMALL - 1, 2) == (1, SMALL // 2 - 1)
        assert loop(SMALL, 2) == (2, SMALL // 2)
        with pytest.raises(ZeroDivisionError):
            loop(0, 0)
        assert numba.get_num_threads() == 2
    finally:
        numba.set_num_threads(before)


@pytest.mark.parametrize("shape", [(1, 1), (16, 3), (15, 40), (50, 7), (64, 64)])
def test_a_transposed_copy(shape: tuple[int, int]):
    x = np.random.default_rng(0).random(shape, np.float32)
    out = np.empty(shape[::-1], np.float32)
    vector_kernels.transpose(x, out)
    assert (out == x.T).all()

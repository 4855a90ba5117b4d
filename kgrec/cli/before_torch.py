"""What is set before torch starts."""

from __future__ import annotations

import os


def wait_briefly() -> None:
    """Let waiting OpenMP threads spin for some microseconds and then sleep. Call this before torch starts.

    By default they spin without end, and a batch takes ten times as long when another process shares the cores.
    """
    if "OMP_WAIT_POLICY" not in os.environ:
        os.environ.setdefault("GOMP_SPINCOUNT", "10000")


def add_up_alike() -> None:
    """Let oneMKL choose its kernels by the processor alone. Call this before torch starts.

    By default it takes others where memory is aligned otherwise, or after a product with a sparse matrix, at least on
    processors of AMD, so that the same product may differ in its last digits within a process. It costs 2 % of the
    time of a product.
    """
    os.environ.setdefault("MKL_CBWR", "AUTO")

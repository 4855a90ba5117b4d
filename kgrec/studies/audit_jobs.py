"""Trials of an audit in several processes."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import torch

from kgrec.errors import KgrecError
from kgrec.studies.audit_trials import Laboratory, Trial, TrialResult

SECONDS_BETWEEN_LOOKS = 1.0  #: how often a process looks whether its parent is alive
_shared: Laboratory  #: in a process of the pool


def trained_in_processes(lab: Laboratory, trials: Sequence[Trial], folder: Path, jobs: int) -> Iterator[TrialResult]:
    """Train the trials in `jobs` processes, write each result to its file in the folder, and give it as soon as it is
    there. The processes end when this one ends, also when it is killed.

    Raises KgrecError with the message of a trial that failed, and if a process was killed."""
    threads = max(1, (os.cpu_count() or 1) // jobs)
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(jobs, context, _begin, (lab, threads, os.getpid()))
    try:
        left = {pool.submit(_run, trial, folder) for trial in trials}
        while left:
            done, left = wait(left, return_when=FIRST_COMPLETED)
            for one in done:
                yield one.result()
    except BrokenProcessPool as error:
        raise KgrecError(
            "one of the processes of the audit was killed, perhaps because memory ran out; run the same command again "
            "to go on, with fewer --jobs"
        ) from error
    finally:
        processes = list((pool._processes or {}).values())
        pool.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        for process in processes:
            process.join()


def _begin(lab: Laboratory, threads: int, parent: int) -> None:
    """Prepare a process of the pool."""
    global _shared
    _shared = lab
    torch.set_num_threads(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent too, which ends this process
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    threading.Thread(target=_end_with, args=(parent,), daemon=True).start()


def _end_with(parent: int) -> None:
    """End this process when its parent is gone."""
    while os.getppid() == parent:
        time.sleep(SECONDS_BETWEEN_LOOKS)
    os._exit(1)


def _run(trial: Trial, folder: Path) -> TrialResult:
    result = _shared.run(trial)
    result.write(folder / trial.file)
    return result

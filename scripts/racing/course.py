"""What the program of every contestant does: it reads the split, lets the clock run while it trains, and hands over
lists while the clock stands. It runs under the Python of other libraries too, and so needs NumPy alone."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

K = 10  #: items of a list
USERS = 512  #: users that are scored at once
#: up to which epoch each so many are scored: all of the first 20, then every second one up to 60, and so on
SCORED = ((20, 1), (60, 2), (200, 5), (1000, 20))
LAST = 100  #: of later ones every so many

Scores = Callable[[np.ndarray], np.ndarray]  #: users, int64 [B] -> scores of all items of train, float [B, I]


def is_scored(epoch: int, epochs: int) -> bool:
    """Whether lists are made after an epoch (from 1), of `epochs` in all.

    >>> [epoch for epoch in range(1, 31) if is_scored(epoch, 29)][17:]
    [18, 19, 20, 22, 24, 26, 28, 29, 30]
    """
    every = next((every for end, every in SCORED if epoch <= end), LAST)
    return epoch >= epochs or epoch % every == 0


def seconds_alive() -> float:
    """Seconds since this process started, by the clock."""
    of_process = Path("/proc/self/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    since_boot = float(Path("/proc/uptime").read_text(encoding="utf-8").split()[0])
    return since_boot - int(of_process[19]) / os.sysconf("SC_CLK_TCK")


class Course:
    """A training from the contestant's side. What the parent process asks for is in a JSON file; each answer is a line
    of JSON, and after lists the parent says whether to go on."""

    def __init__(self, path: str) -> None:
        """path: of the job. From here on what the program prints goes to standard error."""
        self._told = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        job = json.loads(Path(path).read_text(encoding="utf-8"))
        self.folder = Path(job["folder"])  #: of its own, to write in
        self.model: str = job["model"]
        self.settings: dict[str, Any] = job["settings"]
        self.seed: int = job["seed"]
        self.epochs: int = job["epochs"]
        self.threads: int = job["threads"]
        #: what the clock counts: seconds, or with "cpu" the CPU seconds of all threads of this process
        self.now = time.process_time if job["clock"] == "cpu" else time.perf_counter
        table = np.loadtxt(job["train"], delimiter=",", skiprows=1, dtype=np.int64, ndmin=2)
        self.user, self.item, self.time = np.ascontiguousarray(table.T)  #: int64 [E] each; numbers from 0, unix seconds
        self.users = np.loadtxt(job["users"], dtype=np.int64, ndmin=1)  #: whose lists are wanted
        self.num_users, self.num_items = int(self.user.max()) + 1, int(self.item.max()) + 1
        order = np.argsort(self.user, kind="stable")
        self._known = self.item[order]
        self._ptr = np.concatenate([[0], np.bincount(self.user, minlength=self.num_users).cumsum()])
        self.seconds = 0.0  #: on the clock so far
        self._started = 0.0

    def first_users(self, number: int) -> np.ndarray:
        """Which rows are of the first users: bool [E]. Trained on as a warm-up, where a program compiles itself."""
        return self.user < number

    def ready(self, versions: dict[str, str]) -> None:
        """Set-up is over, and the clock starts. versions: of what trains."""
        setup = seconds_alive() if self.now is time.perf_counter else time.process_time()
        self._tell(setup=setup, versions=versions)
        self.start()

    def start(self) -> None:
        """Let the clock run."""
        self._started = self.now()

    def stop(self) -> None:
        """Stop the clock."""
        self.seconds += self.now() - self._started

    def after_epoch(self, epoch: int, scores: Scores, seconds: float | None = None) -> bool:
        """Stop the clock, hand over lists if this epoch is scored, and start it again. Returns whether to go on.
        seconds: what is said in place of the clock's, by programs that train anew for each number of epochs."""
        self.stop()
        go_on = True
        if is_scored(epoch, self.epochs):
            np.save(self.folder / "lists.npy", self._lists(scores))
            self._tell(epoch=epoch, seconds=self.seconds if seconds is None else seconds)
            go_on = sys.stdin.readline().strip() == "go"
        self.start()
        return go_on and epoch < self.epochs

    def _lists(self, scores: Scores) -> np.ndarray:
        """The best items of each user that are not in the user's train, best first; of equals the first number comes
        first. int32 [U, K], -1 after the end of a short list. Raises ValueError for scores that are not finite."""
        k = min(K, self.num_items)
        found = np.full((len(self.users), K), -1, np.int32)
        for start in range(0, len(self.users), USERS):
            users = self.users[start : start + USERS]
            rows = np.array(scores(users), np.float32)
            if rows.shape != (len(users), self.num_items):
                raise ValueError(f"scores have shape {rows.shape}, not {(len(users), self.num_items)}: users x items")
            if not np.isfinite(rows).all():
                raise ValueError(f"{int((~np.isfinite(rows)).sum()):,} of {rows.size:,} scores are not finite")
            for row, user in enumerate(users):
                rows[row, self._known[self._ptr[user] : self._ptr[user + 1]]] = -np.inf
            last = np.partition(rows, -k, axis=1)[:, -k]
            for row in range(len(users)):
                place = np.flatnonzero(rows[row] >= last[row])
                best = place[np.argsort(-rows[row, place], kind="stable")][:k]
                best = best[np.isfinite(rows[row, best])]
                found[start + row, : len(best)] = best
        return found

    def _tell(self, **what: Any) -> None:
        self._told.write(json.dumps(what) + "\n")
        self._told.flush()

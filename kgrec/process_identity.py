"""What tells a process from others, also after it has ended, and on other machines."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

SECONDS_OF_SILENCE = 3600.0  #: a process of another machine that has said nothing for so long is gone


def this_process() -> dict[str, Any]:
    """What tells this process from others: the machine, the process id, when it started; and when it last wrote."""
    pid = os.getpid()
    return {"host": socket.gethostname(), "pid": pid, "start": _start_of(pid), "seen": time.time()}


def _start_of(pid: int) -> str | None:
    """When a process started, in the system's ticks; None if there is none, or the system does not say."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except (OSError, IndexError):
        return None


def is_gone(process: Mapping[str, Any]) -> bool:
    """Whether a process has ended. Of another machine, whether it has been silent for an hour. process: as in
    `this_process`."""
    if process.get("host") != socket.gethostname():
        return time.time() - float(process.get("seen", 0)) > SECONDS_OF_SILENCE
    try:
        os.kill(int(process["pid"]), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return _start_of(int(process["pid"])) != process.get("start")

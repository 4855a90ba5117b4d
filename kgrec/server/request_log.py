"""A line of JSON on stderr for each request, without ids or addresses unless they are asked for."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, TextIO

import orjson

SECONDS = 0.25  #: after which lines are written at the latest
MOST = 500  #: lines that wait


class RequestLog:
    """Lines of JSON. Those of requests are written together some times a second, others at once."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream
        self._lines: list[bytes] = []
        self._lock = threading.Lock()
        self._written = time.monotonic()

    def request(self, fields: Mapping[str, Any]) -> None:
        """A request that was answered."""
        with self._lock:
            self._lines.append(_line("request", fields))
            if len(self._lines) < MOST and time.monotonic() - self._written < SECONDS:
                return
            self._flush()

    def happened(self, event: str, fields: Mapping[str, Any]) -> None:
        """Something else that happened."""
        with self._lock:
            self._lines.append(_line(event, fields))
            self._flush()

    def flush(self) -> None:
        """Write what waits."""
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        lines, self._lines, self._written = self._lines, [], time.monotonic()
        if not lines:
            return
        stream = self._stream or sys.stderr
        try:
            stream.write(b"".join(lines).decode())
            stream.flush()
        except (OSError, ValueError):
            return  # a full disk or a closed terminal must not stop the server


def _line(event: str, fields: Mapping[str, Any]) -> bytes:
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return orjson.dumps({"time": now, "event": event, **fields}, default=str) + b"\n"

"""MLflow's package, and where it keeps runs: a file of SQLite, another database, or a server."""

from __future__ import annotations

import logging
import os
import re
import sqlite3
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError, nearest
from kgrec.training.tracking.causes import cause_of, root_of

if TYPE_CHECKING:
    from kgrec.training.job import TrainingJob

SECONDS_TO_WAIT = 5.0  #: for a database that another program writes to
#: Of requests to a server, unless the environment has these already; MLflow's own defaults may take many minutes
PATIENCE = {"MLFLOW_HTTP_REQUEST_TIMEOUT": "10", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1"}
SCHEMES = ("sqlite", "postgresql", "mysql", "mssql", "http", "https", "file", "databricks")
ADVICE = "name another place with --track-uri, such as sqlite:///mlflow.db or http://localhost:5000"


def package() -> Any:
    """The package MLflow, which sends nothing about its use to its makers. Raises KgrecError if the extra is not
    installed."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it is read when MLflow is imported
    try:
        with calmly():
            import alembic  # noqa: F401 - a part of the extra
            import mlflow
            import sqlalchemy  # noqa: F401 - a part of the extra
    except ImportError as error:
        raise KgrecError(f"--track mlflow needs MLflow ({error}): pip install 'kgrec[mlflow]'") from error
    return mlflow


@contextmanager
def calmly() -> Iterator[None]:
    """Inside this context, MLflow gives up on a server within seconds, and prints neither progress nor warnings."""
    quiet = {"MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true", **PATIENCE}
    added = [name for name in quiet if name not in os.environ]
    os.environ.update({name: quiet[name] for name in added})
    loggers = [logging.getLogger(name) for name in ("mlflow", "alembic")]
    before = [one.level for one in loggers]
    for one in loggers:
        one.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for one, level in zip(loggers, before):
            one.setLevel(level)
        for name in added:
            os.environ.pop(name, None)


def shown_address(address: str) -> str:
    """An address without the name and the password in it.

    >>> shown_address("postgresql://ann:secret@db/runs"), shown_address("sqlite:///mlflow.db")
    ('postgresql://***@db/runs', 'sqlite:///mlflow.db')
    """
    return re.sub(r"(://)[^/@\s]*@", r"\1***@", address)


def failure(address: str, error: Exception) -> KgrecError:
    """The error for a place that MLflow cannot use."""
    if isinstance(error, ImportError):
        missing = error.name
        return KgrecError(f"MLflow at {shown_address(address)} needs the package {missing}: pip install {missing}")
    text = shown_address(cause_of(error))
    if "locked" in text:
        text = f"the database is locked, as another program has been writing to it for {SECONDS_TO_WAIT:g} seconds"
    elif address.startswith("http") and isinstance(root_of(error), OSError):
        text = f"no answer ({text}); is the server running?"
    return KgrecError(f"cannot track by MLflow at {shown_address(address)}: {text}; {ADVICE}")


def check_store(address: str, job: TrainingJob) -> None:
    """Raise an error at once if a place cannot be used: MLflow itself tries databases for some minutes."""
    scheme, colon, rest = address.partition(":")
    kind = scheme.partition("+")[0]
    if not colon or kind not in SCHEMES:
        if colon and rest.startswith("//"):
            near = nearest(kind, SCHEMES)
            hint = f"; did you mean {near}?" if near else ""
            raise KgrecError(
                f"MLflow has no address of kind {scheme!r}, as in {shown_address(address)}{hint} {ADVICE[0].upper()}"
                f"{ADVICE[1:]}"
            )
        return  # a folder, or the name of a plugin
    if kind == "sqlite":
        _check_sqlite(address, job)
    elif kind in ("postgresql", "mysql", "mssql"):
        import sqlalchemy

        waits = {} if kind == "mssql" else {"connect_timeout": int(SECONDS_TO_WAIT)}
        engine = sqlalchemy.create_engine(address, poolclass=sqlalchemy.pool.NullPool, connect_args=waits)
        with engine.connect():
            pass


def _check_sqlite(address: str, job: TrainingJob) -> None:
    """Open the file, and see whether it can be written to."""
    import sqlalchemy

    name = sqlalchemy.make_url(address).database
    if not name or name == ":memory:":
        raise KgrecError(f"{address} names no file, so runs would be lost; {ADVICE}")
    file = Path(name)
    if job.out is not None:
        inside = {job.out.resolve(), job.checkpoint.resolve()}
        if inside & {file.resolve(), *file.resolve().parents}:
            raise KgrecError(f"the database of MLflow, {file}, is inside --out {job.out}; {ADVICE}")
    file.parent.mkdir(parents=True, exist_ok=True)
    with closing(sqlite3.connect(file, timeout=SECONDS_TO_WAIT, isolation_level=None)) as database:
        database.execute("BEGIN IMMEDIATE")
        database.execute("ROLLBACK")

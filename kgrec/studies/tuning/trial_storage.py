"""Where the trials of a search are kept: an Optuna study in a storage, SQLite by default."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError, some
from kgrec.files import SQLITE
from kgrec.process_identity import is_gone

if TYPE_CHECKING:
    from optuna import Study
    from optuna.trial import FrozenTrial

SECONDS_TO_WAIT = 20.0  #: how long to wait for another process that writes to an SQLite file
IDENTITY, LOST, PROCESS, RESULT, RETRIES, START = (
    "kgrec",
    "lost",
    "process",
    "result",
    "retries",
    "start",
)  #: attributes


def optuna() -> Any:
    """The package Optuna, which prints only warnings from then on. Raises KgrecError if it is not installed."""
    try:
        import optuna as package
        import sqlalchemy  # noqa: F401 - a part of the extra
    except ImportError as error:
        raise KgrecError(f"kgrec tune needs Optuna ({error}): pip install 'kgrec[tune]'") from error
    package.logging.set_verbosity(package.logging.WARNING)
    return package


@contextmanager
def storage_errors(url: str | None) -> Iterator[None]:
    """Inside this context, errors of a storage become KgrecErrors."""
    from optuna.exceptions import ExperimentalWarning, StorageInternalError
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ExperimentalWarning)
            yield
    except (StorageInternalError, SQLAlchemyError) as error:
        raise KgrecError(_said(url, error)) from error


def _said(url: str | None, error: BaseException) -> str:
    cause: BaseException = error
    while cause.__cause__ is not None:
        cause = cause.__cause__
    text = str(cause).strip().splitlines()[0] if str(cause).strip() else type(cause).__name__
    if "locked" in text:
        return (
            f"the storage {url} is locked: another program has been writing to it for {SECONDS_TO_WAIT:.0f} seconds or "
            "more; end that program, or name another --storage; finished trials are kept"
        )
    return f"cannot use the storage {url}: {text}; name another --storage, such as sqlite:///trials.db"


def open_storage(url: str | None) -> Any:
    """The storage at a URL; None: in memory. Raises KgrecError if it cannot be opened."""
    package = optuna()
    if url is None:
        return package.storages.InMemoryStorage()
    arguments = {"connect_args": {"timeout": SECONDS_TO_WAIT}} if url.startswith("sqlite:") else {}
    try:
        with storage_errors(url):
            _keep_other_files(url)
            return package.storages.RDBStorage(url, engine_kwargs=arguments)
    except KgrecError:
        raise
    except ImportError as error:
        raise KgrecError(f"the storage {url} needs the package {error.name!r}: pip install {error.name}") from error
    except (RuntimeError, ValueError, OSError) as error:
        raise KgrecError(
            f"cannot use the storage {url}: {error}; name an SQLAlchemy URL, such as sqlite:///trials.db"
        ) from error


def _keep_other_files(url: str) -> None:
    """Raise KgrecError for the URL of an SQLite file that is something else. SQLite itself refuses only longer ones,
    and writes over a file of a few bytes."""
    from sqlalchemy.engine import make_url

    found = make_url(url)
    path = Path(found.database or "") if found.get_backend_name() == "sqlite" else None
    if path is not None and path.is_file():
        with path.open("rb") as file:
            begin = file.read(len(SQLITE))
        if begin not in (b"", SQLITE):
            raise KgrecError(
                f"cannot use the storage {url}: file is not a database; name another --storage, such as "
                "sqlite:///trials.db"
            )


@contextmanager
def storage_at(url: str | None) -> Iterator[Any]:
    """Inside this context, the storage at a URL, whose errors become KgrecErrors; it is closed at the end."""
    storage = open_storage(url)
    try:
        with storage_errors(url):
            yield storage
    finally:
        storage.remove_session()
        if url is not None:
            storage.engine.dispose()


def sqlite_url(path: Path) -> str:
    """The URL of an SQLite file."""
    return f"sqlite:///{path}"


def open_study(storage: Any, url: str | None, name: str, maximize: bool, identity: Mapping[str, Any]) -> Study:
    """The study of this name, which is made if it is not there.

    identity: what must be the same for trials to be compared, as JSON data. Raises KgrecError if the study there is of
    another search, and names what differs.
    """
    package, direction = optuna(), "maximize" if maximize else "minimize"
    study: Study = package.create_study(storage=storage, study_name=name, direction=direction, load_if_exists=True)
    own = json.loads(json.dumps(identity, default=str))
    known = study.user_attrs.get(IDENTITY)
    is_new = not study.get_trials(deepcopy=False) and study.direction.name.lower() == direction
    if known is None and is_new:
        study.set_user_attr(IDENTITY, own)
        known = own
    advice = "continue with the same options, or name another --study, --storage or --out"
    if not isinstance(known, dict):
        raise KgrecError(f"the study {name!r} in {url} was not made by kgrec tune; {advice}")
    different = [key for key in dict.fromkeys([*own, *known]) if own.get(key) != known.get(key)]
    if different:
        key = different[0]
        more = f" (and {some(different[1:])})" if different[1:] else ""
        raise KgrecError(
            f"the study {name!r} in {url} is of another search: its {key} is {known.get(key)!r}, but this one has "
            f"{own.get(key)!r}{more}; {advice}"
        )
    return study


# ---------------------------------------------------------------------- trials of processes that are gone


def give_up(study: Study, trial: FrozenTrial, reason: str, *, again: bool) -> None:
    """Mark a running trial as failed. again: try its settings again, unless they were tried again before."""
    from optuna.exceptions import UpdateFinishedTrialError
    from optuna.trial import TrialState

    retries = int(trial.user_attrs.get(RETRIES, 0))
    again = again and bool(trial.params) and not retries
    name, value = (LOST, reason) if again else (RESULT, {"error": reason})
    try:
        study._storage.set_trial_user_attr(trial._trial_id, name, value)
        study.tell(trial.number, state=TrialState.FAIL, skip_if_finished=True)
    except UpdateFinishedTrialError:
        return
    if again:
        first = {START: True} if START in trial.user_attrs else {}
        study.enqueue_trial(trial.params, user_attrs={RETRIES: retries + 1, **first})


def give_up_lost(study: Study) -> int:
    """Mark the running trials of processes that are gone as failed, and try them again. Returns their number."""
    from optuna.trial import TrialState

    lost = [
        trial
        for trial in study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        if PROCESS in trial.user_attrs and is_gone(trial.user_attrs[PROCESS])
    ]
    for trial in lost:
        give_up(study, trial, "its process was killed", again=True)
    return len(lost)


def counts(trial: FrozenTrial) -> bool:
    """Whether a trial counts: all but those that wait, and those that were lost and are tried again."""
    from optuna.trial import TrialState

    return trial.state != TrialState.WAITING and LOST not in trial.user_attrs

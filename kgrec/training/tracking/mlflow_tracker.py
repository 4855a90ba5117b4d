"""Follows trainings by MLflow."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError
from kgrec.process_identity import is_gone, this_process
from kgrec.training.tracking.causes import warn
from kgrec.training.tracking.mlflow_stores import calmly, check_store, failure, package, shown_address
from kgrec.training.tracking.setting_texts import setting_texts
from kgrec.training.tracking.tracker import Status, TrackedEpoch, TrackedResult, TrackedRun

if TYPE_CHECKING:
    from kgrec.training.job import TrainingJob

EXPERIMENT = "kgrec"  #: where neither the option nor MLFLOW_EXPERIMENT_NAME says another
PARAMS_AT_ONCE, METRICS_AT_ONCE = 100, 1000  #: MLflow takes no more in one call
LONGEST_PARAM, LONGEST_TAG, LONGEST_KEY = 6000, 5000, 250  #: most characters that MLflow takes
PLACE, PROCESS, OUT, RESUMED = "kgrec.place", "kgrec.process", "kgrec.out", "kgrec.resumed"  #: tags


class MlflowTracker:
    """Logs each training as a run of MLflow: settings and numbers of the graph as parameters, losses and metrics by
    epoch, the results of test, and what became of it.

    Weights are not uploaded: the tag `kgrec.out` says where the run folder is. In names of metrics `@` becomes `_at_`,
    as in ndcg_at_10, and each other character that MLflow refuses becomes `_`.
    """

    def __init__(self, uri: str | None = None, experiment: str | None = None) -> None:
        """uri: where MLflow keeps runs, such as sqlite:///runs.db or http://localhost:5000. None: what MLflow itself
        takes, MLFLOW_TRACKING_URI, or else mlflow.db in the current folder. experiment: its name; None:
        MLFLOW_EXPERIMENT_NAME, or else kgrec."""
        self.uri, self.experiment = uri, experiment
        self._client: Any = None
        self._run = ""  #: the id of the run that is followed
        self._logged = (0, "")  #: epochs of a phase that an interrupted training has logged, and that phase

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_client": None}

    def check(self, job: TrainingJob) -> None:
        """Raise KgrecError if MLflow is not installed or cannot be reached, or if the experiment was deleted."""
        address = self._address()
        with self._errors():
            check_store(address, job)
            self._experiment(self._connected())

    def begin(self, run: TrackedRun) -> str:
        """Begin a run, or go on with the one of an interrupted training. Returns its id.

        Runs of the same run folder whose process is gone are marked as killed first."""
        with self._errors():
            client = self._connected()
            experiment = self._experiment(client)
            known = self._known(client, run.id)
            self._mark_killed(client, experiment, run, known)
            if known is None:
                self._start(client, experiment, run)
            else:
                self._go_on(client, run, known)
        if run.id is not None and known is None:
            warn(
                f"MLflow at {shown_address(self._address())} does not have run {run.id}, which this training was "
                "tracked as; it goes on as a new run, without the epochs so far"
            )
        return self._run

    def log_epoch(self, epoch: TrackedEpoch) -> None:
        """Log the numbers of an epoch, unless the interrupted training has logged them."""
        number, phase = self._logged
        if phase != epoch.phase or epoch.number > number:
            self._log_metrics(epoch.numbers, epoch.number, epoch.time)

    def log_result(self, result: TrackedResult) -> None:
        """Log the numbers of the result, at the last epoch."""
        self._log_metrics(result.numbers, result.epoch, result.time)

    def finish(self, status: Status) -> None:
        """Mark the run as FINISHED, FAILED or KILLED."""
        with calmly():
            self._client.set_terminated(self._run, status.upper())

    # ------------------------------------------------------------------ the client

    def _address(self) -> str:
        mlflow = package()
        return self.uri if self.uri is not None else str(mlflow.get_tracking_uri())

    def _connected(self) -> Any:
        if self._client is None:
            with calmly():
                self._client = package().tracking.MlflowClient(self._address())
        return self._client

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Inside this context, errors of MLflow and of what is below it become KgrecErrors."""
        address = self._address()
        try:
            with calmly():
                yield
        except KgrecError:
            raise
        except Exception as error:
            raise failure(address, error) from error

    def _experiment(self, client: Any) -> str:
        """The id of the experiment, which is made if it is not there. Raises KgrecError if it was deleted."""
        name = self.experiment or os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = client.get_experiment_by_name(name)
        if found is None:
            try:
                return str(client.create_experiment(name))
            except package().exceptions.MlflowException:
                found = client.get_experiment_by_name(name)  # another training has made it just now
                if found is None:
                    raise
        if found.lifecycle_stage != "active":
            raise KgrecError(
                f"the experiment {name!r} of MLflow at {shown_address(self._address())} was deleted; restore it "
                f"(mlflow experiments restore --experiment-id {found.experiment_id}), or name another "
                "(--track-experiment)"
            )
        return str(found.experiment_id)

    def _start(self, client: Any, experiment: str, run: TrackedRun) -> None:
        """Begin a new run."""
        self._run = client.create_run(experiment, run_name=run.name[:LONGEST_KEY], tags=_tags(run)).info.run_id
        self._logged = (0, "")
        try:
            self._log_params(client, _params(run), {})
        except BaseException:
            with suppress(Exception):
                client.set_terminated(self._run, "FAILED")
            raise

    # ------------------------------------------------------------------ interrupted trainings

    def _known(self, client: Any, run: str | None) -> Any:
        """The run with this id, to go on with; None if there is none any more."""
        if run is None:
            return None
        try:
            found = client.get_run(run)
        except package().exceptions.MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        return found if found.info.lifecycle_stage == "active" else None

    def _mark_killed(self, client: Any, experiment: str, run: TrackedRun, known: Any) -> None:
        """Mark the runs of the same run folder as killed whose process is gone."""
        place = _place(run)
        if place is None:
            return
        left = f"attributes.status = 'RUNNING' and tags.`{PLACE}` = '{place}'"
        for one in client.search_runs([experiment], left):
            process = one.data.tags.get(PROCESS)
            if (known is None or one.info.run_id != known.info.run_id) and process and is_gone(json.loads(process)):
                client.set_terminated(one.info.run_id, "KILLED")

    def _go_on(self, client: Any, run: TrackedRun, known: Any) -> None:
        """Continue a run. Parameters of MLflow cannot be changed: a setting that is another now becomes a tag."""
        self._run = known.info.run_id
        client.update_run(self._run, status="RUNNING")
        params = _params(run)
        self._log_params(client, params, known.data.params)
        tags = {**_tags(run), RESUMED: str(int(known.data.tags.get(RESUMED, 0)) + 1)}
        for name, value in params.items():
            if known.data.params.get(name, value) != value:
                tags[f"kgrec.resumed.{name}"] = value
        for name, value in tags.items():
            client.set_tag(self._run, name, value)
        history = client.get_metric_history(self._run, f"{run.phase}/seconds")
        self._logged = max((one.step for one in history), default=0), run.phase

    # ------------------------------------------------------------------ logging

    def _log_params(self, client: Any, params: Mapping[str, str], known: Mapping[str, str]) -> None:
        param = package().entities.Param
        new = [param(name, value) for name, value in params.items() if name not in known]
        for first in range(0, len(new), PARAMS_AT_ONCE):
            client.log_batch(self._run, params=new[first : first + PARAMS_AT_ONCE])

    def _log_metrics(self, numbers: Mapping[str, float], step: int, at: float) -> None:
        metric, moment = package().entities.Metric, int(at * 1000)
        made = [metric(metric_key(name), value, moment, step) for name, value in numbers.items()]
        with calmly():
            for first in range(0, len(made), METRICS_AT_ONCE):
                self._client.log_batch(self._run, metrics=made[first : first + METRICS_AT_ONCE])


def metric_key(name: str) -> str:
    """The name of a metric or parameter in MLflow.

    >>> metric_key("valid/ndcg@10"), metric_key("train/loss ranking"), metric_key("f(x)=1")
    ('valid/ndcg_at_10', 'train/loss ranking', 'f_x__1')
    """
    return re.sub(r"[^\w./ :-]", "_", re.sub(r"/+", "/", name.replace("@", "_at_")))[:LONGEST_KEY].strip("/")


def _params(run: TrackedRun) -> dict[str, str]:
    """The parameters of a run. A text that is too long for MLflow is cut, with its length at the end."""
    graph = {f"graph.{name}": str(number) for name, number in run.graph.items()}
    texts = {**setting_texts(run.settings), **graph}
    return {metric_key(name): cut(value, LONGEST_PARAM) for name, value in texts.items()}


def _tags(run: TrackedRun) -> dict[str, str]:
    place = _place(run)
    tags = {f"kgrec.{name}": value for name, value in run.tags.items()}
    tags |= {PROCESS: json.dumps(this_process())}
    if run.out is not None and place is not None:
        tags |= {OUT: str(run.out.absolute()), PLACE: place}
    return {name: cut(value, LONGEST_TAG) for name, value in tags.items()}


def _place(run: TrackedRun) -> str | None:
    """What tells a run folder of this machine from all others; None if there is no run folder."""
    if run.out is None:
        return None
    return hashlib.sha256(f"{this_process()['host']}:{run.out.resolve()}".encode()).hexdigest()[:16]


def cut(text: str, most: int) -> str:
    """A text of at most so many characters.

    >>> cut("a" * 100, 40)
    'aaaaaaaaaaaaaaaa... (100 characters)'
    """
    end = f"... ({len(text):,} characters)"
    return text if len(text) <= most else text[: most - len(end)] + end

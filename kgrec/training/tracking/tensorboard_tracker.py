"""Follows trainings by TensorBoard's event files."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from kgrec.errors import KgrecError
from kgrec.training.tracking.setting_texts import setting_texts
from kgrec.training.tracking.tracker import Status, TrackedEpoch, TrackedResult, TrackedRun

if TYPE_CHECKING:
    from kgrec.training.job import TrainingJob

FOLDER = "tensorboard"  #: in the current folder, where nothing else is said


class TensorBoardTracker:
    """Writes each training to a folder of its own: `tensorboard --logdir FOLDER` shows them together.

    Scalars are the numbers of each epoch and of the result. The texts `settings`, `graph` and `about` say what was
    trained. The text `status` is `running` at the start and `finished`, `failed` or `killed` at the end; where it still
    says `running` and nothing is added any more, the process was killed.
    """

    def __init__(self, folder: str | Path = FOLDER, run: str | None = None) -> None:
        """folder: where the folders of trainings are. run: the folder of this one in it; "" is `folder` itself. None:
        the name of the run and the time of the start, such as mf.run-20260102-030405."""
        self.folder, self.run = Path(folder), run
        self._writer: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_writer": None}

    def check(self, job: TrainingJob) -> None:
        """Raise KgrecError if TensorBoard is not installed, or if the folder is inside the run folder."""
        _summary_writer()
        if job.out is None:
            return
        folder = self.folder.resolve()
        if {job.out.resolve(), job.checkpoint.resolve()} & {folder, *folder.parents}:
            raise KgrecError(
                f"the folder of TensorBoard's events, {self.folder}, is inside --out {job.out}; name a folder outside "
                "of it (--track-folder)"
            )

    def begin(self, run: TrackedRun) -> str:
        """Begin a folder of events, or go on in the one of an interrupted training. Returns the folder."""
        own = f"{run.name}-{time.strftime('%Y%m%d-%H%M%S')}" if self.run is None else self.run
        folder = Path(run.id) if run.id is not None else self.folder.absolute() / own
        # epochs that the interrupted training logged after its checkpoint are trained again
        again = {"purge_step": run.epoch + 1} if run.id is not None and run.phase == "train" else {}
        try:
            self._writer = _summary_writer()(str(folder), **again)
        except OSError as error:
            raise KgrecError(f"cannot write TensorBoard's events to {folder}: {error.strerror or error}") from error
        for name, values in (("settings", setting_texts(run.settings)), ("graph", run.graph), ("about", run.tags)):
            self._writer.add_text(name, _as_table(values))
        self._writer.add_text("status", "running", run.epoch)
        self._writer.flush()
        return str(folder)

    def log_epoch(self, epoch: TrackedEpoch) -> None:
        """Write the numbers of an epoch."""
        for name, value in epoch.numbers.items():
            self._writer.add_scalar(name, value, epoch.number, walltime=epoch.time)
        self._writer.flush()

    def log_result(self, result: TrackedResult) -> None:
        """Write the numbers of the result, at the last epoch."""
        for name, value in result.numbers.items():
            self._writer.add_scalar(name, value, result.epoch, walltime=result.time)
        if result.folder is not None:
            self._writer.add_text("run folder", str(result.folder.absolute()), result.epoch)

    def finish(self, status: Status) -> None:
        """Write the status, and close the files."""
        self._writer.add_text("status", status, 1)
        self._writer.close()
        self._writer = None


def _summary_writer() -> Any:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise KgrecError("--track tensorboard needs TensorBoard: pip install 'kgrec[tensorboard]'") from error
    return SummaryWriter


def _as_table(values: Any) -> str:
    """Names and values as a table in Markdown, which TensorBoard shows."""
    rows = [f"| {name} | {str(value).replace('|', chr(92) + '|')} |" for name, value in values.items()]
    return "\n".join(["| name | value |", "|---|---|", *rows])

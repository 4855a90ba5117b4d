"""Tracking: what follows a training, such as MLflow and TensorBoard. `kgrec.train(..., track=[...])` takes names, these
trackers, and your own."""

from kgrec.errors import TrackingWarning
from kgrec.training.tracking.mlflow_tracker import MlflowTracker
from kgrec.training.tracking.tensorboard_tracker import TensorBoardTracker
from kgrec.training.tracking.tracker import Status, TrackedEpoch, TrackedResult, TrackedRun, Tracker

__all__ = [
    "MlflowTracker",
    "Status",
    "TensorBoardTracker",
    "TrackedEpoch",
    "TrackedResult",
    "TrackedRun",
    "Tracker",
    "TrackingWarning",
]

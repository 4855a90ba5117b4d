"""Training: the job, the training loop, checkpoints, and the run folder that keeps the result."""

from kgrec._deprecation import renamed
from kgrec.training.config import AdversarialConfig, TrainingConfig
from kgrec.training.job import TrainingJob
from kgrec.training.perturbation import moved_vectors
from kgrec.training.processes import choose_device, make_fabric
from kgrec.training.trained_model import TrainedModel
from kgrec.training.trainer import Epoch, Trainer

__all__ = [
    "AdversarialConfig",
    "Epoch",
    "TrainedModel",
    "Trainer",
    "TrainingConfig",
    "TrainingJob",
    "choose_device",
    "make_fabric",
    "moved_vectors",
]

__getattr__ = renamed(__name__, {"Precision": "kgrec.training.config:Precision"})

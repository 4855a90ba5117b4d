"""Settings of the training that are the same for every model."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from kgrec.settings import settings

#: Settings of a training that say where and how it runs, not what it gives
OF_THE_MACHINE = ("device", "devices", "tensorboard")
Precision = Literal["32-true", "bf16-mixed"]


@settings
class AdversarialConfig:
    """Settings of adversarial regularisation. With weight 0 it is off."""

    epsilon: NonNegativeFloat = 0.5  #: how far each node's vector is moved (Euclidean distance)
    weight: NonNegativeFloat = 0.0  #: lambda, the weight of the loss at the moved vectors; 0: off
    begin: PositiveInt = 1  #: the first epoch that uses it

    def is_on(self, epoch: int) -> bool:
        """Whether an epoch (from 1) uses it."""
        return self.weight > 0 and epoch >= self.begin


@settings
class TrainingConfig:
    """How a model is trained. These settings are the same for every model."""

    epochs: PositiveInt = 50  #: the maximum number of epochs; without a validation set, the exact number
    validate_every: PositiveInt = 1  #: validate after every so many epochs
    #: stop after this many validations in a row without a better one, counted from the start of the last phase
    patience: PositiveInt = 10
    #: the metric that chooses the best epoch, such as ndcg@10; by default the usual one of the task
    metric: str | None = None
    #: the items among which the metric that chooses the best epoch is measured: all, only cold ones (without an
    #: interaction in train), or only warm ones; cold needs a split that holds out cold items, such as cold_items
    among: Literal["all", "cold", "warm"] = "all"
    seed: NonNegativeInt = 0  #: seed of all random numbers
    device: str = "auto"  #: where to train: auto, cpu, cuda or cuda:1
    devices: PositiveInt = 1  #: number of training processes; on CUDA each has its own device
    precision: Precision = "32-true"  #: number format: 32-true, or bf16-mixed (16 bits where that is safe)
    clip_norm: PositiveFloat | None = None  #: maximum norm of an objective's gradient; none: gradients are not clipped
    #: how learning rates fall; they reach 0 at the end of the last epoch, or of the objective's own last epoch
    lr_decay: Literal["none", "linear", "cosine"] = "none"
    #: a folder for TensorBoard's event files; the former name of `--track tensorboard --track-folder FOLDER`
    tensorboard: str | None = None
    #: divide the rows of the tables of vectors among the processes (row n to process n mod their number), with their
    #: optimizer's state; only vectors that a batch touches are updated. For tables that are too large for one process
    shard_vectors: bool = False
    #: adversarial regularisation: the loss is also taken at node vectors that are moved to where it rises most
    adversarial: AdversarialConfig = AdversarialConfig()

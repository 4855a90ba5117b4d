"""How long and how a model is trained: settings that are about no model."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from kgrec.settings import settings

Precision = Literal["32-true", "bf16-mixed", "64-true"]


@settings
class AdversarialConfig:
    """Settings of adversarial regularisation; with weight 0 there is none."""

    epsilon: NonNegativeFloat = 0.5  #: how far each node's vector is moved, as a length
    weight: NonNegativeFloat = 0.0  #: lambda, how much the loss at the moved vectors counts; 0: not at all
    begin: PositiveInt = 1  #: the first epoch with it

    def is_on(self, epoch: int) -> bool:
        """Whether an epoch (from 1) trains with it."""
        return self.weight > 0 and epoch >= self.begin


@settings
class TrainingConfig:
    """How long and how a model is trained. None of it is about which model."""

    epochs: PositiveInt = 50  #: how many epochs at most; without a validation set, exactly so many
    validate_every: PositiveInt = 1  #: epochs between validations
    #: stop after so many validations without a better one, counted from the last phase's start
    patience: PositiveInt = 10
    #: the metric that chooses the best epoch, such as ndcg@10; none: the usual one of the task
    metric: str | None = None
    seed: NonNegativeInt = 0  #: seed of all random numbers
    device: str = "auto"  #: where to train: auto, cpu, cuda or cuda:1
    devices: PositiveInt = 1  #: number of processes, each on a device of its own where there are such
    precision: Precision = "32-true"  #: bits of numbers: 32-true, 64-true, or bf16-mixed, 16 where it does no harm
    clip_norm: PositiveFloat | None = None  #: longest gradient of an objective, which is shortened to it; none: any
    lr_decay: Literal["none", "linear", "cosine"] = "none"  #: how every step size falls from its value to 0 at the
    #: last of `epochs`, or of an objective's own
    tensorboard: str | None = None  #: a folder for TensorBoard's events, written as training goes (an extra)
    adversarial: AdversarialConfig = AdversarialConfig()  #: losses also at vectors that are moved against the model

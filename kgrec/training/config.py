"""How long and how a model is trained: settings that are about no model."""

from __future__ import annotations

from typing import Literal

from pydantic import NonNegativeFloat, NonNegativeInt, PositiveFloat, PositiveInt

from kgrec.settings import settings

Precision = Literal["32-true", "bf16-mixed", "64-true"]


@settings
class AdversarialConfig:
    """Settings of adversarial regularisation; with weight 0 there is none."""

    epsilon: NonNegativeFloat = 0.5  #: how far each node's vector is moved
    weight: NonNegativeFloat = 0.0  #: of the loss at the moved vectors, lambda
    begin: PositiveInt = 1  #: the first epoch with it

    def is_on(self, epoch: int) -> bool:
        return self.weight > 0 and epoch >= self.begin


@settings
class TrainingConfig:
    """How long and how a model is trained. None of it is about which model."""

    epochs: PositiveInt = 50  #: at most; without a validation set exactly so many
    validate_every: PositiveInt = 1  #: epochs between validations
    patience: PositiveInt = 10  #: validations without a better one, counted from the last phase's start
    metric: str | None = None  #: chooses the best epoch; None: ndcg@10, or rmse for ratings
    seed: NonNegativeInt = 0
    device: str = "auto"  #: auto, cpu, cuda or cuda:1
    devices: PositiveInt = 1  #: processes, each on a device of its own where there are such
    precision: Precision = "32-true"
    clip_norm: PositiveFloat | None = None  #: of an objective's gradient
    lr_decay: Literal["none", "linear", "cosine"] = "none"  #: of every lr, step by step from its value to 0 at the last
    #: of `epochs`, or of an objective's own
    tensorboard: str | None = None  #: a folder for TensorBoard's events, written as training goes (an extra)
    adversarial: AdversarialConfig = AdversarialConfig()  #: losses also at vectors moved against the model

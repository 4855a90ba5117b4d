"""HSTU: pointwise attention over a user's history, which can read when steps were, predicts the next item."""

from __future__ import annotations

from kgrec.nn import NextItem, NextItemConfig, Transduction, TransductionConfig
from kgrec.nn.step_times import Times
from kgrec.settings import settings


@settings
class HSTUConfig(TransductionConfig, NextItemConfig):
    """Settings of HSTU."""

    #: what is read of times: none; steps, the time from each step to the one that attends to it; now, the time from
    #: each step to the moment when the next one is wanted (see `--now`), which training takes from the next step itself
    times: Times = "steps"


class HSTU(NextItem):
    """Hierarchical sequential transduction units (Zhai et al. 2024): see Transduction. Their weights are no
    distribution: they may be negative and sum to anything, so `attention` gives none, and `why` says how far scores
    fall without an item.

    Raises KgrecError in training for edges without a time, unless `times` is none."""

    Config = HSTUConfig
    paper = (
        "Zhai et al. 2024, Actions speak louder than words: trillion-parameter sequential transducers for generative "
        "recommendations, ICML"
    )

    @classmethod
    def make_encoder(cls, config: HSTUConfig) -> Transduction:
        return Transduction(config, config.dim, config.length, config.dropout, config.init_std)

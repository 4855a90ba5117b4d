"""eSASRec: SASRec's next-item objective with LiGR's gated blocks of self-attention and a sampled softmax."""

from __future__ import annotations

from pydantic import PositiveInt

from kgrec.nn import AttentionConfig, LiGRBlock, LossName, NextItem, NextItemConfig, SelfAttention, StepTimesConfig
from kgrec.settings import settings


@settings
class ESASRecConfig(StepTimesConfig, AttentionConfig, NextItemConfig):
    """Settings of eSASRec."""

    #: width of the SwiGLU feed-forward layers, as a multiple of `dim`, 4 in most of the paper's runs; wider ones can
    #: express more, and cost time
    feedforward: PositiveInt = 2
    #: loss of the next item: sampled_softmax compares it with negatives, corrected for how likely each is among them;
    #: softmax compares it with all items
    loss: LossName = "sampled_softmax"
    #: sample one set of `negatives` for the whole batch; false: own ones for each step, as in the paper, which takes
    #: longer
    shared: bool = True
    #: the true items of the batch's other steps are negatives too
    in_batch: bool = True


class ESASRec(NextItem):
    """Enhanced SASRec (Tikhonovich et al. 2025): a step predicts the next one, as in SASRec; see LiGRBlock for its
    blocks. By default the negatives are mixed: `negatives` items that are drawn for the batch, uniformly or by
    popularity (`alpha`), and the true items of its other steps."""

    Config = ESASRecConfig
    paper = "Tikhonovich et al. 2025, eSASRec: enhancing transformer-based recommendations in a modular fashion, RecSys"

    @classmethod
    def make_encoder(cls, config: ESASRecConfig) -> SelfAttention:
        c = config
        return SelfAttention(c, c.dim, c.length, c.dropout, c.init_std, block=LiGRBlock, times=c.times)

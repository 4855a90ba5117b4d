"""BERT4Rec: steps of a path are hidden, and filled in from both sides."""

from torch import Tensor, nn

from kgrec import Graph
from kgrec.nn import MaskingConfig, NextItem, NextItemConfig, Paths, SelfAttention, SelfAttentionConfig
from kgrec.settings import settings


@settings
class BERT4RecConfig(MaskingConfig, SelfAttentionConfig, NextItemConfig):
    """Settings of BERT4Rec."""

    heads: int = 2  #: attention heads of a block
    feedforward: int = 4  #: width of the feed-forward layers, in multiples of dim
    item_bias: bool = True  #: a bias for each item in the scores


class BERT4Rec(NextItem):
    """Self-attention over the whole path, of which some steps are a learned vector `mask`; the scores of a hidden step
    are GELU(h W + b) E' + b_items (eq. 7). A user's next item is a hidden step after the last."""

    Config = BERT4RecConfig
    paper = "Sun et al. 2019, BERT4Rec: sequential recommendation with bidirectional encoder, CIKM"

    def __init__(self, graph: Graph, config: BERT4RecConfig) -> None:
        super().__init__(graph, config, masking=config)
        how = (config, config.dim, config.length, config.dropout, config.init_std)
        self.encoder = SelfAttention(*how, causal=False)
        self.head = nn.Sequential(nn.Linear(config.dim, config.dim), nn.GELU(), nn.LayerNorm(config.dim))

    def encode(self, steps: Tensor, paths: Paths) -> Tensor:
        return self.head(self.encoder(steps, paths))

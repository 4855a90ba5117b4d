"""Layers that several models share."""

from kgrec.nn.adversarial import AdversarialRanking, AdversarialRankingConfig, End, base_fields
from kgrec.nn.aggregator import Aggregator, AggregatorName
from kgrec.nn.attentive_gru import AttentiveGRU
from kgrec.nn.computed_vectors import Vectors
from kgrec.nn.dropout import Dropout
from kgrec.nn.edge_model import EdgeModel, EdgeModelConfig
from kgrec.nn.embedding import NodeEmbedding, cosine, dot, vector_tables
from kgrec.nn.entries import entries
from kgrec.nn.exportable import exportable
from kgrec.nn.graph_edge_model import GraphEdgeModel
from kgrec.nn.grouped import grouped_product
from kgrec.nn.gru import GRU, RecurrentEncoder
from kgrec.nn.kg_encoder import KGEncoder, KGEncoderConfig
from kgrec.nn.label_loss import label_loss, label_of, mean_score, squares
from kgrec.nn.ligr import LiGRBlock, SwiGLU
from kgrec.nn.link_model import KGELinkModel, LinkModel, LinkModelConfig, LinkScorer
from kgrec.nn.next_item import MaskingConfig, NextItem, NextItemConfig, Paths
from kgrec.nn.node_features import NodeFeatures, NodeFeaturesConfig, require_features
from kgrec.nn.pair_mlp import PairMLP, PairMLPConfig
from kgrec.nn.propagation import Adjacency, symmetric
from kgrec.nn.ranking_loss import Drawn, LossName, RankingLoss, RankingLossConfig, linear_product, product
from kgrec.nn.relation_space import TransR
from kgrec.nn.self_attention import (
    AttentionBlock,
    AttentionConfig,
    SelfAttention,
    SelfAttentionConfig,
    TransformerBlock,
)
from kgrec.nn.sequence_encoder import SequenceEncoder
from kgrec.nn.step_times import StepTimesConfig
from kgrec.nn.transduction import Transduction, TransductionConfig
from kgrec.nn.watch import Watch, distinct_share, entropy_share

__all__ = [
    "GRU",
    "Adjacency",
    "AdversarialRanking",
    "AdversarialRankingConfig",
    "Aggregator",
    "AggregatorName",
    "AttentionBlock",
    "AttentionConfig",
    "AttentiveGRU",
    "Drawn",
    "Dropout",
    "EdgeModel",
    "EdgeModelConfig",
    "End",
    "GraphEdgeModel",
    "KGELinkModel",
    "KGEncoder",
    "KGEncoderConfig",
    "LiGRBlock",
    "LinkModel",
    "LinkModelConfig",
    "LinkScorer",
    "LossName",
    "MaskingConfig",
    "NextItem",
    "NextItemConfig",
    "NodeEmbedding",
    "NodeFeatures",
    "NodeFeaturesConfig",
    "PairMLP",
    "PairMLPConfig",
    "Paths",
    "RankingLoss",
    "RankingLossConfig",
    "RecurrentEncoder",
    "SelfAttention",
    "SelfAttentionConfig",
    "SequenceEncoder",
    "StepTimesConfig",
    "SwiGLU",
    "TransR",
    "Transduction",
    "TransductionConfig",
    "TransformerBlock",
    "Vectors",
    "Watch",
    "base_fields",
    "cosine",
    "distinct_share",
    "dot",
    "entries",
    "entropy_share",
    "exportable",
    "grouped_product",
    "label_loss",
    "label_of",
    "linear_product",
    "mean_score",
    "product",
    "require_features",
    "squares",
    "symmetric",
    "vector_tables",
]

"""Layers that several models share."""

from kgrec.nn.embedding import NodeEmbedding

__all__ = ["NodeEmbedding"]

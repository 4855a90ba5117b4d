"""Layers that several models share."""

from kgrec.nn.embedding import NodeEmbedding, dot

__all__ = ["NodeEmbedding", "dot"]

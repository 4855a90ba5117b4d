"""Samplers: graph to batches. Seeds say what one example is, stages add what a model wants to see."""

from kgrec.samplers.batch import Batch, Stream
from kgrec.samplers.loader import Batches, Both, Loader, Seeds, Stage
from kgrec.samplers.negatives import Negatives
from kgrec.samplers.neighbors import Neighborhood, Neighbors
from kgrec.samplers.seeds import Edges, Nodes
from kgrec.samplers.sequences import History, Sequences
from kgrec.samplers.ways import Ways

__all__ = [
    "Batch",
    "Batches",
    "Both",
    "Edges",
    "History",
    "Loader",
    "Negatives",
    "Neighborhood",
    "Neighbors",
    "Nodes",
    "Seeds",
    "Sequences",
    "Stage",
    "Stream",
    "Ways",
]

"""Samplers turn a graph into batches. Seeds define what one example is; stages add what a model needs, such as
negatives."""

from kgrec._deprecation import renamed
from kgrec.samplers.batch import Batch, Stream
from kgrec.samplers.directions import Directions
from kgrec.samplers.loader import Batches, CombinedLoader, Loader, Seeds, Stage
from kgrec.samplers.masked import Masked
from kgrec.samplers.negatives import Negatives
from kgrec.samplers.neighborhood import Neighborhood
from kgrec.samplers.neighbors import Neighbors
from kgrec.samplers.seeds import Edges, Nodes
from kgrec.samplers.sequences import History, Sequences

__all__ = [
    "Batch",
    "Batches",
    "CombinedLoader",
    "Directions",
    "Edges",
    "History",
    "Loader",
    "Masked",
    "Negatives",
    "Neighborhood",
    "Neighbors",
    "Nodes",
    "Seeds",
    "Sequences",
    "Stage",
    "Stream",
]

__getattr__ = renamed(__name__, {"Ways": "Directions", "Both": "CombinedLoader"})

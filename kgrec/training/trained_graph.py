"""The edges that a run was trained on, of all that it knows: those of valid are known too, and were held out."""

from __future__ import annotations

import torch

from kgrec.graph import Graph
from kgrec.training.trained_model import TrainedModel


def trained_graph(run: TrainedModel, graph: Graph) -> Graph:
    """A run's graph without the target edges that were held out for validation; all of it where these cannot be found.

    A run folder keeps how many target edges of each node training saw. Where those of valid are the last of each user
    by time (last_n, by_time), as the counts of items confirm, they are found by that. graph: on the CPU, the run's
    whole graph or its target edges."""
    trained = run.trained
    if trained is None:
        return graph
    if trained.graph.edge_types == graph.edge_types and trained.graph.num_edges < graph.num_edges:
        return trained.graph.to(graph.device)  # in this process
    known = graph.only(graph.target)
    num_out, num_in = trained.num_out.to(known.device), trained.num_in.to(known.device)
    if int(num_out.sum()) == known.num_edges:
        return graph
    csr, nodes = known.csr, torch.arange(known.num_nodes, device=known.device)
    row = nodes.repeat_interleave(csr.degree())
    place = torch.arange(known.num_edges, device=known.device) - csr.ptr[row]
    kept = torch.empty(known.num_edges, dtype=torch.bool, device=known.device)
    kept[csr.edge] = place < num_out[row]
    if not torch.equal(torch.bincount(known.tail[kept], minlength=known.num_nodes + 1), num_in.long()):
        return graph
    return graph.where_target(kept)

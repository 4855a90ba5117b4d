"""Mult-VAE: a variational autoencoder of what a user has, with a multinomial likelihood."""

import torch
from torch import Tensor, nn
from torch.nn import functional

from kgrec import Graph, Loader, Nodes, Objective, Query, Recommender
from kgrec.rows import NodeRows, declare_rows
from kgrec.samplers import Batch
from kgrec.settings import settings


@settings
class MultVAEConfig:
    """Settings of Mult-VAE."""

    hidden: int = 600  #: width of the layer between items and code, both ways
    dim: int = 200  #: of the code z
    dropout: float = 0.5  #: of the items that are read
    beta: float = 0.2  #: the greatest weight of the KL divergence
    anneal_epochs: int = 50  #: in which that weight rises from 0
    batch_size: int = 500  #: users in a batch
    lr: float = 1e-3  #: step size of the optimizer


class MultVAE(Recommender):
    """log p(x | z) is the sum over the user's items of log softmax f(z), with z ~ N(mu(x), sigma(x)^2) in training and
    mu(x) to serve (secs. 2.1 and 2.3); a user is the 0-1 row x of its items."""

    Config = MultVAEConfig
    paper = "Liang et al. 2018, Variational autoencoders for collaborative filtering, WWW"
    reads_history = True

    def __init__(self, graph: Graph, config: MultVAEConfig) -> None:
        super().__init__(graph, config)
        self.items = graph.range(graph.target[2])
        self.encoder = nn.Sequential(
            nn.Linear(len(self.items), config.hidden), nn.Tanh(), nn.Linear(config.hidden, 2 * config.dim)
        )
        self.decoder = nn.Sequential(
            nn.Linear(config.dim, config.hidden), nn.Tanh(), nn.Linear(config.hidden, len(self.items))
        )
        items = NodeRows.of(graph, graph.target[2])
        declare_rows(self.decoder[2], weight=items, bias=items)

    def objectives(self, graph: Graph) -> list[Objective]:
        known = graph.only(graph.target)
        self.drawn = graph.drawable(graph.target[2]) - self.items.start  # the classes of the softmax
        users = Loader(Nodes(known, known.target[0]), batch_size=self.config.batch_size)
        return [Objective("elbo", users, self.loss, list(self.parameters()), lr=self.config.lr)]

    def begin(self, epoch: int) -> None:
        self.beta = self.config.beta * min(1.0, (epoch - 1) / max(1, self.config.anneal_epochs))

    def encode(self, row: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and log variance of the codes of rows [B, I]: each [B, dim]."""
        row = functional.dropout(functional.normalize(row), self.config.dropout, self.training)
        mean, log_variance = self.encoder(row).chunk(2, dim=-1)
        return mean, log_variance

    def loss(self, batch: Batch) -> Tensor:
        """The negative evidence lower bound (eq. 7), a mean over users."""
        row = batch.multi_hot(self.items)
        mean, log_variance = self.encode(row)
        code = mean + torch.randn_like(mean) * (0.5 * log_variance).exp()
        log_share = self.decoder(code)[:, self.drawn].log_softmax(-1)
        divergence = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).sum(-1)
        return (self.beta * divergence - (log_share * row[:, self.drawn]).sum(-1)).mean()

    def score(self, query: Query, items: Tensor) -> Tensor:
        scores = self.decoder(self.encode(query.multi_hot(self.items))[0])
        local = items - self.items.start
        return scores[:, local] if items.dim() == 1 else scores.gather(1, local)

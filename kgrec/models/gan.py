"""GAN: a network that makes a user's interactions out of noise, and one that tells them from real ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from itertools import pairwise
from typing import Annotated, ClassVar, Literal

import torch
from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt
from torch import Tensor, nn
from torch.nn import functional

from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.model import Objective, Query, Recommender
from kgrec.nn import NodeEmbedding, NodeFeaturesConfig, Watch, distinct_share, dot, entropy_share, squares
from kgrec.rows import NodeRows, declare_rows
from kgrec.samplers import Batch, Loader, Nodes
from kgrec.settings import Depth, settings

Value = Literal["minmax", "nonsaturating", "wasserstein"]
Share = Annotated[float, Field(ge=0, le=1)]

CHUNK = 1024  #: users whose vectors of interactions are held at once
WATCHED = 2048  #: users at most whose generated lists are looked at after each epoch
TOP = 10  #: items of a list that is looked at
SLOPE = 0.2  #: of the discriminator's leaky ReLU below 0
HINTS = {
    "collapsed": "lower g_lr, raise zr_weight, or set value=wasserstein",
    "blind": "raise d_lr, or widen d_hidden",
    "perfect": "lower d_lr, raise d_l2, or set value=wasserstein",
}


@settings
class GANConfig(NodeFeaturesConfig):
    """Settings of GAN."""

    #: what both networks see of a user; none: nothing
    condition: Literal["history", "features"] | None = "history"
    #: the two losses: of a critic with gradient penalty, or of the original game in either form
    value: Value = "wasserstein"
    gp_weight: NonNegativeFloat = 10.0  #: weight of the gradient penalty, with `value: wasserstein`
    alternate: Literal["batch", "epoch"] = "batch"  #: after what it is the other network that learns
    noise_dim: PositiveInt = 16  #: numbers in a noise vector
    draws: Depth = 8  #: noise vectors; a score is the mean over them
    dim: PositiveInt = 128  #: numbers in an item's vector, and in the generator's last hidden layer
    hidden: tuple[PositiveInt, ...] = ()  #: widths of the generator's hidden layers before the last
    #: widths of the discriminator's hidden layers
    d_hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64,)
    masking: Share = 0.5  #: share of a user's unobserved items that the discriminator sees besides the observed; 1: all
    zr_share: Share = 0.5  #: share of a user's unobserved items that are drawn to 0
    zr_weight: NonNegativeFloat = 0.1  #: weight of the squares of what is generated for these
    condition_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.5  #: chance in training that an item of the history is
    #: left out of the condition, so that the generator cannot copy it
    batch_size: PositiveInt = 64  #: users in a batch
    g_lr: PositiveFloat = 1e-3  #: step size of the generator's optimizer
    d_lr: PositiveFloat = 3e-3  #: step size of the discriminator's optimizer
    g_l2: NonNegativeFloat = 1e-4  #: weight of the squares of all the generator's parameters
    d_l2: NonNegativeFloat = 0.0  #: weight of the squares of all the discriminator's parameters
    init_std: PositiveFloat = 0.1  #: standard deviation of the items' vectors at the start

    FORMER: ClassVar = {"turn": "alternate"}


class GAN(Recommender):
    """x^ = G(z, c), a number in (0, 1) for every item, from noise z ~ N(0, I) and the user's condition c, which is the
    0-1 row of its history (CFGAN, Chae et al. 2018), its columns (`features`), or nothing; the score of an item is the
    mean of its x^ over fixed noise. D(x, c) is the logit that a row is a real one.

    `value: minmax` is E[log D(x)] + E[log(1 - D(G(z)))] (Goodfellow et al. 2014, eq. 1; under a condition Mirza &
    Osindero 2014, eq. 2), `nonsaturating` lets G raise E[log D(G(z))] in its place (their sec. 3), and `wasserstein`
    is a critic with gradient penalty (Gulrajani et al. 2017, eq. 3).

    D sees x^ * (e + k), where e is 1 at the user's items and k at a drawn share of the others (partial masking), and G
    also minimises the squares of x^ at a drawn share of them (zero reconstruction; both: CFGAN, eqs. 5-7). Each is
    drawn anew for every batch, item by item. What training withholds is never drawn, nor a user for themselves.

    G's last layer is h . v_i + b_i with the items' own vectors v; a user's vector is the mean of h over the noise.
    """

    Config = GANConfig
    paper = (
        "Chae et al. 2018, CFGAN: a generic collaborative filtering framework based on generative adversarial "
        "networks, CIKM"
    )
    reads_history = True

    def __init__(self, graph: Graph, config: GANConfig) -> None:
        """Raises KgrecError where the condition is of features and the users have none of those asked for."""
        super().__init__(graph, config)
        self.reads_history = config.condition == "history"  # type: ignore[misc]  # a new user is its history alone
        self.users, self.items = graph.range(graph.target[0]), graph.range(graph.target[2])
        self.generator = Generator(graph, config)
        self.discriminator = Discriminator(graph, config)
        self.noise: Tensor  #: FloatTensor [draws, Z], the same for all users
        self.register_buffer("noise", torch.randn(config.draws, config.noise_dim))
        self.drawable: Tensor  #: FloatTensor [I], 0 for what training withholds
        self.register_buffer("drawable", torch.zeros(len(self.items)), persistent=False)
        self.drawable[graph.drawable(graph.target[2]) - self.items.start] = 1
        self.place: Tensor  #: LongTensor [I], the items' own numbers
        self.register_buffer("place", torch.arange(len(self.items)), persistent=False)
        self.known: Nodes | None = None  #: the users in training with their items
        #: rows of this epoch that D classified correctly, or the sum of a critic's distances
        self.correct: Tensor | float = 0.0
        self.num_judged = 0  #: all rows of this epoch, or pairs of a real and a generated one
        self.found: dict[str, float] = {}
        self.problems: list[str] = []

    def objectives(self, graph: Graph) -> list[Objective]:
        c, known = self.config, graph.only(graph.target)
        self.known = Nodes(known, known.target[0])
        self.watch = self._watch()
        users = Loader(self.known, batch_size=c.batch_size)
        interleave = "adversaries" if c.alternate == "batch" else None
        return [
            Objective(
                "discriminator",
                users,
                self.discriminator_loss,
                list(self.discriminator.parameters()),
                calm_adam,
                c.d_lr,
                interleave=interleave,
                penalty=self.discriminator_penalty if c.d_l2 else None,
            ),
            Objective(
                "generator",
                users,
                self.generator_loss,
                list(self.generator.parameters()),
                calm_adam,
                c.g_lr,
                interleave=interleave,
                penalty=self.generator_penalty if c.g_l2 else None,
            ),
        ]

    # ------------------------------------------------------------------ training

    def discriminator_loss(self, batch: Batch) -> Tensor:
        """What D minimises over users with their items: its part of the value, and `d_l2`."""
        c = self.config
        real, condition = self._rows(batch)
        with torch.no_grad():
            made = self.generator(self._noise(len(real)), condition) * (real + self._some(batch, real, c.masking))
        of_real, of_made = self.discriminator(real, condition), self.discriminator(made, condition)
        loss = judges_loss(c.value, of_real, of_made)
        if c.value == "wasserstein":
            self.correct, self.num_judged = self.correct - loss.detach() * len(real), self.num_judged + len(real)
            judge = lambda row: self.discriminator(row, condition)  # noqa: E731
            share = torch.rand(len(real), 1, device=real.device)
            loss = loss + c.gp_weight * gradient_penalty(judge, share * real + (1 - share) * made)
        else:
            correct = num_right(of_real, of_made)
            self.correct, self.num_judged = self.correct + correct, self.num_judged + 2 * len(real)
        return loss + self.discriminator_penalty(batch) if c.d_l2 else loss

    def generator_loss(self, batch: Batch) -> Tensor:
        """What G minimises over users with their items: its part of the value, zero reconstruction, and `g_l2`."""
        c = self.config
        real, condition = self._rows(batch)
        made = self.generator(self._noise(len(real)), condition)
        loss = makers_loss(c.value, self.discriminator(made * (real + self._some(batch, real, c.masking)), condition))
        if c.zr_weight:
            loss = loss + c.zr_weight * zero_reconstruction(made, self._some(batch, real, c.zr_share))
        return loss + self.generator_penalty(batch) if c.g_l2 else loss

    def discriminator_penalty(self, batch: Batch) -> Tensor:
        """What of D's loss is regularisation."""
        return self.config.d_l2 * squares(self.discriminator)

    def generator_penalty(self, batch: Batch) -> Tensor:
        """What of G's loss is regularisation."""
        return self.config.g_l2 * squares(self.generator)

    def _rows(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The users' real rows, FloatTensor [B, I], and their conditions, of which training leaves something out."""
        real = batch.multi_hot(self.items)
        if not self.reads_history:
            return real, batch.head
        return real, real * (torch.rand_like(real) >= self.config.condition_dropout)

    def _noise(self, number: int) -> Tensor:
        return torch.randn(number, self.config.noise_dim, device=self.noise.device)

    def _some(self, batch: Batch, real: Tensor, share: float) -> Tensor:
        """Which unobserved items are drawn, each with this chance, and nobody for themselves: FloatTensor [B, I]."""
        drawn = some_unobserved(real, share) * self.drawable
        return drawn if self.users != self.items else drawn * (batch.head.unsqueeze(1) - self.users.start != self.place)

    # ------------------------------------------------------------------ what it makes

    def condition(self, query: Query) -> Tensor:
        """What G and D see of users: the 0-1 rows of their histories, FloatTensor [B, I], else their flat numbers,
        LongTensor [B]."""
        return query.multi_hot(self.items) if self.reads_history else query.user

    def _condition(self, batch: Batch) -> Tensor:
        """The same of users in training."""
        return batch.multi_hot(self.items) if self.reads_history else batch.head

    def score(self, query: Query, items: Tensor) -> Tensor:
        maker = self.generator
        condition, of_item = maker.condition(self.condition(query)), maker.bias(items).squeeze(-1) + maker.mean
        made = torch.zeros((), device=items.device)
        for noise in self.noise:
            made = made + (dot(maker.hidden(noise, condition), maker.item, items) + of_item).sigmoid()
        return made / len(self.noise)

    def refresh(self) -> None:
        """Keep the vectors of the users in training, and look at what is made for them."""
        if self.known is None:
            return
        number, device = len(self.known), self.noise.device
        for index in torch.arange(number, device=device).split(CHUNK):
            batch = self.known[index]
            condition = self.generator.condition(self._condition(batch))
            hidden = torch.stack([self.generator.hidden(noise, condition) for noise in self.noise])
            self.generator.user_vector[batch.head - self.users.start] = hidden.mean(0)
        total, lists = torch.zeros(len(self.items), device=device), []
        for index in _spread(number, device).split(CHUNK):
            batch = self.known[index]
            made = self.generator(self.noise[index % len(self.noise)], self._condition(batch))
            total += made.sum(0)
            lists.append(made.topk(min(TOP, len(self.items))).indices.flatten())
        entropy, distinct = entropy_share(total), distinct_share(torch.cat(lists), len(self.items))
        self.found = {"entropy": entropy, "distinct": distinct}
        accuracy = None
        if self.config.value == "wasserstein":
            self.found["distance"] = float(self.correct) / max(1, self.num_judged)
        else:
            accuracy = self.found["d_accuracy"] = float(self.correct) / max(1, self.num_judged)
        self.problems = self.watch.warnings(entropy, distinct, accuracy)

    def begin(self, epoch: int) -> None:
        self.correct, self.num_judged = 0.0, 0

    def diagnostics(self) -> Mapping[str, float]:
        """`entropy`: of the mean generated row, a share of the most there can be; `distinct`: share of the catalog in
        the lists of the first 10 generated for users in training, each by one noise vector; `d_accuracy`: share of the
        real and generated rows of the epoch that D knew for what they are, or, of a critic, `distance`: its mean on
        real rows less that on generated ones."""
        return self.found

    def warnings(self) -> list[str]:
        return self.problems

    def _watch(self) -> Watch:
        """What the real rows look like, to hold the generated ones against."""
        assert self.known is not None
        count, lists = torch.zeros(len(self.items)), []
        for index in _spread(len(self.known), self.known.device).split(CHUNK):
            row = self.known[index].multi_hot(self.items)
            count += row.sum(0).cpu()
            first = row.topk(min(TOP, len(self.items)))
            lists.append(first.indices[first.values > 0].cpu())
        return Watch(entropy_share(count), distinct_share(torch.cat(lists), len(self.items)), HINTS)


def _spread(number: int, device: torch.device) -> Tensor:
    """At most WATCHED of so many users, evenly spread: LongTensor [n]."""
    return torch.arange(0, number, max(1, -(-number // WATCHED)), device=device)


# ---------------------------------------------------------------------- networks


class Condition(nn.Module):
    """A vector of what a network sees of a user: the sum of its history's vectors / sqrt(their number), that of its
    columns, or zeros."""

    def __init__(self, graph: Graph, config: GANConfig, width: int) -> None:
        super().__init__()
        self.is_history = config.condition == "history"
        known, (source, _, target) = graph.only(graph.target), graph.target
        self.table: NodeEmbedding | None = None
        if self.is_history:
            self.table = NodeEmbedding(known, target, width, config.init_std, config)
        elif config.condition == "features":
            if not config.features:
                raise KgrecError(
                    "condition=features tells the generator a user's columns; set features=all or name some"
                )
            self.table = NodeEmbedding(known, source, width, config.init_std, replace(config, id_embedding=False))

    def forward(self, condition: Tensor) -> Tensor:
        """condition: FloatTensor [B, I], 0-1 rows of histories, else LongTensor [B], users. Returns [B, W]."""
        if self.table is None:
            return torch.zeros(len(condition), 1, device=condition.device)
        if not self.is_history:
            return self.table(condition)
        vector: Tensor = condition @ self.table.table()
        return vector / condition.sum(1, keepdim=True).clamp(min=1).sqrt()


class Generator(nn.Module):
    """Noise and a condition to a number in (0, 1) for every item."""

    def __init__(self, graph: Graph, config: GANConfig) -> None:
        super().__init__()
        known, (source, _, target) = graph.only(graph.target), graph.target
        widths = (*config.hidden, config.dim)
        self.item = NodeEmbedding(known, target, config.dim, config.init_std, config)
        self.bias = NodeEmbedding(known, target, 1, std=0.0)
        self.condition = Condition(graph, config, widths[0])
        self.noise = nn.Linear(config.noise_dim, widths[0])
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.mean: Tensor  #: FloatTensor [], the logit of the share of all pairs that are interactions
        pairs = len(graph.range(source)) * len(graph.range(target))
        self.register_buffer("mean", torch.tensor(known.num_edges / max(1, pairs)).clamp(max=0.5).logit(eps=1e-6))
        self.user_vector: Tensor  #: FloatTensor [U + 1, D], zeros for users without a history
        self.register_buffer("user_vector", torch.zeros(len(graph.range(source)) + 1, config.dim))
        declare_rows(self, user_vector=NodeRows.of(graph, source, computed=True))

    def forward(self, noise: Tensor, condition: Tensor) -> Tensor:
        """noise: FloatTensor [B, Z]; condition: as in Condition. Returns x^, FloatTensor [B, I]."""
        return self.logits(noise, condition).sigmoid()

    def logits(self, noise: Tensor, condition: Tensor) -> Tensor:
        """The logits of x^: FloatTensor [B, I]."""
        hidden = self.hidden(noise, self.condition(condition))
        return hidden @ self.item.table().T + self.bias.table().T + self.mean

    def hidden(self, noise: Tensor, condition: Tensor) -> Tensor:
        """The last hidden layer h, [B, D]. noise: [Z] or [B, Z]; condition: [B, W], vectors that Condition makes."""
        hidden = torch.tanh(condition + self.noise(noise))
        for layer in self.layers:
            hidden = torch.tanh(layer(hidden))
        return hidden


class Discriminator(nn.Module):
    """The logit that a row of interactions is a real one, or a critic's value."""

    def __init__(self, graph: Graph, config: GANConfig) -> None:
        super().__init__()
        widths = config.d_hidden
        self.item = NodeEmbedding(graph.only(graph.target), graph.target[2], widths[0], config.init_std, config)
        self.condition = Condition(graph, config, widths[0])
        self.bias = nn.Parameter(torch.zeros(widths[0]))
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in pairwise(widths))
        self.out = nn.Linear(widths[-1], 1, bias=config.value != "wasserstein")  # only differences of a critic count

    def forward(self, row: Tensor, condition: Tensor) -> Tensor:
        """row: FloatTensor [B, I]; condition: as in Condition. Returns FloatTensor [B]."""
        vector = row @ self.item.table() + self.condition(condition) + self.bias
        for layer in self.layers:
            vector = layer(functional.leaky_relu(vector, SLOPE))
        logit: Tensor = self.out(functional.leaky_relu(vector, SLOPE))
        return logit.squeeze(-1)


def calm_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam that forgets sooner where it was going, since the other player moves (beta_1 = .5: Radford et al. 2016)."""
    return torch.optim.Adam(parameters, lr=lr, betas=(0.5, 0.99), fused=True)


# ---------------------------------------------------------------------- losses


def judges_loss(value: Value, of_real: Tensor, of_made: Tensor) -> Tensor:
    """What D minimises: -E[log D(x)] - E[log(1 - D(G(z)))] (Goodfellow et al. 2014, eq. 1), or a critic's
    E[D(G(z))] - E[D(x)] (Gulrajani et al. 2017, eq. 3). of_real, of_made: logits of D, [B].

    >>> round(judges_loss("minmax", torch.zeros(1), torch.zeros(1)).item(), 4)  # 2 log 2
    1.3863
    """
    if value == "wasserstein":
        return of_made.mean() - of_real.mean()
    return functional.softplus(-of_real).mean() + functional.softplus(of_made).mean()


def makers_loss(value: Value, of_made: Tensor) -> Tensor:
    """What G minimises: E[log(1 - D(G(z)))] (minmax), -E[log D(G(z))] (nonsaturating), or -E[D(G(z))] (wasserstein).
    of_made: logits of D, [B].

    >>> [round(makers_loss(value, torch.zeros(1)).item(), 4) for value in ("minmax", "nonsaturating")]
    [-0.6931, 0.6931]
    """
    match value:
        case "minmax":
            return -functional.softplus(of_made).mean()
        case "nonsaturating":
            return functional.softplus(-of_made).mean()
        case "wasserstein":
            return -of_made.mean()


def gradient_penalty(judge: Callable[[Tensor], Tensor], row: Tensor) -> Tensor:
    """E[(|gradient of D at a row| - 1)^2] (Gulrajani et al. 2017, eq. 3). judge: rows [B, I] to [B]; row: [B, I],
    between a real and a generated one."""
    row = row.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(judge(row).sum(), row, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def some_unobserved(real: Tensor, share: float) -> Tensor:
    """Which items that a row lacks are drawn, each with this chance: FloatTensor [B, I] of 0 and 1. real: the same."""
    return (torch.rand_like(real) < share) * (1 - real)


def zero_reconstruction(made: Tensor, drawn: Tensor) -> Tensor:
    """The squares of what is made for drawn items, summed over items, mean over users (CFGAN, eq. 5). Both [B, I]."""
    return (made.square() * drawn).sum(1).mean()


def num_right(of_real: Tensor, of_made: Tensor) -> Tensor:
    """How many rows D knows for what they are: LongTensor []. of_real, of_made: its logits, [B]."""
    return (of_real > 0).sum() + (of_made < 0).sum()

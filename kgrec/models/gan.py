"""GAN: one network generates a user's interactions from noise, another tries to tell them from real ones."""

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
from kgrec.nn.steady_products import SteadyLinear, product
from kgrec.optimizers import Adam
from kgrec.rows import NodeRows, declare_rows
from kgrec.samplers import Batch, Loader, Nodes
from kgrec.search_ranges import Between
from kgrec.settings import Depth, settings

Value = Literal["minmax", "nonsaturating", "wasserstein"]
Share = Annotated[float, Field(ge=0, le=1)]

CHUNK = 1024  #: users whose rows of interactions are held in memory at once
WATCHED = 2048  #: most users whose generated lists are examined after each epoch
TOP = 10  #: items of a list that are examined
SLOPE = 0.2  #: slope of the discriminator's leaky ReLU below 0
HINTS = {
    "collapsed": "lower g_lr, raise zr_weight, or set value=wasserstein",
    "blind": "raise d_lr, or widen d_hidden",
    "perfect": "lower d_lr, raise d_l2, or set value=wasserstein",
}


@settings
class GANConfig(NodeFeaturesConfig):
    """Settings of GAN."""

    #: what both networks know of a user: the history, the features, or nothing (none)
    condition: Literal["history", "features"] | None = "history"
    #: form of the game: wasserstein is a critic with gradient penalty; minmax and nonsaturating are the original GAN's
    #: two losses
    value: Value = "wasserstein"
    #: with `value: wasserstein`, weight of the gradient penalty; 10 is the usual value
    gp_weight: NonNegativeFloat = 10.0
    #: when training switches between the two networks: after each batch or after each epoch
    alternate: Literal["batch", "epoch"] = "batch"
    noise_dim: PositiveInt = 16  #: length of a noise vector
    draws: Depth = 8  #: number of fixed noise vectors; a score is the mean over them, so more are steadier and slower
    #: length of an item's vector, and width of the generator's last hidden layer
    dim: Annotated[PositiveInt, Between(32, 512, log=True)] = 128
    hidden: tuple[PositiveInt, ...] = ()  #: widths of the generator's hidden layers before the last; empty: none
    #: widths of the discriminator's hidden layers; widen them where it does no better than chance
    d_hidden: Annotated[tuple[PositiveInt, ...], Field(min_length=1)] = (64,)
    #: share of a user's unobserved items that the discriminator sees besides the observed ones; 1: all
    masking: Annotated[Share, Between(0.0, 0.9)] = 0.5
    #: share of a user's unobserved items whose generated values are pulled to 0 (zero reconstruction)
    zr_share: Share = 0.5
    #: weight of zero reconstruction in the generator's loss; raise it where all users get the same few items
    zr_weight: NonNegativeFloat = 0.1
    #: probability that training leaves an item of the history out of the condition, so that the generator cannot just
    #: copy it
    condition_dropout: Annotated[float, Field(ge=0, lt=1), Between(0.0, 0.8)] = 0.5
    batch_size: PositiveInt = 64  #: users in a training batch; larger batches are faster and need more memory
    #: learning rate of the generator; lower it where the generator collapses
    g_lr: Annotated[PositiveFloat, Between(1e-4, 1e-2, log=True)] = 1e-3
    #: learning rate of the discriminator; raise it where it does no better than chance
    d_lr: Annotated[PositiveFloat, Between(3e-4, 3e-2, log=True)] = 3e-3
    #: weight of L2 regularisation of all of the generator's parameters; raise it against overfitting
    g_l2: Annotated[NonNegativeFloat, Between(1e-6, 1e-2, log=True)] = 1e-4
    #: weight of L2 regularisation of all of the discriminator's parameters; raise it where it makes hardly any error
    d_l2: NonNegativeFloat = 0.0
    init_std: PositiveFloat = 0.1  #: standard deviation of the items' random initial vectors

    FORMER: ClassVar = {"turn": "alternate"}


class GAN(Recommender):
    """The generator G makes x^ = G(z, c), a value in (0, 1) for every item, from noise z ~ N(0, I) and a condition c of
    the user: the 0-1 row of the history (CFGAN, Chae et al. 2018), the user's features, or nothing. An item's score is
    the mean of its x^ over fixed noise vectors. The discriminator's D(x, c) is the logit that a row x is a real one.

    `value: minmax` is E[log D(x)] + E[log(1 - D(G(z)))] (Goodfellow et al. 2014, eq. 1; with a condition Mirza &
    Osindero 2014, eq. 2). With `nonsaturating`, G maximises E[log D(G(z))] instead (their sec. 3). `wasserstein` is a
    critic with gradient penalty (Gulrajani et al. 2017, eq. 3).

    D sees x^ * (e + k): e is 1 at the user's items, and k is 1 at a random share of the other items (partial masking).
    G also minimises the squares of x^ at a random share of the other items (zero reconstruction; both: CFGAN, eqs.
    5-7). Both shares are drawn anew for every batch, item by item. Withheld items are never drawn; where users and
    items are the same nodes, a user is never drawn for themselves.

    G's last layer is h . v_i + b_i with the item vectors v. A user's vector is the mean of h over the noise vectors.
    """

    Config = GANConfig
    paper = (
        "Chae et al. 2018, CFGAN: a generic collaborative filtering framework based on generative adversarial "
        "networks, CIKM"
    )
    reads_history = True

    def __init__(self, graph: Graph, config: GANConfig) -> None:
        """Raises KgrecError for `condition: features` where `features` is empty or the users have none of them."""
        super().__init__(graph, config)
        self.reads_history = config.condition == "history"  # type: ignore[misc]  # only then can new users be served
        self.users, self.items = graph.range(graph.target[0]), graph.range(graph.target[2])
        self.generator = Generator(graph, config)
        self.discriminator = Discriminator(graph, config)
        self.noise: Tensor  #: FloatTensor [draws, Z], the same for all users
        self.register_buffer("noise", torch.randn(config.draws, config.noise_dim))
        self.drawable: Tensor  #: FloatTensor [I], 0 for items that training withholds, else 1
        self.register_buffer("drawable", torch.zeros(len(self.items)), persistent=False)
        self.drawable[graph.drawable(graph.target[2]) - self.items.start] = 1
        self.place: Tensor  #: LongTensor [I], the items' positions, 0 to I - 1
        self.register_buffer("place", torch.arange(len(self.items)), persistent=False)
        self.known: Nodes | None = None  #: the users in training, each with their items
        #: number of this epoch's rows that D classified correctly; of a critic, the sum of its distances
        self.correct: Tensor | float = 0.0
        self.num_judged = 0  #: number of this epoch's rows; of a critic, of its pairs of a real and a generated row
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
        """D's loss of a batch of users with their items: its part of the game's value, plus the penalty of `d_l2`."""
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
        """G's loss of a batch of users with their items: its part of the game's value, plus zero reconstruction and the
        penalty of `g_l2`."""
        c = self.config
        real, condition = self._rows(batch)
        made = self.generator(self._noise(len(real)), condition)
        loss = makers_loss(c.value, self.discriminator(made * (real + self._some(batch, real, c.masking)), condition))
        if c.zr_weight:
            loss = loss + c.zr_weight * zero_reconstruction(made, self._some(batch, real, c.zr_share))
        return loss + self.generator_penalty(batch) if c.g_l2 else loss

    def discriminator_penalty(self, batch: Batch) -> Tensor:
        """The part of D's loss that is regularisation."""
        return self.config.d_l2 * squares(self.discriminator)

    def generator_penalty(self, batch: Batch) -> Tensor:
        """The part of G's loss that is regularisation."""
        return self.config.g_l2 * squares(self.generator)

    def _rows(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The users' real rows, FloatTensor [B, I], and their conditions, with `condition_dropout` applied."""
        real = batch.multi_hot(self.items)
        if not self.reads_history:
            return real, batch.head
        return real, real * (torch.rand_like(real) >= self.config.condition_dropout)

    def _noise(self, number: int) -> Tensor:
        return torch.randn(number, self.config.noise_dim, device=self.noise.device)

    def _some(self, batch: Batch, real: Tensor, share: float) -> Tensor:
        """A random mask of unobserved items: each is 1 with the probability `share`. Withheld items and the user
        themselves are always 0. FloatTensor [B, I]."""
        drawn = some_unobserved(real, share) * self.drawable
        return drawn if self.users != self.items else drawn * (batch.head.unsqueeze(1) - self.users.start != self.place)

    # ------------------------------------------------------------------ scoring and diagnostics

    def condition(self, query: Query) -> Tensor:
        """The condition of each user: with `condition: history` the 0-1 rows of their histories, FloatTensor [B, I],
        otherwise their flat numbers, LongTensor [B]."""
        return query.multi_hot(self.items) if self.reads_history else query.user

    def _condition(self, batch: Batch) -> Tensor:
        """The same for users in training."""
        return batch.multi_hot(self.items) if self.reads_history else batch.head

    def score(self, query: Query, items: Tensor) -> Tensor:
        maker = self.generator
        condition, of_item = maker.condition(self.condition(query)), maker.bias(items).squeeze(-1) + maker.mean
        made = torch.zeros((), device=items.device)
        for noise in self.noise:
            made = made + (dot(maker.hidden(noise, condition), maker.item, items) + of_item).sigmoid()
        return made / len(self.noise)

    def refresh(self) -> None:
        """Store the vectors of the users in training, and compute the diagnostics of what G makes for them."""
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
        """`entropy`: entropy of the mean generated row, as a share of the maximum. `distinct`: share of the catalog in
        the generated top-10 lists of users in training, with one noise vector for each user. `d_accuracy`: share
        of this epoch's real and generated rows that D classified correctly. A critic has `distance` instead: its mean
        on real rows minus its mean on generated rows."""
        return self.found

    def warnings(self) -> list[str]:
        return self.problems

    def _watch(self) -> Watch:
        """The entropy and distinct items of the real rows, which the generated rows are compared with."""
        assert self.known is not None
        count, lists = torch.zeros(len(self.items)), []
        for index in _spread(len(self.known), self.known.device).split(CHUNK):
            row = self.known[index].multi_hot(self.items)
            count += row.sum(0).cpu()
            first = row.topk(min(TOP, len(self.items)))
            lists.append(first.indices[first.values > 0].cpu())
        return Watch(entropy_share(count), distinct_share(torch.cat(lists), len(self.items)), HINTS)


def _spread(number: int, device: torch.device) -> Tensor:
    """Positions of at most WATCHED of `number` users, evenly spaced: LongTensor [n]."""
    return torch.arange(0, number, max(1, -(-number // WATCHED)), device=device)


# ---------------------------------------------------------------------- networks


class Condition(nn.Module):
    """A user's condition as a vector: the sum of the history's item vectors / sqrt(their number), the vector of the
    user's features, or zeros."""

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
                    "condition=features needs features of users, and `features` is empty; set features=all or name some"
                )
            self.table = NodeEmbedding(known, source, width, config.init_std, replace(config, id_embedding=False))

    def forward(self, condition: Tensor) -> Tensor:
        """condition: FloatTensor [B, I], 0-1 rows of histories, or LongTensor [B], users. Returns [B, W]."""
        if self.table is None:
            return torch.zeros(len(condition), 1, device=condition.device)
        if not self.is_history:
            return self.table(condition)
        vector: Tensor = product(condition, self.table.table().T)
        return vector / condition.sum(1, keepdim=True).clamp(min=1).sqrt()


class Generator(nn.Module):
    """Makes a value in (0, 1) for every item from noise and a condition."""

    def __init__(self, graph: Graph, config: GANConfig) -> None:
        super().__init__()
        known, (source, _, target) = graph.only(graph.target), graph.target
        widths = (*config.hidden, config.dim)
        self.item = NodeEmbedding(known, target, config.dim, config.init_std, config)
        self.bias = NodeEmbedding(known, target, 1, std=0.0)
        self.condition = Condition(graph, config, widths[0])
        self.noise = SteadyLinear(config.noise_dim, widths[0])
        self.layers = nn.ModuleList(SteadyLinear(a, b) for a, b in pairwise(widths))
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
        return product(hidden, self.item.table()) + self.bias.table().T + self.mean

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
        self.layers = nn.ModuleList(SteadyLinear(a, b) for a, b in pairwise(widths))
        self.out = SteadyLinear(
            widths[-1], 1, bias=config.value != "wasserstein"
        )  # a bias cancels out in a critic's differences

    def forward(self, row: Tensor, condition: Tensor) -> Tensor:
        """row: FloatTensor [B, I]; condition: as in Condition. Returns FloatTensor [B]."""
        vector = row @ self.item.table() + self.condition(condition) + self.bias
        for layer in self.layers:
            vector = layer(functional.leaky_relu(vector, SLOPE))
        logit: Tensor = self.out(functional.leaky_relu(vector, SLOPE))
        return logit.squeeze(-1)


def calm_adam(parameters: Iterable[nn.Parameter], lr: float) -> torch.optim.Optimizer:
    """Adam with less momentum than usual, because the other network changes too (beta_1 = .5: Radford et al. 2016)."""
    return Adam(parameters, lr=lr, betas=(0.5, 0.99), fused=True)


# ---------------------------------------------------------------------- losses


def judges_loss(value: Value, of_real: Tensor, of_made: Tensor) -> Tensor:
    """D's loss: -E[log D(x)] - E[log(1 - D(G(z)))] (Goodfellow et al. 2014, eq. 1), or for a critic
    E[D(G(z))] - E[D(x)] (Gulrajani et al. 2017, eq. 3). of_real, of_made: D's logits of real and generated rows, [B].

    >>> round(judges_loss("minmax", torch.zeros(1), torch.zeros(1)).item(), 4)  # 2 log 2
    1.3863
    """
    if value == "wasserstein":
        return of_made.mean() - of_real.mean()
    return functional.softplus(-of_real).mean() + functional.softplus(of_made).mean()


def makers_loss(value: Value, of_made: Tensor) -> Tensor:
    """G's loss: E[log(1 - D(G(z)))] (minmax), -E[log D(G(z))] (nonsaturating), or -E[D(G(z))] (wasserstein).
    of_made: D's logits of generated rows, [B].

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
    """E[(|gradient of D at a row| - 1)^2] (Gulrajani et al. 2017, eq. 3). judge: D, from rows [B, I] to [B]; row:
    [B, I], random mixtures of a real and a generated row."""
    row = row.detach().requires_grad_()
    with torch.enable_grad():
        (slope,) = torch.autograd.grad(judge(row).sum(), row, create_graph=True)
    return (slope.norm(dim=1) - 1).square().mean()


def some_unobserved(real: Tensor, share: float) -> Tensor:
    """A random mask, FloatTensor [B, I] of 0 and 1: each item that is 0 in `real` [B, I] is 1 with probability `share`;
    the others are 0."""
    return (torch.rand_like(real) < share) * (1 - real)


def zero_reconstruction(made: Tensor, drawn: Tensor) -> Tensor:
    """The squares of the generated values at the drawn items, summed over items, mean over users (CFGAN, eq. 5). Both
    [B, I]."""
    return (made.square() * drawn).sum(1).mean()


def num_right(of_real: Tensor, of_made: Tensor) -> Tensor:
    """How many rows D classifies correctly: LongTensor []. of_real, of_made: its logits, [B]."""
    return (of_real > 0).sum() + (of_made < 0).sum()

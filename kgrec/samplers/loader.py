"""Loaders: they shuffle the seeds, cut them into batches and pass each batch through the stages."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any, Protocol

import torch
from torch import Tensor

from kgrec._deprecation import renamed
from kgrec.errors import KgrecError
from kgrec.graph import Graph
from kgrec.samplers.batch import Batch, Stream

BLOCK = 65_536  #: examples that are sampled at once, where they do not depend on each other


class Stage(Protocol):
    """A step that adds something to a batch, such as negatives."""

    @property
    def by_example(self) -> bool:
        """Whether examples are sampled independently of each other, so that several batches may be sampled at once."""

    def __call__(self, batch: Batch, generator: torch.Generator) -> Batch: ...


class Seeds(Protocol):
    """The examples, and what one example is."""

    @property
    def device(self) -> torch.device:
        """The device of its tensors."""

    @property
    def by_example(self) -> bool:
        """Whether a batch can be cut into smaller batches."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: Tensor) -> Batch: ...


class Batches(Protocol):
    """The batches of an objective: a Loader, or a CombinedLoader."""

    def __len__(self) -> int: ...

    def epoch(self, stream: Stream) -> Iterator[Any]:
        """The batches of one epoch, in an order that depends on the stream."""


class Loader:
    """Batches of seeds, each passed through the stages in order.

    batch_size: examples of all processes together. Each rank takes its share of every batch, and all ranks take the
    same number of batches. Each iteration over the loader is a new epoch; `epoch(stream)` gives the batches of a chosen
    epoch. prefetch: number of batches that a thread samples ahead while one is in use, at least one block where several
    are sampled at once; the batches are the same.

    Raises KgrecError if batch_size or prefetch is too small.

    >>> import pandas as pd
    >>> from kgrec.graph import Graph
    >>> from kgrec.samplers import Edges, Negatives
    >>> rated = pd.DataFrame({"source": ["ann", "bob", "ann"], "target": ["Alien", "Alien", "Brazil"]})
    >>> graph = Graph.from_frames(edges={("user", "rated", "film"): rated})
    >>> [tuple(batch.negative.shape) for batch in Loader(Edges(graph), Negatives(graph, 4), batch_size=2)]
    [(2, 4), (1, 4)]
    """

    def __init__(
        self, seeds: Seeds, *stages: Stage, batch_size: int, seed: int = 0, shuffle: bool = True, prefetch: int = 0
    ) -> None:
        if batch_size < 1:
            raise KgrecError(f"batch_size is {batch_size}, 1 or more is wanted")
        if prefetch < 0:
            raise KgrecError(f"prefetch is {prefetch} batches; 0 (no batches are sampled ahead) or more is wanted")
        self.seeds, self.stages, self.batch_size = seeds, stages, batch_size
        self.seed, self.shuffle, self.prefetch = seed, shuffle, prefetch
        self._next_epoch = 0

    def __len__(self) -> int:
        """Number of batches in an epoch of one process."""
        return -(-len(self.seeds) // self.batch_size)

    def __iter__(self) -> Iterator[Batch]:
        self._next_epoch += 1
        return self.epoch(Stream(seed=self.seed, epoch=self._next_epoch))

    def epoch(self, stream: Stream) -> Iterator[Batch]:
        """The batches of one epoch; the same stream always gives the same batches."""
        size = max(1, self.batch_size // stream.world)
        at_once = self.seeds.by_example and all(stage.by_example for stage in self.stages)
        batches = max(1, BLOCK // size) if at_once else 1  # in a block
        blocks = self._blocks(stream, size * batches)
        if self.prefetch and len(self.seeds) > size * batches * stream.world:  # else one block is all
            blocks = _ahead(blocks, -(-self.prefetch // batches))
        with closing(blocks):
            for block in blocks:
                yield from block.split(size) if at_once else (block,)

    def _blocks(self, stream: Stream, size: int) -> Generator[Batch]:
        """The examples of an epoch, so many at once, after all stages."""
        generator = stream.generator(self.seeds.device)
        for index in self._order(stream).split(size):
            block = self.seeds[index]
            for stage in self.stages:
                block = stage(block, generator)
            yield block

    def _order(self, stream: Stream) -> Tensor:
        """This rank's seeds in order. Where they cannot be shared out evenly, some seeds from the start are repeated,
        so that all ranks have the same number."""
        number, device = len(self.seeds), self.seeds.device
        short = -number % stream.world
        graph = getattr(self.seeds, "graph", None)
        if isinstance(graph, Graph):
            order = graph.room(number + short, torch.long)  # a file if the graph is mapped
        else:
            order = torch.zeros(number + short, dtype=torch.long, device=device)
        if self.shuffle:
            generator = stream.generator(device, shared=True)
            torch.randperm(number, generator=generator, device=device, out=order[:number])
        else:
            torch.arange(number, device=device, out=order[:number])
        order[number:] = order[:short]
        return order[stream.rank :: stream.world]


def _ahead(batches: Iterator[Batch], number: int) -> Generator[Batch]:
    """The same batches; a thread samples `number` of them ahead.

    An error in the thread is raised in place of its batch. The thread ends with the batches, or when this is closed.
    """
    with ThreadPoolExecutor(1, "prefetch") as thread:
        drawn = deque(thread.submit(next, batches, None) for _ in range(number))
        try:
            while (batch := drawn.popleft().result()) is not None:
                drawn.append(thread.submit(next, batches, None))
                yield batch
        finally:
            for waiting in drawn:
                waiting.cancel()


class CombinedLoader:
    """Pairs of batches of two loaders, for joint losses. It is as long as the first loader; the second one starts
    again, or stops early, to match it."""

    def __init__(self, first: Loader, second: Loader) -> None:
        self.first, self.second = first, second
        self._next_epoch = 0

    def __len__(self) -> int:
        return len(self.first)

    def __iter__(self) -> Iterator[tuple[Batch, Batch]]:
        self._next_epoch += 1
        return self.epoch(Stream(seed=self.first.seed, epoch=self._next_epoch))

    def epoch(self, stream: Stream) -> Iterator[tuple[Batch, Batch]]:
        """The pairs of batches of one epoch. Each time the second loader starts again, it is shuffled and sampled
        anew."""
        if not len(self.second):
            raise KgrecError("the second loader has no examples, so there are no pairs of batches; give it some edges")
        rounds = (self.second.epoch(stream.inner(number)) for number in itertools.count())
        return zip(self.first.epoch(stream), itertools.chain.from_iterable(rounds))


__getattr__ = renamed(__name__, {"Both": "CombinedLoader"})

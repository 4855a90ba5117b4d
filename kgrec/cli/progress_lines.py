"""The texts of progress: a line for an epoch, and the line that says how far running tasks are, in a given width."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from kgrec.printable import printable
from kgrec.progress import Task

if TYPE_CHECKING:
    from kgrec.training.trainer import Epoch
    from kgrec.training.training_tasks import TrainingTask

BETWEEN = "  "  #: between the parts of a line
LONGEST_NAME = 24  #: characters of a metric's name, where the line has no room for all parts
LEAST = 0.001  #: numbers below this are shown with an exponent


class Part(NamedTuple):
    """A part of a line."""

    text: str
    rank: int  #: parts of a high rank are left out first, where the line is too long
    short: str = ""  #: the same in fewer characters; "": there is no such text


def number(value: float) -> str:
    """A loss or a metric.

    >>> number(0.43218), number(-12), number(0.00001234), number(0)
    ('0.4322', '-12.0000', '1.23e-05', '0.0000')
    """
    return f"{value:.2e}" if 0 < abs(value) < LEAST else f"{value:.4f}"


def clock(seconds: float) -> str:
    """A length of time.

    >>> clock(31.4), clock(2_890), clock(93_784)
    ('0:31', '48:10', '26:03:04')
    """
    minutes, left = divmod(round(seconds), 60)
    hours, of_hour = divmod(minutes, 60)
    return f"{hours}:{of_hour:02}:{left:02}" if hours else f"{minutes}:{left:02}"


def epoch_line(epoch: Epoch, metrics: Mapping[str, float]) -> str:
    """One line for an epoch: losses, the metric that chooses if it was measured, seconds, and whether it is the best so
    far. metrics: of its validation."""
    standing = epoch.standing
    width = 1 if standing is None else len(str(standing.epochs))
    parts = [f"epoch {epoch.number:>{width}}"]
    if standing is not None and standing.phase != "train":
        parts[0] = f"{standing.phase}, {parts[0]}"
    parts += [_losses(epoch.losses)] if epoch.losses else []
    if standing is not None and standing.metric in metrics:
        parts.append(f"{standing.metric} {number(metrics[standing.metric])}")
    parts.append(f"{epoch.seconds:.2f} s" if epoch.seconds < 100 else f"{epoch.seconds:,.0f} s")
    parts += ["best"] if standing is not None and standing.is_best else []
    return BETWEEN.join(parts)


def _losses(losses: Mapping[str, float], *, names: bool = True) -> str:
    """Losses by objective; a single one without its name."""
    named = names and len(losses) > 1
    return "loss " + ", ".join(f"{name} {number(one)}" if named else number(one) for name, one in losses.items())


def parts_of(tasks: Sequence[Task], now: float) -> list[Part]:
    """How far running tasks are. tasks: the outermost first; now: seconds of the clock by which tasks began."""
    from kgrec.training.training_tasks import EpochTask, TrainingTask

    parts, standing = list[Part](), list[Part]()
    for task in tasks:
        is_last = task is tasks[-1]
        if isinstance(task, TrainingTask):
            epoch = min(int(task.done) + 1, int(task.total))
            phase = "" if task.standing.phase == "train" else f"{task.standing.phase}, "
            parts.append(Part(f"{phase}epoch {epoch}/{task.total:.0f}", 0))
            standing = list(_standing(task))
        elif isinstance(task, EpochTask):
            parts += _count(task, 1)
            parts += _left(task, 2, now) if is_last else []
            losses = task.losses()
            parts += [Part(_losses(losses), 3, _losses(losses, names=False))] if losses else []
        else:
            what = Part(printable(task.what), 1 if is_last else 4)
            parts += [what, *_count(task, 1 if is_last else 4), *_left(task, 2 if is_last else 7, now)]
    return [*parts, *standing]


def _count(task: Task, rank: int) -> Iterator[Part]:
    if not task.total and not task.done:
        return
    percent = f"{100 * task.done / task.total:.0f}%" if task.total else ""
    if not task.unit:
        yield Part(percent, rank)
    elif task.total and task.done <= task.total:
        yield Part(f"{task.done:,.0f}/{task.total:,.0f} {task.unit}", rank, percent)
    else:
        yield Part(f"{task.done:,.0f} {task.unit}", rank)


def _left(task: Task, rank: int, now: float) -> Iterator[Part]:
    left = task.seconds_left
    if left is not None:
        yield Part(f"{clock(left)} left", rank)
    elif now - task.begun >= 1:
        yield Part(f"{clock(now - task.begun)} so far", rank)


def _standing(task: TrainingTask) -> Iterator[Part]:
    """How a training stands by its metric, and how much longer it may take."""
    standing, left = task.standing, task.seconds_left
    name = printable(standing.metric)
    short = name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 3]}..."
    if standing.value is not None:
        yield Part(f"{name} {number(standing.value)}", 4, f"{short} {number(standing.value)}")
    if standing.best is not None and standing.phase == "train":
        best = number(standing.best)
        yield Part(f"best {best} in epoch {standing.best_epoch}", 5, f"best {best} ({standing.best_epoch})")
    if standing.patience_left is not None:
        yield Part(f"patience {standing.patience_left}", 6)
    if left is not None:
        early = " at most" if standing.patience is not None else ""
        yield Part(f"all epochs {clock(left)}{early}", 7, f"all {clock(left)}")


def fitted(parts: Sequence[Part], width: int) -> str:
    """The parts on one line of at most so many columns: as long as there is room for, the most important at least.

    >>> parts = [Part("epoch 4/50", 0), Part("312/610 batches", 1, "51%"), Part("loss 0.4312", 3)]
    >>> parts.append(Part("patience 8", 6))
    >>> for width in (60, 46, 30, 8):
    ...     print(fitted(parts, width))
    epoch 4/50  312/610 batches  loss 0.4312  patience 8
    epoch 4/50  51%  loss 0.4312  patience 8
    epoch 4/50  51%  loss 0.4312
    epoch...
    """
    from rich.cells import cell_len, set_cell_size

    def room(texts: Mapping[int, str]) -> int:
        return width - cell_len(BETWEEN.join(texts.values()))

    by_rank = sorted(range(len(parts)), key=lambda place: (parts[place].rank, place))
    texts = {place: part.short or part.text for place, part in enumerate(parts)}
    while len(texts) > 1 and room(texts) < 0:
        del texts[by_rank[len(texts) - 1]]
    for place in by_rank[: len(texts)]:
        longer = {**texts, place: parts[place].text}
        texts = longer if room(longer) >= 0 else texts
    line = BETWEEN.join(texts.values())
    return line if cell_len(line) <= width else f"{set_cell_size(line, max(0, width - 3)).rstrip()}..."

"""What to do next: complete commands that can be pasted, printed where a command ends or is stopped."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

from kgrec.cli.output import status
from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from kgrec.run import Run
    from kgrec.training.job import TrainingJob

MOST_ITEMS = 8_000  #: up to which ease is proposed, whose time grows with the cube of the items
USUAL_SPLIT = "last_n:1,valid=1"  #: proposed where a recipe names none
LOOKED_AT = 20  #: folders beside a run that are looked at for another run


def shown(words: Sequence[object]) -> str:
    """A command, quoted for the shell.

    >>> shown(["kgrec", "info", Path("my shop.graph")])
    "kgrec info 'my shop.graph'"
    """
    return shlex.join(map(str, words))


def say_next(done: str, commands: Sequence[Sequence[object]]) -> None:
    """Print on stderr what is done, and commands that may follow."""
    status("\n".join([f"{done}; next:", *(f"  {shown(words)}" for words in commands)]))


def after_build(graph: Path, items: int, *, has_split: bool) -> list[list[object]]:
    """Commands after a graph is built. items: how many it has; has_split: whether its recipe names a split."""
    model, split = simple_model(items), [] if has_split else ["--split", USUAL_SPLIT]
    return [["kgrec", "info", graph], ["kgrec", "train", model, graph, *split, "--out", _free(graph, model)]]


def simple_model(items: int) -> str:
    """A good model that takes seconds on so many items."""
    return "ease" if items <= MOST_ITEMS else "itemknn"


def after_training(run: Run, job: TrainingJob, graph: Path) -> list[list[object]]:
    """Commands after a training whose run folder is kept. graph: the folder that it was trained on."""
    out, trust = job.out, _trust(job)
    commands: list[list[object]] = [["kgrec", "evaluate", out, graph, *trust]]
    user = _some_user(run)
    if user is not None and not job.facts_only:
        commands.append(["kgrec", "recommend", out, "--user", user, *trust])
    if run.model.task != "link":  # such runs are not compared user by user
        assert out is not None
        other = _other_run(out)
        if other is None:
            other, command = _simple_run(run, job, graph)
            commands.append(command)
        commands.append(["kgrec", "compare", other, out])
    return commands


def _trust(job: TrainingJob) -> list[str]:
    """The option for a run of somebody's own model."""
    from kgrec import models

    own = job.model not in models.names()
    return ["--model", job.model] if own else []


def _some_user(run: Run) -> str | None:
    """The id of a user with a history; None if nobody has one."""
    known = run.graph.only(run.graph.target)
    if not known.num_edges:
        return None
    source = run.graph.target[0]
    return str(run.graph.vocabulary[source].ids([int(known.head[0]) - run.graph.range(source).start])[0])


def _other_run(out: Path) -> Path | None:
    """A run beside this one that it can be compared with; None if there is none."""
    from kgrec.studies.measured_runs import MeasuredRun, must_be_comparable

    own = MeasuredRun.read(out)
    beside = (
        one for one in sorted(out.parent.iterdir()) if one.name != out.name and (one / "per_user.parquet").exists()
    )
    for one in islice(beside, LOOKED_AT):
        try:
            must_be_comparable(own, MeasuredRun.read(one))
        except (KgrecError, OSError):
            continue
        return one
    return None


def _simple_run(run: Run, job: TrainingJob, graph: Path) -> tuple[Path, list[object]]:
    """A run of a simple model to compare with, and the command that trains it under the same protocol."""
    from kgrec.training.job import tasks_of

    assert job.out is not None
    task = run.model.task
    simple = "bias" if task != "ranking" else simple_model(len(run.graph.range(run.graph.target[2])))
    model = simple if simple != job.model else "mf"
    out = _free(job.out, model)
    words: list[object] = ["kgrec", "train", model, graph]
    options = {
        "--task": task if tasks_of(model)[0] != task else None,
        "--for": job.purpose,
        "--split": job.split,
        "--candidates": job.candidates,
        "--repeats": job.repeats if job.repeats != "miss" else None,
        "--exclude": ",".join(job.exclude) or None,
        "--metrics": ",".join(job.metrics) or None,
    }
    words += [word for flag, value in options.items() if value is not None for word in (flag, value)]
    words += [flag for flag, there in (("--all-edges", job.all_edges), ("--refit", job.refit)) if there]
    return out, [*words, "--out", out]


def _free(beside: Path, model: str) -> Path:
    """A path for a run of a model beside another folder, where nothing is yet."""
    names = (f"{model}.run", *(f"{model}-{number}.run" for number in range(2, 1000)))
    return next(path for name in names if not (path := beside.with_name(name)).exists())


@contextmanager
def advice_if_stopped(advice: Callable[[], str | None]) -> Iterator[None]:
    """Inside this context, what a signal stops ends with an advice, which `kgrec` prints after its message."""
    try:
        yield
    except BaseException as error:
        text = advice()
        if text is not None:
            error.add_note(text)
        raise


def how_to_resume(job: TrainingJob) -> str | None:
    """How a training that was stopped goes on; None where the command can only be given again."""
    if job.out is None:
        return "nothing is kept without --out; with it, a training that is stopped can go on"
    if not job.out.name or not (job.checkpoint / "state.json").is_file():  # without a name, such as ".", it is refused
        return None
    words = sys.argv[1:]
    return f"to go on: {shown(['kgrec', *words, *([] if '--resume' in words else ['--resume'])])}"

"""Every problem of a recipe and its files: takes all steps of a build, where a build stops at the first problem."""

from __future__ import annotations

from pathlib import Path

from kgrec.errors import Fault, KgrecError
from kgrec.progress import Task, counted, working
from kgrec.sources.building.build_state import BuildState
from kgrec.sources.building.steps import Step, steps_of
from kgrec.sources.checking.findings import Problem, problem_of
from kgrec.sources.checking.observations import observations
from kgrec.sources.recipe.recipe import Recipe
from kgrec.sources.tables.bad_rows import BadRows


def check_recipe(path: Path, data: Path | None) -> list[Problem]:
    """All problems of a recipe and its files, and notes on what a build leaves out or adds."""
    try:
        recipe = Recipe.load(path)
    except KgrecError as error:
        return [problem_of(fault, str(path), "bad recipe") for fault in error.faults]
    try:
        state = BuildState(recipe, data, BadRows(recipe.on_bad_rows, keep_going=True))
    except KgrecError as error:
        return [problem_of(fault, str(path)) for fault in error.faults]
    walk = _Walk(state)
    steps = steps_of(recipe)
    for step in counted("checking", steps, len(steps), "steps"):
        with working(Task(step.what)):
            walk.take(step)
    faults = [*walk.faults, *observations(state, is_complete=walk.is_complete)]
    return [problem_of(fault, str(path)) for fault in faults]


class _Walk:
    """Takes the steps of a build. If a step fails, that is noted, and the other steps go on with what there is."""

    def __init__(self, state: BuildState) -> None:
        self.state = state
        self.faults: list[Fault] = []
        self.is_complete = True  #: whether all steps succeeded

    def take(self, step: Step) -> None:
        """Take one step. The bad rows that it finds are listed before its other problems."""
        if any(edge not in self.state.builder.edges for edge in step.needs) or (step.is_last and not self.is_complete):
            return
        known = len(self.state.bad_rows.faults)
        failed: list[Fault] = []
        try:
            (step.look or step.run)(self.state)
        except KgrecError as error:
            self.is_complete = False
            failed = self._of_each_file(step) or self._about(step, error)
        rows = self.state.bad_rows.faults
        self.faults += rows[known:] + [fault for fault in failed if fault not in rows]

    def _of_each_file(self, step: Step) -> list[Fault]:
        """The problems of a failed step's files, each file by itself."""
        found = []
        for alone in step.by_file:
            try:
                alone.run(self.state)
            except KgrecError as error:
                found += self._about(alone, error)
        return found

    def _about(self, step: Step, error: KgrecError) -> list[Fault]:
        """The faults of an error, with the file name as it is written in the recipe."""
        where = ", ".join(step.files) or None
        faults = [self.state.fitting(fault) for fault in error.faults]
        return [fault._replace(file=fault.file or where) for fault in faults]

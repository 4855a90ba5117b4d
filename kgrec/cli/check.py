"""`kgrec check`: list every problem in the files of a recipe, or in a graph folder."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Data, Json, watchable
from kgrec.cli.output import print_json, say


@watchable
def check(
    path: Annotated[Path, typer.Argument(metavar="RECIPE|GRAPH", help="A recipe or a graph folder.")],
    data: Data = None,
    as_json: Json = False,
) -> None:
    """List every problem in the files that a recipe names, or in a graph folder. The exit code is 1 if there are
    errors."""
    from dataclasses import asdict

    from kgrec.sources.checking import check as find_problems

    problems = find_problems(path, data)
    if as_json:
        print_json([asdict(problem) for problem in problems])
    else:
        for problem in problems:
            say(problem)
        errors = sum(problem.severity == "error" for problem in problems)
        notes = len(problems) - errors
        print(f"{errors} error{'s' * (errors != 1)}, {notes} note{'s' * (notes != 1)}")
    if any(problem.severity == "error" for problem in problems):
        raise typer.Exit(1)

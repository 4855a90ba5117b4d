"""`kgrec recommend`: the best items for users of a run, or for a new one."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from kgrec.cli.options import Device, Json, Overwrite, RunFolder, TrustedModel
from kgrec.cli.output import console, note, print_json, status
from kgrec.errors import KgrecError


def recommend(
    run: RunFolder,
    user: Annotated[list[str] | None, typer.Option("--user", help="A user's id; may be given several times.")] = None,
    users: Annotated[str | None, typer.Option("--users", help="A file with an id a line, or `all`.")] = None,
    history: Annotated[
        Path | None, typer.Option("--history", help="CSV of a new user's items: item[,time][,weight][,behaviour].")
    ] = None,
    k: Annotated[int, typer.Option("--k", min=1, help="Items for each user.")] = 10,
    include_seen: Annotated[bool, typer.Option("--include-seen", help="Also items that the user has.")] = False,
    why: Annotated[
        bool, typer.Option("--why", help="List the past items behind a list, with their attention.")
    ] = False,
    skip_unknown: Annotated[bool, typer.Option("--skip-unknown", help="Leave out a history's unknown items.")] = False,
    out: Annotated[Path | None, typer.Option("--out", help="Write .parquet or .csv instead of printing.")] = None,
    device: Device = "auto",
    model: TrustedModel = None,
    overwrite: Overwrite = False,
    as_json: Json = False,
) -> None:
    """Recommend items to users of a run, or to a new user by what it did."""
    from kgrec.run import Run
    from kgrec.serving.recommendation import lists_for, new_user_lists, wanted_users, write_lists

    trained = Run.load(run, trust=model, device=device)
    if history is not None:
        if user or users:
            raise KgrecError("--history is for one new user; leave out --user and --users")
        lists = iter(
            new_user_lists(
                trained, history, k=k, include_seen=include_seen, why=why, skip_unknown=skip_unknown, tell=note
            )
        )
    else:
        wanted = wanted_users(trained, user or [], users)
        lists = lists_for(trained, wanted, k=k, include_seen=include_seen, why=why)
    if out is not None:
        rows = write_lists(lists, out, overwrite=overwrite)
        status(f"{rows} rows in {out}")
    elif as_json:
        print_json([one.to_json() for chunk in lists for one in chunk])
    else:
        for chunk in lists:
            for one in chunk:
                console().print(one.table())
                if why:
                    console().print(one.why_table())

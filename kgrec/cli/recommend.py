"""`kgrec recommend`: the best items for users of a run, or for new ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kgrec.cli.options import (
    CsvSafe,
    Device,
    FilterOptions,
    Json,
    NewItems,
    Overwrite,
    RunFolder,
    TableFile,
    TrustedModel,
    comma_separated,
    load_run,
    with_options,
)
from kgrec.cli.output import console, note, print_json, status
from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from kgrec.run import Run
    from kgrec.serving.answers import Table
    from kgrec.serving.list_parts import Part
    from kgrec.serving.shards import Shard


@with_options
def recommend(
    run: RunFolder,
    *,
    user: Annotated[list[str] | None, typer.Option("--user", help="A user's id. Repeat it for several users.")] = None,
    users: Annotated[
        str | None, typer.Option("--users", help="A text file with one user id per line, or `all`.")
    ] = None,
    history: Annotated[
        Path | None,
        typer.Option(
            "--history",
            help="Interactions of new users: item[,user][,time][,weight][,behaviour], as CSV, Parquet or JSON lines.",
        ),
    ] = None,
    profile: Annotated[
        Path | None,
        typer.Option(
            "--profile",
            help="Profiles of new users: `user`, and columns of the user table with their names in the graph or in the "
            "recipe's files. It may be the same file as --history.",
        ),
    ] = None,
    k: Annotated[int, typer.Option("--k", help="Number of items for each user.")] = 10,
    include_seen: Annotated[
        bool, typer.Option("--include-seen", help="Also list items that the user already has.")
    ] = False,
    exclude: Annotated[
        str | None,
        typer.Option(
            "--exclude",
            help="Behaviours such as viewed,carted: leave out their items, too. By default only items that the user "
            "already has by the target relation are left out.",
        ),
    ] = None,
    why: Annotated[
        bool, typer.Option("--why", help="Show the past items behind each list, and what kind of evidence it is.")
    ] = False,
    new_items: NewItems = None,
    rules: Annotated[
        Path | None,
        typer.Option("--rules", help="A YAML file of rules: at_most, pinned, blocked, in_stock, price, diversity ..."),
    ] = None,
    skip_unknown: Annotated[
        bool,
        typer.Option(
            "--skip-unknown",
            help="Leave out unknown users, items, categories and columns instead of stopping.",
        ),
    ] = False,
    filters: FilterOptions,
    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="K/N",
            help="Only one part of the users, such as 1/4, the first of four. The parts one after the other are what "
            "one process writes. A part that is there already is not made again.",
        ),
    ] = None,
    out: TableFile = None,
    device: Device = "auto",
    model: TrustedModel = None,
    overwrite: Overwrite = False,
    csv_safe: CsvSafe = False,
    as_json: Json = False,
) -> None:
    """Recommend items to users of a run, or to new users by their history or profile."""
    from kgrec.serving.list_tables import by_user, write_tables
    from kgrec.serving.shards import Shard
    from kgrec.table_files import refuse_out

    wanted = _Wanted(k, user or [], users, history, profile, None if shard is None else Shard.read(shard))
    options = {
        "include_seen": include_seen,
        "exclude": comma_separated(exclude) or (),
        "why": why,
        "skip_unknown": skip_unknown,
        "rules": rules,
        **filters.values,
    }
    part = None
    if out is not None:
        listed = None if users == "all" else users
        read = [run, history, profile, *(new_items or []), listed, rules, filters.where_sparql]
        if wanted.shard is not None:
            part = wanted.part(run, new_items, options)
            rows = part.is_done(out, overwrite)
            if rows is not None:
                status(f"{out} is there already, with {rows} rows: shard {shard} of the same run, users and options")
                return
        refuse_out(out, overwrite, read)
    asks_more = any((exclude, why, rules, *filters.values.values(), new_items, model, shard)) or device not in (
        "auto",
        "cpu",
    )
    quick = None if asks_more else wanted.without_torch(run, include_seen, skip_unknown)
    if quick is not None:
        tables = _noted(iter([quick]))
    else:
        tables = _noted(wanted.by_model(load_run(run, model, device, new_items, skip_unknown), options))
    if out is not None:
        write = write_tables if part is None else part.write
        rows = write(tables, out, overwrite=overwrite, csv_safe=csv_safe)
        status(f"{rows} rows in {out}")
    elif as_json:
        print_json([one.to_json() for table in tables for one in by_user(table)])
    else:
        for table in tables:
            for one in by_user(table):
                console().print(one.table())
                if why:
                    console().print(one.why_table())


@dataclass(frozen=True)
class _Wanted:
    """Whom lists are for, and how long they are."""

    k: int
    ids: list[str]
    users: str | None
    history: Path | None
    profile: Path | None
    shard: Shard | None

    @cached_property
    def names(self) -> list[str]:
        """The ids of known users. Read once, since a file may be a pipe."""
        from kgrec.serving.list_tables import named_users

        return named_users(self.ids, self.users)

    def without_torch(self, folder: Path, include_seen: bool, skip_unknown: bool) -> Table | None:
        """The lists, if they can be said without importing torch, which takes seconds; else None."""
        from kgrec.serving.list_tables import must_fit
        from kgrec.serving.quick_lists import QuickRun

        if self.history is not None or self.profile is not None or self.users == "all":
            return None
        run = QuickRun.open(folder)
        if run is None:
            return None
        must_fit(self.k, len(run.items), "--k")
        return run.lists(self.names, self.k, include_seen=include_seen, skip_unknown=skip_unknown)

    def by_model(self, run: Run, options: dict[str, Any]) -> Iterator[Table]:
        """The same by the model itself, for whomever, chunk by chunk."""
        from kgrec.serving.ranked_lists import check_k

        check_k(run, self.k, "--k")
        are_new = self.history is not None or self.profile is not None
        if are_new and (self.ids or self.users):
            named = "--history" if self.history is not None else "--profile"
            raise KgrecError(f"{named} is for new users; leave out --user and --users")
        known = None if are_new else "all" if self.users == "all" else self.names
        new = {"history": self.history, "profile": self.profile}
        return run.recommend_in_parts(known, self.k, **new, shard=self.shard, **options)

    def part(self, folder: Path, new_items: list[Path] | None, options: dict[str, Any]) -> Part:
        """What a file of this shard is a part of."""
        from kgrec.serving.list_options import ListOptions
        from kgrec.serving.list_parts import Part

        assert self.shard is not None
        wanted = ListOptions(k=self.k, **options)
        asked = {"new_items": new_items or [], **vars(wanted)}
        if self.history is not None or self.profile is not None:
            asked |= {"history": self.history, "profile": self.profile}
        else:
            asked["users"] = "all" if self.users == "all" else self.names
        return Part.of_run(folder, self.shard, asked)


def _noted(tables: Iterator[Table]) -> Iterator[Table]:
    """The same tables, of which the notes are printed."""
    for table in tables:
        for text in table.notes:
            note(text)
        yield table

"""`kgrec recommend`: the best items for users of a run, or for new ones."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kgrec.cli.list_shards import ShardOptions
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
    watchable,
    with_options,
)
from kgrec.cli.output import console, note, print_json, status
from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from kgrec.run import Run
    from kgrec.serving.answers import Table
    from kgrec.serving.ray_shards import Asked
    from kgrec.serving.shards import Shard


@watchable
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
    now: Annotated[
        str | None,
        typer.Option(
            "--now",
            help="When the lists are wanted, for models that read it: unix seconds, or a moment such as "
            "2026-11-29T12:00 (UTC). Default: the clock's time.",
        ),
    ] = None,
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
    sharding: ShardOptions,
    out: TableFile = None,
    device: Device = "auto",
    model: TrustedModel = None,
    overwrite: Overwrite = False,
    csv_safe: CsvSafe = False,
    as_json: Json = False,
) -> None:
    """Recommend items to users of a run, or to new users by their history or profile."""
    from kgrec.serving.list_tables import by_user, write_tables
    from kgrec.table_files import refuse_out

    sharding.check(out, json=as_json, csv_safe=csv_safe, device=device not in ("auto", "cpu"))
    wanted = _Wanted(run, k, user or [], users, history, profile, new_items or [], sharding.shard)
    options = {
        "include_seen": include_seen,
        "exclude": comma_separated(exclude) or (),
        "why": why,
        "skip_unknown": skip_unknown,
        "rules": rules,
        "now": now,
        **filters.values,
    }
    if out is not None and sharding.engine == "ray":
        sharding.over_ray(wanted.over_ray(options, model), out, overwrite)
        return
    part = None
    if out is not None:
        if wanted.shard is not None:
            from kgrec.serving.list_parts import Part

            part = Part(wanted.shard, wanted.described(options))
            found = part.is_done(out, overwrite)
            if found is not None:
                same = f"shard {wanted.shard} of the same run, users and options"
                status(f"{out} is there already, with {found} rows: {same}")
                return
        listed = None if users == "all" else users
        refuse_out(out, overwrite, [*wanted.files, listed, rules, filters.where_sparql])
    asks_more = any((exclude, why, now, rules, *filters.values.values(), new_items, model, wanted.shard))
    asks_more = asks_more or device not in ("auto", "cpu")
    quick = None if asks_more else wanted.without_torch(include_seen, skip_unknown)
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
    """Whom lists are for, of which run, and how long they are."""

    folder: Path
    k: int
    ids: list[str]
    users: str | None
    history: Path | None
    profile: Path | None
    new_items: list[Path]
    shard_text: str | None

    @cached_property
    def shard(self) -> Shard | None:
        from kgrec.serving.shards import Shard

        return None if self.shard_text is None else Shard.read(self.shard_text)

    @property
    def files(self) -> list[Path | None]:
        """What is read."""
        return [self.folder, self.history, self.profile, *self.new_items]

    @cached_property
    def names(self) -> list[str]:
        """The ids of known users. Read once, since a file may be a pipe."""
        from kgrec.serving.list_tables import named_users

        return named_users(self.ids, self.users)

    def without_torch(self, include_seen: bool, skip_unknown: bool) -> Table | None:
        """The lists, if they can be said without importing torch, which takes seconds; else None."""
        from kgrec.serving.list_tables import must_fit
        from kgrec.serving.quick_lists import QuickRun

        if self.history is not None or self.profile is not None or self.users == "all":
            return None
        run = QuickRun.open(self.folder)
        if run is None:
            return None
        must_fit(self.k, len(run.items), "--k")
        return run.lists(self.names, self.k, include_seen=include_seen, skip_unknown=skip_unknown)

    def by_model(self, run: Run, options: dict[str, Any]) -> Iterator[Table]:
        """The same by the model itself, for whomever, chunk by chunk."""
        from kgrec.serving.ranked_lists import check_k

        check_k(run, self.k, "--k")
        new = {"history": self.history, "profile": self.profile}
        return run.recommend_in_parts(self.known, self.k, **new, shard=self.shard, **options)

    @property
    def known(self) -> list[str] | str | None:
        """Users that the run knows, as `Run.recommend` takes them. Raises KgrecError where new ones are named too."""
        if self.history is None and self.profile is None:
            return "all" if self.users == "all" else self.names
        if self.ids or self.users:
            named = "--history" if self.history is not None else "--profile"
            raise KgrecError(f"{named} is for new users; leave out --user and --users")
        return None

    def described(self, options: dict[str, Any]) -> dict[str, Any]:
        """What part files of these lists are of: see `Part`."""
        from kgrec.serving.list_options import ListOptions
        from kgrec.serving.list_parts import described

        whom = {"users": self.known, "history": self.history, "profile": self.profile, "new_items": self.new_items}
        return described(self.folder, {**whom, **vars(ListOptions(k=self.k, **options))})

    def over_ray(self, options: dict[str, Any], model: str | None) -> Asked:
        """The same lists, as workers of a cluster are asked for them, whose current folder is another."""
        from kgrec.serving.list_options import ListOptions
        from kgrec.serving.ray_shards import Asked

        def whole(path: Path | None) -> Path | None:
            return None if path is None else path.resolve()

        of = self.described(options)
        paths = {name: value.resolve() for name, value in options.items() if isinstance(value, Path)}
        return Asked(
            self.folder.resolve(),
            ListOptions(k=self.k, **{**options, **paths}),
            of,
            self.known,
            whole(self.history),
            whole(self.profile),
            model,
            tuple(path.resolve() for path in self.new_items),
        )


def _noted(tables: Iterator[Table]) -> Iterator[Table]:
    """The same tables, of which the notes are printed."""
    for table in tables:
        for text in table.notes:
            note(text)
        yield table

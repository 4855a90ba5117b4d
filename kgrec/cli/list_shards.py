"""Options of `kgrec recommend` that divide users into shards, and shards over a Ray cluster."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from kgrec.cli.output import note, status
from kgrec.errors import KgrecError

if TYPE_CHECKING:
    from kgrec.serving.ray_shards import Asked, Done


@dataclasses.dataclass(frozen=True)
class ShardOptions:
    """Which part of the users is answered, and by whom."""

    shard: Annotated[
        str | None,
        typer.Option(
            "--shard",
            metavar="K/N",
            help="Only one part of the users, such as 1/4, the first of four. The parts one after the other are what "
            "one process writes. A part that is there already is not made again.",
        ),
    ] = None
    engine: Annotated[
        Literal["local", "ray"],
        typer.Option("--engine", help="`ray`: a Ray cluster makes all shards, as files in the folder --out."),
    ] = "local"
    shards: Annotated[
        int | None, typer.Option("--shards", help="With --engine ray, the number of parts. By default four a core.")
    ] = None
    ray_address: Annotated[
        str | None,
        typer.Option(
            "--ray-address",
            help="With --engine ray, the cluster's address, such as 10.0.0.1:6379. By default that of RAY_ADDRESS, "
            "else a cluster of this machine alone.",
        ),
    ] = None

    def check(self, out: Path | None, **without: bool) -> None:
        """Raise KgrecError for options that do not go together. without: options that Ray does not go with, and
        whether they are there."""
        if self.engine == "local":
            for name, value in (("--shards", self.shards), ("--ray-address", self.ray_address)):
                if value is not None:
                    raise KgrecError(f"{name} is for --engine ray; for one part of the users, say --shard 1/4")
            return
        if self.shard is not None:
            raise KgrecError("--engine ray makes all shards, so leave out --shard; --shards says how many there are")
        if out is None:
            raise KgrecError("--engine ray writes a folder of parts; name it by --out")
        wrong = next((name for name, there in without.items() if there), None)
        if wrong is not None:
            option = f"--{wrong.replace('_', '-')}"
            raise KgrecError(f"--engine ray writes Parquet files, by workers on the CPU; leave out {option}")

    def over_ray(self, asked: Asked, out: Path, overwrite: bool) -> None:
        """Make all shards by a cluster, and print how far it is."""
        from kgrec.serving.ray_shards import Making, recommend_over_ray

        said = set[str]()

        def report(done: Done, left: int) -> None:
            for text in done.notes:
                if text not in said:
                    said.add(text)
                    note(text)
            how = "is there already" if done.was_there else "is made"
            status(f"shard {done.shard} {how}: {done.rows:,} rows; {left:,} to come")

        how = Making(overwrite=overwrite, report=report, say=note)
        rows = recommend_over_ray(asked, out, self.shards, address=self.ray_address, how=how)
        status(f"{rows} rows in {out}")

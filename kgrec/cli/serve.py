"""`kgrec serve`: runs behind HTTP. `kgrec key`: an API key for it."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Any

import typer

from kgrec.cli.cycles import collect_as_usual
from kgrec.cli.options import Device, TrustedModel, with_options
from kgrec.cli.output import say, status
from kgrec.errors import KgrecError

NEEDED = ("fastapi", "uvicorn", "orjson", "prometheus_client", "fastapi_offline", "jinja2")


@dataclasses.dataclass(frozen=True)
class ServerOptions:
    """Where a server listens, who may ask, and how much."""

    port: Annotated[int, typer.Option("--port", help="The port; 0 is any that is free.")] = 8000
    host: Annotated[str, typer.Option("--host", help="The address. With 127.0.0.1, only this machine can ask.")] = (
        "127.0.0.1"
    )
    keys: Annotated[
        Path | None,
        typer.Option("--keys", help="A file of API keys, as `kgrec key` makes it: who asks must show one."),
    ] = None
    no_keys: Annotated[
        bool, typer.Option("--no-keys", help="Everyone who reaches the server may ask, also from other machines.")
    ] = False
    events: Annotated[
        str | None,
        typer.Option(
            "--events",
            help="Where events are kept: an SQLite file, postgresql://user@host/name, or none. By default the file "
            "NAME.events.sqlite beside the first run.",
        ),
    ] = None
    cors: Annotated[
        list[str] | None,
        typer.Option("--cors", help="An origin, such as https://shop.example, whose scripts may ask. May be repeated."),
    ] = None
    host_name: Annotated[
        list[str] | None,
        typer.Option("--host-name", help="Another name by which requests may call the server; * is any."),
    ] = None
    max_k: Annotated[int, typer.Option("--max-k", min=1, help="Items in a list at most.")] = 100
    max_body: Annotated[int, typer.Option("--max-body", min=1000, help="Bytes of a request at most.")] = 1_000_000
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, help="Seconds after which a request is given up.")] = (
        10.0
    )
    keep_unknown_items: Annotated[
        bool,
        typer.Option("--keep-unknown-items", help="Keep events of items that the run does not know, for a later run."),
    ] = False
    approximate: Annotated[
        bool,
        typer.Option("--approximate", help="Lists by the index beside each run, as `kgrec index` makes it."),
    ] = False
    any_graph: Annotated[bool, typer.Option("--any-graph", help="A run of another graph may take a run's place.")] = (
        False
    )
    image: Annotated[
        str | None,
        typer.Option("--image", help="A column of items that holds addresses of images, which the page shows."),
    ] = None
    no_log: Annotated[bool, typer.Option("--no-log", help="Write no line for each request.")] = False
    log_ids: Annotated[
        bool, typer.Option("--log-ids", help="Write paths, which hold ids, and addresses of clients too.")
    ] = False

    def settings(self, **more: Any) -> Any:
        """As the server reads them."""
        from kgrec.server.server_settings import ServerSettings

        return ServerSettings(
            host=self.host,
            port=self.port,
            keys=self.keys,
            cors=tuple(self.cors or ()),
            hosts=tuple(self.host_name or ()),
            max_k=self.max_k,
            max_body=self.max_body,
            seconds=self.timeout,
            keep_unknown_items=self.keep_unknown_items,
            any_graph=self.any_graph,
            approximate=self.approximate,
            image=self.image,
            log_requests=not self.no_log,
            log_ids=self.log_ids,
            **more,
        )


@with_options
def serve(
    runs: Annotated[
        list[str],
        typer.Argument(
            metavar="RUN...", help="Run folders, or links to some; NAME=FOLDER names one. The first is the default."
        ),
    ],
    *,
    server: ServerOptions,
    device: Device = "auto",
    model: TrustedModel = None,
) -> None:
    """Serve runs over HTTP: lists, similar items, predictions, new items, events. Reference at /docs, a page at /."""
    must_have_server()
    from kgrec.server.serving_process import named_runs
    from kgrec.training.processes import choose_device

    paths = named_runs(runs)
    run_server(paths, server, trust=model, device=str(choose_device(device)))


def run_server(paths: dict[str, Path], server: ServerOptions, **more: Any) -> None:
    """Serve runs by name until a signal comes."""
    from kgrec.server.serving_process import serve as run
    from kgrec.server.serving_state import ServingState

    collect_as_usual()
    name, path = next(iter(paths.items()))
    events = server.events or str(path.absolute().parent / f"{name}.events.sqlite")

    def started(state: ServingState, port: int) -> None:
        shown = f"[{server.host}]" if ":" in server.host else server.host
        status(f"serving {', '.join(state.runs.runs)} at http://{shown}:{port}/ (reference at /docs; Ctrl-C ends it)")

    run(paths, server.settings(**more), events=events, no_keys=server.no_keys, started=started)


def must_have_server() -> None:
    """Raise KgrecError where a package of the extra `serve` is missing."""
    import importlib.util

    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if missing:
        raise KgrecError(f"the server needs {', '.join(missing)}, not installed here: pip install 'kgrec[serve]'")


def key(
    name: Annotated[
        str, typer.Argument(metavar="NAME", help="What to call the key, such as the program that uses it.")
    ],
    keys: Annotated[Path, typer.Option("--keys", help="The file of keys, which is made if it is not there.")],
    role: Annotated[
        str,
        typer.Option("--role", help="read: lists; write: also events and new items; admin: also reload and delete."),
    ] = "read",
) -> None:
    """Make an API key for `kgrec serve --keys`. It is printed once; the file holds its hash."""
    from kgrec.server.api_keys import add_key

    say(add_key(keys, name, role))

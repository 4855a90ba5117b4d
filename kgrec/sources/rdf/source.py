"""Where RDF is and how to read it: the files or the endpoint in a recipe."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import BeforeValidator, Field, model_validator

from kgrec.errors import BadData, Fault
from kgrec.sources.advice import SAY_DATA
from kgrec.sources.limits import QUERY_SECONDS
from kgrec.sources.rdf.facts import FactOptions
from kgrec.sources.rdf.rdf_file import FORMATS, RdfFile, RdfFormat, format_of


def _as_list(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


class RdfSource(FactOptions):
    """RDF in files, or from a SPARQL endpoint."""

    files: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=list[str] | str)] = Field(
        [], description="path relative to the data folder, a pattern such as dump-*.nt.gz, or a list of them"
    )
    format: Literal["auto"] | RdfFormat = Field(
        "auto", description="the files' format. auto: decided by the suffix, without .gz, .bz2 or .zst"
    )
    base: str | None = Field(None, description="the base IRI, for files with relative IRIs")
    lenient: bool = Field(False, description="accept invalid IRIs, which some old DBpedia dumps have")
    contexts: dict[str, str] = Field(
        {},
        description="URL of a JSON-LD context -> a local copy of it. The context of schema.org is built in; no context "
        "is downloaded",
    )
    query: str | None = Field(
        None, description="a SPARQL CONSTRUCT query on the files or the endpoint; its triples are the facts"
    )
    endpoint: str | None = Field(None, description="instead of `files`: the URL of a SPARQL endpoint; needs `query`")
    timeout: float = Field(
        QUERY_SECONDS,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="with `query`: the longest time that it may run, in seconds",
    )
    network: bool = Field(
        False,
        description="whether the query and its answer may contact other hosts: by SERVICE, FROM, JSON-LD contexts or "
        "redirects. Default: only the host of `endpoint`",
    )

    @model_validator(mode="after")
    def _fits(self) -> RdfSource:
        if bool(self.files) == bool(self.endpoint):
            raise ValueError("either `files` or `endpoint` is needed, and not both")
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"`endpoint` {self.endpoint!r} is not a URL with http:// or https://")
        if self.endpoint and not self.query:
            raise ValueError("`endpoint` needs `query`: a CONSTRUCT query for the facts that you want")
        return self


def rdf_files(source: RdfSource, folder: Path) -> list[RdfFile]:
    """The files of all names and patterns, in order. Raises BadData with all that are missing or of unknown format."""
    found: list[RdfFile] = []
    faults = []
    contexts = {url: folder / name for url, name in source.contexts.items()}
    for name in source.files:
        is_pattern = any(character in name for character in "*?[") and not (folder / name).exists()
        paths = sorted(folder.glob(name)) if is_pattern else [folder / name]
        if not paths or not all(path.is_file() for path in paths):
            what = f"{folder / name} does not exist; fix `files` in the recipe, or {SAY_DATA}"
            faults.append(Fault(what, name, kind="missing file", file_is="named"))
            continue
        for path in paths:
            format = format_of(path) if source.format == "auto" else source.format
            if format is None:
                formats = ", ".join(get_args(RdfFormat))
                what = f"the suffix is not one of {', '.join(FORMATS)}; set `format` to one of {formats}"
                faults.append(Fault(what, path.name, value=path.suffix, kind="bad recipe"))
                continue
            shown = str(path.relative_to(folder)) if is_pattern else name
            found.append(RdfFile(path, shown, format, source.base, source.lenient, contexts))
    if faults:
        raise BadData(faults)
    return found

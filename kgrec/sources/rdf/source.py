"""Where RDF is and how it is to be read: files or an endpoint, as a recipe names them."""

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
    """RDF in files, or behind a SPARQL endpoint."""

    files: Annotated[list[str], BeforeValidator(_as_list, json_schema_input_type=list[str] | str)] = Field(
        [], description="path relative to the data folder, a pattern such as dump-*.nt.gz, or a list of them"
    )
    format: Literal["auto"] | RdfFormat = Field("auto", description="auto: by the suffix, less .gz, .bz2, .zst")
    base: str | None = Field(None, description="the IRI to which relative ones are relative")
    lenient: bool = Field(False, description="take IRIs that break the rules, as old DBpedia dumps have some")
    contexts: dict[str, str] = Field(
        {}, description="URL of a JSON-LD context -> a local file of it; schema.org's is built in. Nothing is fetched"
    )
    query: str | None = Field(None, description="SPARQL over the files or endpoint: CONSTRUCT, or SELECT of a table")
    endpoint: str | None = Field(None, description="URL of a SPARQL endpoint, instead of files")
    timeout: float = Field(
        QUERY_SECONDS,
        gt=0,
        le=1_000_000,
        allow_inf_nan=False,
        description="seconds that a query may run, over the files or at the endpoint",
    )
    network: bool = Field(
        False,
        description="whether the query and its answer may reach other hosts: SERVICE, FROM, remote JSON-LD contexts, "
        "an endpoint that redirects. Without it only the `endpoint` that is named is asked",
    )

    @model_validator(mode="after")
    def _fits(self) -> RdfSource:
        if bool(self.files) == bool(self.endpoint):
            raise ValueError("say either `files` or `endpoint`")
        if self.endpoint and not self.endpoint.startswith(("http://", "https://")):
            raise ValueError(f"`endpoint` {self.endpoint!r} is no http URL")
        if self.endpoint and not self.query:
            raise ValueError("`endpoint` needs `query`: a CONSTRUCT that says which facts")
        return self


def rdf_files(source: RdfSource, folder: Path) -> list[RdfFile]:
    """The files that names and patterns mean, in order. Raises BadData with all that are missing or of unknown form."""
    found: list[RdfFile] = []
    faults = []
    contexts = {url: folder / name for url, name in source.contexts.items()}
    for name in source.files:
        is_pattern = any(character in name for character in "*?[") and not (folder / name).exists()
        paths = sorted(folder.glob(name)) if is_pattern else [folder / name]
        if not paths or not all(path.is_file() for path in paths):
            what = f"{folder / name} is not there; mend `files` in the recipe, or {SAY_DATA}"
            faults.append(Fault(what, name, kind="missing file", file_is="named"))
            continue
        for path in paths:
            format = format_of(path) if source.format == "auto" else source.format
            if format is None:
                formats = ", ".join(get_args(RdfFormat))
                what = f"its suffix is none of {', '.join(FORMATS)}; say `format:`, one of {formats}"
                faults.append(Fault(what, path.name, value=path.suffix, kind="bad recipe"))
                continue
            shown = str(path.relative_to(folder)) if is_pattern else name
            found.append(RdfFile(path, shown, format, source.base, source.lenient, contexts))
    if faults:
        raise BadData(faults)
    return found

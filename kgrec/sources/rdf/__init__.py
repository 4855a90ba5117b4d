"""Reads facts from RDF: files, SPARQL answers, rdflib graphs."""

from typing import TYPE_CHECKING

from kgrec._deprecation import renamed
from kgrec._late import late

if TYPE_CHECKING:
    from kgrec.sources.rdf.facts import FactOptions, Facts
    from kgrec.sources.rdf.reading import facts_of, read_rdf
    from kgrec.sources.rdf.source import RdfSource

__all__ = ["FactOptions", "Facts", "RdfSource", "facts_of", "read_rdf"]

_former_names = renamed(
    __name__,
    {
        "rdf_files": "kgrec.sources.rdf.source:rdf_files",
        "LANG_STRING": "kgrec.sources.rdf.reading:LANG_STRING",
        "XSD_STRING": "kgrec.sources.rdf.reading:XSD_STRING",
    },
)

_HOMES = {
    "FactOptions": "facts",
    "Facts": "facts",
    "facts_of": "reading",
    "read_rdf": "reading",
    "RdfSource": "source",
}

__getattr__ = late(__name__, _HOMES, _former_names)

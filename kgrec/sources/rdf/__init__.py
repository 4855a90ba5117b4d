"""Reads facts from RDF: files, SPARQL answers, rdflib graphs."""

from kgrec._deprecation import renamed
from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.reading import facts_of, read_rdf
from kgrec.sources.rdf.source import RdfSource

__all__ = ["FactOptions", "Facts", "RdfSource", "facts_of", "read_rdf"]

__getattr__ = renamed(
    __name__,
    {
        "rdf_files": "kgrec.sources.rdf.source:rdf_files",
        "LANG_STRING": "kgrec.sources.rdf.reading:LANG_STRING",
        "XSD_STRING": "kgrec.sources.rdf.reading:XSD_STRING",
    },
)

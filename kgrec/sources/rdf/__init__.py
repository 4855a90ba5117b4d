"""RDF to numbered facts: files, SPARQL answers, rdflib graphs."""

from kgrec.sources.rdf.facts import FactOptions, Facts
from kgrec.sources.rdf.reading import facts_of, read_rdf
from kgrec.sources.rdf.source import RdfSource

__all__ = ["FactOptions", "Facts", "RdfSource", "facts_of", "read_rdf"]

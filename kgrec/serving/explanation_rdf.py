"""An explanation as RDF in the words of PROV-O: from which facts a recommendation was derived, and by what model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from kgrec.errors import unknown_name
from kgrec.files import whole
from kgrec.output_kinds import marked_kind

if TYPE_CHECKING:
    import rdflib

    from kgrec.serving.explanation import ExplainedItem, Explanation, PathNode, ReasonPath

NAMESPACE = "https://kgrec.github.io/kgrec/explanation#"
FORMS = {".ttl": "turtle", ".nt": "nt", ".jsonld": "json-ld", ".rdf": "xml", ".trig": "trig"}
KIND = marked_kind("explanation of kgrec's", NAMESPACE)
#: What of a path's faithfulness is written, by the name of the property
MEASURED = {
    "scoreBefore": "score_before",
    "scoreAfter": "score_after",
    "scoreDrop": "drop",
    "rankBefore": "rank_before",
    "rankAfter": "rank_after",
    "lowersMoreThanRandom": "lowers_more",
}


def rdf_form(file: Path) -> str:
    """The form of a file by its ending. Raises UnknownName."""
    if file.suffix.lower() not in FORMS:
        raise unknown_name("form of RDF", file.suffix or file.name, FORMS, "to write")
    return FORMS[file.suffix.lower()]


def write_rdf(explanation: Explanation, file: Path, *, overwrite: bool = False) -> None:
    """Write an explanation as RDF. Raises UnknownName for an ending that is of no form, KgrecError for a file that is
    there, unless it is an explanation and `overwrite` is set."""
    form = rdf_form(file)
    with whole(file, overwrite, KIND) as part:
        part.write_text(as_rdf(explanation).serialize(format=form), encoding="utf-8")


def as_rdf(explanation: Explanation) -> rdflib.Graph:
    """The triples of an explanation.

    A recommendation (prov:Entity) was attributed to the model (prov:SoftwareAgent) and derived from paths; a path was
    derived from facts, each an rdf:Statement, in the order of the list `links`. Nodes and relations have their own IRIs
    where they have one, else `urn:kgrec:TYPE:ID` and `urn:kgrec:relation:NAME`."""
    import rdflib
    from rdflib.namespace import PROV, RDF, RDFS, XSD

    own = rdflib.Namespace(NAMESPACE)
    found = rdflib.Graph()
    found.bind("prov", PROV)
    found.bind("explanation", own)
    user = _term(explanation.user)
    model = rdflib.URIRef(f"urn:kgrec:model:{quote(explanation.model, safe='')}")
    found.add((model, RDF.type, PROV.SoftwareAgent))
    found.add((model, RDFS.label, rdflib.Literal(explanation.model)))
    for number, item in enumerate(explanation.items):
        paths = explanation.paths_to(item.id)
        place = f"{explanation.model}:{explanation.user.id}:{item.id}"
        one = rdflib.URIRef(f"urn:kgrec:recommendation:{quote(place, safe='')}")
        done = rdflib.BNode(f"scoring{number}")
        node = _term(item)
        for kind in (PROV.Entity, own.Recommendation):
            found.add((one, RDF.type, kind))
        found.add((done, RDF.type, PROV.Activity))
        found.add((done, PROV.wasAssociatedWith, model))
        for name, value in (
            (PROV.wasAttributedTo, model),
            (PROV.wasGeneratedBy, done),
            (own.user, user),
            (own.item, node),
            (own.score, rdflib.Literal(item.score, datatype=XSD.double)),
            (own["rank"], rdflib.Literal(item.rank)),
        ):
            found.add((one, name, value))
        found.add((node, RDFS.label, rdflib.Literal(item.label)))
        for at, path in enumerate(paths):
            _add_path(found, own, explanation, path, one, done, rdflib.BNode(f"path{number}_{at}"))
    return found


def _add_path(
    found: rdflib.Graph, own: Any, explanation: Explanation, path: ReasonPath, recommendation: Any, done: Any, node: Any
) -> None:
    import rdflib
    from rdflib.collection import Collection
    from rdflib.namespace import PROV, RDF, RDFS, XSD

    for kind in (PROV.Entity, own.Path):
        found.add((node, RDF.type, kind))
    found.add((recommendation, PROV.wasDerivedFrom, node))
    found.add((node, RDFS.comment, rdflib.Literal(path.text)))
    found.add((node, own.strength, rdflib.Literal(path.strength, datatype=XSD.double)))
    facts = list[rdflib.term.Node]()
    for at, relation in enumerate(path.relations):
        ends = path.nodes[at], path.nodes[at + 1]
        subject, target = ends if relation.onwards else ends[::-1]
        name = relation.iri or f"urn:kgrec:relation:{quote(relation.name, safe='')}"
        fact = rdflib.BNode(f"{node}_link{at}")
        for predicate, value in (
            (RDF.type, RDF.Statement),
            (RDF.type, PROV.Entity),
            (RDF.subject, _term(subject)),
            (RDF.predicate, rdflib.URIRef(name)),
            (RDF.object, _term(target)),
        ):
            found.add((fact, predicate, value))
        found.add((node, PROV.wasDerivedFrom, fact))
        found.add((done, PROV.used, fact))
        for end in ends:
            found.add((_term(end), RDFS.label, rdflib.Literal(end.label)))
        facts.append(fact)
    Collection(found, links := rdflib.BNode(f"{node}_links"), facts)
    found.add((node, own.links, links))
    if path.faithfulness is None:
        found.add((node, own.masking, rdflib.Literal(explanation.unreached or "masking does not reach the score")))
        return
    for name, field in MEASURED.items():
        value = getattr(path.faithfulness, field)
        if value is not None:
            kind = XSD.integer if isinstance(value, int) else XSD.double
            found.add((node, own[name], rdflib.Literal(value, datatype=kind)))


def _term(node: PathNode | ExplainedItem) -> rdflib.URIRef:
    import rdflib

    return rdflib.URIRef(node.iri or f"urn:kgrec:{node.type}:{quote(node.id, safe='')}")

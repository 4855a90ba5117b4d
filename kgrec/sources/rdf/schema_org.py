"""Rules for schema.org: its terms have two spellings, and its JSON-LD context is built in (never downloaded)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

NAMESPACE = "http://schema.org/"  #: the namespace of its terms in its published context
SECURE = "https://schema.org/"  #: the other spelling of the same namespace


def vocabulary_term(iri: str) -> str:
    """A predicate or class in the spelling that is used to compare it: schema.org's with http, any other as it is.

    >>> vocabulary_term("https://schema.org/name"), vocabulary_term("https://schema.org.example/name")
    ('http://schema.org/name', 'https://schema.org.example/name')
    """
    return NAMESPACE + iri[len(SECURE) :] if iri.startswith(SECURE) else iri


def spellings(iri: str) -> tuple[str, ...]:
    """All spellings of a predicate or class.

    >>> spellings("http://schema.org/name"), spellings("http://x/name")
    (('http://schema.org/name', 'https://schema.org/name'), ('http://x/name',))
    """
    term = vocabulary_term(iri)
    return (term, SECURE + term[len(NAMESPACE) :]) if term.startswith(NAMESPACE) else (iri,)


def schemes(iris: Iterable[str]) -> set[str]:
    """Whether predicates and classes of schema.org are spelled with `http`, with `https`, or both."""
    return {iri.partition(":")[0] for iri in iris if iri.startswith((NAMESPACE, SECURE))}


_LINK_TERMS = """
    acquireLicensePage actionableFeedbackPolicy additionalType afterMedia archivedAt associatedDisease beforeMedia
    benefitsSummaryUrl codeRepository colleague colorSwatch constraintProperty contentUrl correctionsPolicy
    discussionUrl diseasePreventionInfo diseaseSpreadStatistics diversityPolicy diversityStaffingReport documentation
    downloadUrl duringMedia embedUrl ethicsPolicy gameLocation gettingTestedInfo hasGS1DigitalLink hasMap
    hasMolecularFunction healthPlanMarketingUrl image inCodeSet inDefinedTermSet installUrl isBasedOn isBasedOnUrl
    isInvolvedInBiologicalProcess isLocatedInSubcellularLocation isPartOf labelDetails layoutImage license logo
    mainEntityOfPage map maps masthead merchantReturnLink missionCoveragePrioritiesPolicy newsUpdatesAndGuidelines
    noBylinesPolicy originalMediaLink paymentUrl prescribingInfo productReturnLink publicTransportClosuresInfo
    publishingPrinciples quarantineGuidelines relatedLink replyToUrl sameAs schoolClosuresInfo screenshot sdLicense
    season serviceUrl shippingSettingsLink significantLink significantLinks speakable target targetUrl thumbnailUrl
    tourBookingPage trackingUrl travelBans unnamedSourcesPolicy url usageInfo verificationFactCheckingPolicy webFeed
"""
LINK_TERMS = frozenset(_LINK_TERMS.split())  #: terms whose text is an IRI in the published context

CONTEXT: Mapping[str, Any] = {
    "@vocab": NAMESPACE,
    "schema": NAMESPACE,
    "dc": "http://purl.org/dc/elements/1.1/",
    "dcterms": "http://purl.org/dc/terms/",
    "dct": "http://purl.org/dc/terms/",
    "foaf": "http://xmlns.com/foaf/0.1/",
    "owl": "http://www.w3.org/2002/07/owl#",
    "prov": "http://www.w3.org/ns/prov#",
    "rdf": "http://www.w3.org/1999/02/22-rdf-syntax-ns#",
    "rdfs": "http://www.w3.org/2000/01/rdf-schema#",
    "skos": "http://www.w3.org/2004/02/skos/core#",
    "xsd": "http://www.w3.org/2001/XMLSchema#",
    "id": "@id",
    "type": "@type",
    **{name: {"@type": "@id"} for name in sorted(LINK_TERMS)},
}  #: is used in place of schema.org's context

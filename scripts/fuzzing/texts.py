"""Small correct files: RDF in all formats, answers of endpoints, tables."""

from __future__ import annotations

import gzip
import json

Files = dict[str, bytes]  #: path in a case's folder -> contents

PREFIXES = (
    "@prefix s: <https://schema.org/> .\n@prefix k: <http://www.w3.org/2004/02/skos/core#> .\n@prefix : <http://x/> .\n"
)
TURTLE = f"""{PREFIXES}
:i1 a s:Product ; s:name "One"@en ; s:brand :acme ; s:weight 1.5 .
:i2 a s:Product ; s:name "Two \\u00e9"@en, "Zwei"@de ; s:brand :acme .
:i2 s:weight "2"^^<http://www.w3.org/2001/XMLSchema#decimal> .
:i3 s:brand [ a s:Brand ; s:name "Nameless" ] .
:acme a s:Brand ; s:name "Acme [/b]" ; s:location :de .
:tea k:broader :drink . :drink k:narrower :juice .
"""
TRIPLES = """<http://x/i1> <https://schema.org/brand> <http://x/acme> .
<http://x/i2> <https://schema.org/brand> <http://x/acme> .
<http://x/i1> <https://schema.org/name> "One"@en .
<http://x/i3> <https://schema.org/brand> _:b1 .
_:b1 <http://www.w3.org/1999/02/22-rdf-syntax-ns#type> <https://schema.org/Brand> .
<http://x/i1> <https://schema.org/weight> "1.5"^^<http://www.w3.org/2001/XMLSchema#decimal> .
<http://x/tea> <http://www.w3.org/2004/02/skos/core#broader> <http://x/drink> .
"""
RDF_XML = """<?xml version="1.0" encoding="utf-8"?>
<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:s="https://schema.org/" xml:base="http://x/">
  <s:Product rdf:about="i1"><s:name xml:lang="en">One</s:name><s:brand rdf:resource="acme"/></s:Product>
  <rdf:Description rdf:about="http://x/i2" s:name="Two"><s:brand><s:Brand rdf:about="acme"/></s:brand>
    <s:weight rdf:datatype="http://www.w3.org/2001/XMLSchema#decimal">2.5</s:weight></rdf:Description>
  <rdf:Description rdf:about="i3"><s:part rdf:parseType="Collection"><rdf:Description rdf:about="a"/></s:part>
    <s:note rdf:parseType="Literal"><b>x</b></s:note></rdf:Description>
</rdf:RDF>
"""
JSON_LD = {
    "@context": {"s": "https://schema.org/", "name": "s:name", "brand": {"@id": "s:brand", "@type": "@id"}},
    "@graph": [
        {
            "@id": "http://x/i1",
            "@type": "s:Product",
            "name": {"@value": "One", "@language": "en"},
            "brand": "http://x/acme",
        },
        {"@id": "http://x/i2", "s:weight": 2.5, "brand": {"@id": "http://x/acme", "@type": "s:Brand", "name": "Acme"}},
        {"@id": "http://x/i3", "s:part": {"@list": [{"@id": "http://x/a"}, {"@id": "http://x/b"}]}},
    ],
}
QUADS = "".join(line.replace(" .\n", " <http://x/g> .\n") for line in TRIPLES.splitlines(keepends=True))
TRIG = TURTLE.replace(":tea k:broader", ":g {\n:tea k:broader").rstrip() + "\n}\n"
RDF_FORMS: dict[str, bytes] = {
    "facts.ttl": TURTLE.encode(),
    "facts.nt": TRIPLES.encode(),
    "facts.rdf": RDF_XML.encode(),
    "facts.jsonld": json.dumps(JSON_LD, indent=1).encode(),
    "facts.trig": TRIG.encode(),
    "facts.nq": QUADS.encode(),
    "facts.n3": TURTLE.encode(),
    "facts.ttl.gz": gzip.compress(TURTLE.encode(), mtime=0),
    "facts.nt.gz": gzip.compress(TRIPLES.encode(), mtime=0),
}
ANSWERS: dict[str, bytes] = {
    "text/turtle": TURTLE.encode(),
    "application/n-triples": TRIPLES.encode(),
    "application/rdf+xml": RDF_XML.encode(),
    "application/ld+json": json.dumps(JSON_LD).encode(),
    "application/sparql-results+json": json.dumps(
        {
            "head": {"vars": ["item", "name"]},
            "results": {
                "bindings": [
                    {
                        "item": {"type": "uri", "value": f"http://x/i{n}"},
                        "name": {"type": "literal", "xml:lang": "en", "value": f"name {n}"},
                    }
                    for n in (1, 2, 3)
                ]
            },
        }
    ).encode(),
    "application/sparql-results+xml": (
        '<?xml version="1.0"?>\n<sparql xmlns="http://www.w3.org/2005/sparql-results#"><head><variable name="item"/>'
        '<variable name="name"/></head><results>'
        + "".join(
            f'<result><binding name="item"><uri>http://x/i{n}</uri></binding><binding name="name">'
            f'<literal datatype="http://www.w3.org/2001/XMLSchema#string">name {n}</literal></binding></result>'
            for n in (1, 2, 3)
        )
        + "</results></sparql>"
    ).encode(),
}
ENDPOINT = "http://endpoint.invalid/"  #: stands in recipes for the URL of the server that answers

USERS = "user,age,country,note\n" + "".join(f"u{n},{20 + n},{'DE' if n % 2 else 'FR'},text {n}\n" for n in range(1, 6))
ITEMS = "item,title,genres,brand,price,path\n" + "".join(
    f'i{n},"Title, {n}",A|B{n % 2},b{n % 3},{n}.50,Food > Tea {n % 2}\n' for n in range(1, 7)
)
PAIRS = [(user, item) for user in range(1, 6) for item in range(1, 7) if (user * item) % 4 != 3]
EVENTS = "user,item,event,time,rating\n" + "".join(
    f"u{user},i{item},{'buy' if item % 3 == 0 else 'view'},{1_700_000_000 + 86_400 * place},{1 + place % 5}\n"
    for place, (user, item) in enumerate(sorted(PAIRS, key=lambda pair: (pair[1] * 7 + pair[0] * 3) % 11))
)

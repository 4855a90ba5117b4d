"""How many links of films to entities `kgrec link` finds, and how many of them are right."""

from __future__ import annotations

import json
import re
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from kgrec.sources.linking import Links, find_links
from kgrec.sources.recipe.recipe import Recipe

LABEL = "http://www.w3.org/2000/01/rdf-schema#label"
ABSTRACT = "http://dbpedia.org/ontology/abstract"
GENRE = "http://dbpedia.org/ontology/genre"
ENTITY = "http://www.wikidata.org/entity/Q{}"


def link_films(benchmark: Mapping[str, Any], data: Path, root: Path) -> dict[str, Any]:
    """Links of items to entities by name, held against published ones that are not seen: the share of accepted links
    that equal those, the share of those that are found, and seconds."""
    recipe = Recipe.load(root / f"graphs/{benchmark['recipe']}.yaml")
    rdf = [source.model_copy(update={"files": benchmark["facts"]}) for source in recipe.rdf]
    begun = time.perf_counter()
    found = find_links(recipe.model_copy(update={"links": {}, "rdf": rdf}), data)
    seconds = time.perf_counter() - begun
    table = pd.read_csv(data / benchmark["links"], sep="\t", header=benchmark.get("header"), dtype=str)
    published = dict(zip(table[table.columns[0]], table[table.columns[-1]]))
    return {"test": {**_quality(found, published), "seconds": seconds}, "found": found.to_json()}


def link_plots(benchmark: Mapping[str, Any], data: Path) -> dict[str, Any]:
    """Links of films by titles without years, and by plots: items have the odd sentences, entities the even ones, and
    each `nameless`-th entity has no name. The same without the plots of items is the control."""
    films = _films(next((data / benchmark["plots"]).iterdir()))
    true = {str(film): ENTITY.format(film * 31) for film in films["film"].tolist()}
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        films[["film", "title", "plot"]].to_csv(folder / "films.csv", index=False)
        pd.DataFrame({"user": 1, "film": films.film}).to_csv(folder / "ratings.csv", index=False)
        with (folder / "facts.nt").open("w", encoding="utf-8") as file:
            order = np.random.default_rng(0).permutation(len(films))  # else places would tell who is who
            for place in order.tolist():
                film, title, _, abstract = films.iloc[place].tolist()
                iri = f"<{true[str(film)]}>"
                if place % benchmark["nameless"]:
                    file.write(f"{iri} <{LABEL}> {json.dumps(title)} .\n")
                file.write(f"{iri} <{ABSTRACT}> {json.dumps(abstract)} .\n")
                file.write(f"{iri} <{GENRE}> <http://dbpedia.org/resource/{film % 7}> .\n")
        for way, features in (("with", {"plot": "text"}), ("without", {})):
            table = {"file": "films.csv", "id": "film", "label": "title", "features": features}
            recipe = Recipe.model_validate(
                {
                    "name": "films",
                    "nodes": {"item": table},
                    "interactions": {"file": "ratings.csv", "item": "film"},
                    "rdf": {"files": "facts.nt"},
                }
            )
            begun = time.perf_counter()
            found = _quality(find_links(recipe, folder), true)
            seconds = time.perf_counter() - begun
            result |= {f"{key}_{way}": value for key, value in {**found, "seconds": seconds}.items()}
    return {"test": result}


def _films(file: Path) -> pd.DataFrame:
    """Films with a plot of at least two sentences: the number, the title, the odd sentences and the even ones."""
    rows = []
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines():
        columns = line.split("::")
        sentences = re.split(r"(?<=[.!?])\s+", columns[9] if len(columns) > 9 else "")
        if len(sentences) > 1:
            rows.append((int(columns[0]), columns[1], " ".join(sentences[::2]), " ".join(sentences[1::2])))
    return pd.DataFrame(rows, columns=["film", "title", "plot", "abstract"])


def _quality(found: Links, true: Mapping[str, str]) -> dict[str, float]:
    """How many links are known, how many were accepted, the share of these that are right, and of those found."""
    right = sum(true.get(row.id) == row.entity for row in found.accepted)
    accepted = len(found.accepted)
    return {
        "published": len(true),
        "accepted": accepted,
        "precision": right / max(1, accepted),
        "recall": right / len(true),
    }

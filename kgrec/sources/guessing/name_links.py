"""Links from items to entities by names and years, where the raw files have no key for them."""

from __future__ import annotations

from collections.abc import Callable

from kgrec.errors import KgrecError
from kgrec.sources.guessing.folder_tables import FolderTables
from kgrec.sources.guessing.knowledge_choice import KnowledgeChooser
from kgrec.sources.guessing.proving import recipe_of
from kgrec.sources.guessing.rdf_profile import NO_BASE
from kgrec.sources.linking import find_links, write_links

LEAST = 0.2  #: share of the items that must be found, else the likeness of names is chance
MOST_BYTES = 300_000_000  #: of RDF, above which names are not compared, as it would take minutes
FILE = "links.csv"


def link_by_name(knowledge: KnowledgeChooser, folder: FolderTables, progress: Callable[[str], None]) -> bool:
    """Find items in RDF by their names, and write the links, the RDF and a file of links. Returns whether it was done;
    where it was not, a remark in the recipe says why there is no link."""
    if knowledge.unlinked is None:
        return False
    profile, remark = knowledge.unlinked
    recipe = knowledge.recipe
    if sum(file.size for file in profile.files) > MOST_BYTES:
        _remark(knowledge, f"{remark}\nThe RDF is large, so names were not compared: see `kgrec link`.")
        return False
    progress("looking for the items in the RDF by their names")
    rdf = {"files": [file.name for file in profile.files], "lenient": profile.is_lenient}
    if profile.needs_base:
        rdf["base"] = NO_BASE
    values = {key: value for key, value in recipe.values.items() if key not in ("links", "triples")}
    try:
        links = find_links(recipe_of({**values, "rdf": rdf}, folder))
    except KgrecError as error:
        _remark(knowledge, f"{remark}\nNames were compared in vain: {error}")
        return False
    number = len(links.accepted) + len(links.others) + links.unlike
    share = len(links.accepted) / max(1, number)
    if share < LEAST:
        _remark(
            knowledge, f"{remark}\nBy their names {share:.1%} of the items were found, too few to be more than chance."
        )
        return False
    path = folder.made / FILE
    write_links(links, path)
    name = folder.name_of(path)
    folder.origins[name] = "names of items and entities"
    because = (
        f"{share:.1%} of the items were found by names and years, as `kgrec link` does; the file has scores and "
        "runners-up to look at"
    )
    knowledge.put_linked_rdf(name, because, [row.entity for row in links.accepted])
    return True


def _remark(knowledge: KnowledgeChooser, text: str) -> None:
    assert knowledge.unlinked is not None
    remarks = knowledge.recipe.remarks
    remarks[remarks.index(knowledge.unlinked[1])] = text

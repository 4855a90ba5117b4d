"""Links from items to the entities of a knowledge graph, where no key says them."""

from kgrec.sources.linking.linking import (
    LinkOptions,
    Links,
    add_to_recipe,
    file_in_recipe,
    find_links,
    refuse_links,
    write_links,
)

__all__ = ["LinkOptions", "Links", "add_to_recipe", "file_in_recipe", "find_links", "refuse_links", "write_links"]

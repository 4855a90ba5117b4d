"""The keys of a recipe, which say what the columns and predicates of a data set's files mean."""

from typing import TYPE_CHECKING

from kgrec._deprecation import renamed
from kgrec._late import late

if TYPE_CHECKING:
    from kgrec.sources.recipe.recipe import Recipe

__all__ = ["Recipe"]

_former_names = renamed(
    __name__,
    {
        "AttributeEdge": "kgrec.sources.recipe.node_part:AttributeEdge",
        "ImageFolder": "kgrec.sources.recipe.node_part:ImageFolder",
        "NodeTable": "kgrec.sources.recipe.node_part:NodeTable",
        "Nodes": "kgrec.sources.recipe.node_part:Nodes",
        "VectorFile": "kgrec.sources.recipe.node_part:VectorFile",
        "Behaviours": "kgrec.sources.recipe.interaction_part:Behaviours",
        "Click": "kgrec.sources.recipe.interaction_part:Click",
        "Interactions": "kgrec.sources.recipe.interaction_part:Interactions",
        "Session": "kgrec.sources.recipe.interaction_part:Session",
        "TimeColumn": "kgrec.sources.recipe.interaction_part:TimeColumn",
        "FeatureColumn": "kgrec.sources.recipe.table_part:FeatureColumn",
        "TableFile": "kgrec.sources.recipe.table_part:TableFile",
        "TableFormat": "kgrec.sources.recipe.table_part:TableFormat",
        "Files": "kgrec.sources.recipe.recipe_part:Files",
        "Name": "kgrec.sources.recipe.recipe_part:Name",
        "PartName": "kgrec.sources.recipe.recipe_part:PartName",
        "RecipePart": "kgrec.sources.recipe.recipe_part:RecipePart",
        "Link": "kgrec.sources.recipe.knowledge_part:Link",
        "Triples": "kgrec.sources.recipe.knowledge_part:Triples",
        "GivenSplit": "kgrec.sources.recipe.published_part:PublishedSplit",
        "GivenCandidates": "kgrec.sources.recipe.published_part:PublishedCandidates",
        "Standard": "kgrec.sources.recipe.recipe:Standard",
    },
)

__getattr__ = late(__name__, {"Recipe": "recipe"}, _former_names)

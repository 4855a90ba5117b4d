"""The words of a recipe: what the columns and predicates of a data set's files mean."""

from kgrec.sources.recipe.recipe import Recipe

__all__ = ["Recipe"]

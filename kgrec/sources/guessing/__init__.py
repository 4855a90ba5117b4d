"""Guesses a recipe from a folder of raw files: keys, interactions, times and links, each with its evidence."""

from kgrec.sources.guessing.questions import Choices, Question
from kgrec.sources.guessing.recipe_guess import RecipeGuess, init

__all__ = ["Choices", "Question", "RecipeGuess", "init"]

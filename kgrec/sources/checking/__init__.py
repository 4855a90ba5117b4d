"""What is wrong with a recipe and its files, or with a graph folder: all of it, not only the first."""

from kgrec.sources.checking.checker import Problem, check

__all__ = ["Problem", "check"]

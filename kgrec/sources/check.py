"""The former home of `check`: it is `kgrec.sources.checking` now."""

from kgrec.sources.checking import Problem, check

__all__ = ["Problem", "check"]

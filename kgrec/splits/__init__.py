"""Splits: what a model may learn from, what chooses, and what is measured once."""

from kgrec.splits.split import Split, split, split_facts

__all__ = ["Split", "split", "split_facts"]

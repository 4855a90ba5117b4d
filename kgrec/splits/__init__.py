"""Splits: the train edges, the validation edges that choose an epoch, and the test edges that are measured once."""

from kgrec.splits.split import Split, split, split_facts

__all__ = ["Split", "split", "split_facts"]

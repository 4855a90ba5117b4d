"""The kgrec command."""

from kgrec.cli.entry import app, main, wait_briefly

__all__ = ["app", "main", "wait_briefly"]

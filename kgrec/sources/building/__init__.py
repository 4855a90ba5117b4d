"""Makes one graph from columns and facts, by one list of steps."""

from kgrec.sources.building.pipeline import build, build_to

__all__ = ["build", "build_to"]

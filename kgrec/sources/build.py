"""The former home of `build`: it is `kgrec.sources.building` now."""

from kgrec.sources.building import build, build_to

__all__ = ["build", "build_to"]

"""Inputs made wrong by chance, and whether kgrec refuses them as it should; see scripts/fuzz."""

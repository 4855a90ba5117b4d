"""Makes randomly damaged inputs and checks that kgrec refuses them properly; see scripts/fuzz."""

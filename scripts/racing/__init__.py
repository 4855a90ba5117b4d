"""Parts of scripts/race.py: time to quality, kgrec beside other libraries."""

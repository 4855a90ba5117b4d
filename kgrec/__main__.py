"""`python -m kgrec`: the kgrec command."""

from kgrec.cli import main

main()

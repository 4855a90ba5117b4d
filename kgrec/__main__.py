"""`python -m kgrec`: the kgrec command."""

from kgrec.cli.entry import main

main()

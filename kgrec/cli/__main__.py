"""`python -m kgrec.cli`."""

from kgrec.cli.entry import main

main()

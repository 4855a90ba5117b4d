"""Advice that a message replaces where the user has followed it already."""

SAY_DATA = "give the data folder with --data"  #: where the files are looked for in the recipe's own folder

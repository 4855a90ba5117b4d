"""Advice that is left out of a message where what it says is so already."""

SAY_DATA = "say the folder with --data"  #: where the folder of the files is the recipe's own

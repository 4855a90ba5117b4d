"""Checks and generates the documentation: it runs the blocks of pages, and writes the reference pages from code."""

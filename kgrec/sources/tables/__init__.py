"""Bytes of a table to typed columns, one way for every format."""

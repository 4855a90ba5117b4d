"""Paths from a user to an item along the edges of a graph: found, weighed, and held to what masking them does."""

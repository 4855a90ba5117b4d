"""Filters: which items a list may show, by their columns and by what the graph says of them."""

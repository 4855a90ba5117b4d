"""Files to one graph: recipes, tables and RDF."""

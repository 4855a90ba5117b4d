"""What a run is worth, as a document: a report in one HTML file, and a model card in Markdown, from the same facts."""

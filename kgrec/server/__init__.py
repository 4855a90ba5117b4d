"""A run behind HTTP: lists, similar items and predictions as JSON, events that users' histories grow by, hot reload."""

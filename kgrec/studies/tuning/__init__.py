"""Search for settings: trials of a model that validation alone judges, and which model is the best."""

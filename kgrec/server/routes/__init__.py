"""What can be asked over HTTP, one kind of question a file."""

"""Models of somebody else's, one file each."""

"""What users do after training: events that are stored for good before they are acknowledged, and read by user."""

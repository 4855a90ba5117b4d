"""Rules: what lists must hold, must not hold, and how varied they are."""

"""What one asks of a model: comparison, backtesting, robustness, noise, generation."""

"""Studies of trained models: comparison, backtests, robustness to noise, synthetic users."""

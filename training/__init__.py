"""Trains the networks: `python -m training RECIPE`."""

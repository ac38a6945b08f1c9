"""Draws samples of jobs: `python -m worker`."""

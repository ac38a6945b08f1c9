"""Measures exported models on images held back: `python -m evaluation MODEL`."""

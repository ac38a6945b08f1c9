"""Measures exported models on test images: one module for each kind of figure."""

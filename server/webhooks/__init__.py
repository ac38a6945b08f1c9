"""Tells clients of the ends of their jobs, by HTTP requests to targets that the operator allows."""

"""The services of smalti.v1."""

"""Starts a whole smalti on this machine: `make demo`, `make up`, `make recording`, and the tests use it."""

"""The services of smalti.v1: one class each, with a method for each RPC."""

"""The command `smalti`."""

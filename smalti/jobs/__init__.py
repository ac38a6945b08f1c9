"""The queue of long drawing jobs, kept in Redis."""

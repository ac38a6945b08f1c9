"""What server and worker processes share: models on disk, sessions, settings, logs, metrics, stop signals."""

"""What the server's and the workers' processes share."""

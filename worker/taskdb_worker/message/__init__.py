"""What a worker reads of a message."""

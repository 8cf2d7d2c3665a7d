"""The messages that a worker receives: check, decompression, consumer."""

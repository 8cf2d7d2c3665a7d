"""The proof: tests, and the real servers and processes that they need."""

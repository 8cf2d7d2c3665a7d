"""`taskdb docs`: the entry of the docs about a word."""

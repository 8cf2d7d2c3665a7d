"""One run of a body: claim, call, outcome."""

"""The task types that `taskdb demo` runs, written as a user would write them."""

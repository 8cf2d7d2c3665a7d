"""At home in other people's frameworks: each needs its extra."""

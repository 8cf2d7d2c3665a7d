"""The number of rounds of a test: few in `make test`, many in `make test-long`."""

import os


def rounds(few: int, many: int) -> int:
    """Return `many` where the environment sets MANY_ROUNDS, else `few`.

    Mark the test with `rounds`, so that `make test-long` runs it.
    """
    return many if os.environ.get("MANY_ROUNDS") else few

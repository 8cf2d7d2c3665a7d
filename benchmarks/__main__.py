"""`python -m benchmarks [NAME …]`: run some measurements, or all of them.

Each starts its own servers on free ports and ends them. The bounds it prints are goals; nothing
here fails when one is missed, since a busy machine misses all of them.
"""

import sys
from collections.abc import Callable

from benchmarks import (
    adopt,
    alarms,
    drain,
    embedded_broker,
    embedded_drain,
    fan_out,
    figures,
    limit,
    memory,
    pooler,
    scaling,
    submit,
)

MEASUREMENTS: dict[str, Callable[[], None]] = {
    "drain": drain.main,
    "alarms": alarms.main,
    "submit": submit.main,
    "adopt": adopt.main,
    "fan_out": fan_out.main,
    "limit": limit.main,
    "memory": memory.main,
    "scaling": scaling.main,
    "pooler": pooler.main,
    "figures": figures.main,
    "embedded": embedded_drain.main,
    "embedded_broker": embedded_broker.main,
}


def main(names: list[str]) -> int:
    """Run them by name; an unknown name is an error that lists the known ones."""
    unknown = [name for name in names if name not in MEASUREMENTS]
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; known: {', '.join(MEASUREMENTS)}\n")
        return 2
    for name in names or list(MEASUREMENTS):
        print(f"== {name}", flush=True)
        MEASUREMENTS[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""How many rows a second `submit_many` puts into the table, and what one submit costs.

    python -m benchmarks submit

Goal: at least 5,000 rows a second on PostgreSQL.
"""

import os
import time

from benchmarks.servers import Servers, servers
from taskdb import Settings, TaskDB
from taskdb.client.caller.caller import Caller
from taskdb.client.submission.chosen_options import ChosenOptions
from taskdb.client.submission.drafting import Drafting
from taskdb.store.contract import EVERYONE

ROWS = int(os.environ.get("BENCH_ROWS", "20000"))
GOAL_ROWS_A_SECOND = 5_000


def main() -> None:
    """Measure and print."""
    with servers() as started:
        _measure(started)


def _measure(started: Servers) -> None:
    settings = Settings.load(started.environment)
    with TaskDB(settings) as taskdb:
        drafting = Drafting(settings, taskdb.types, taskdb.store.payloads, Caller())
        drafts = drafting.drafts("bench.noop", [None] * ROWS, ChosenOptions())
        began = time.perf_counter()
        taskdb.store.submissions.create(drafts, EVERYONE)
        rate = ROWS / (time.perf_counter() - began)
        print(f"rows: {rate:,.0f} a second into the table (goal {GOAL_ROWS_A_SECOND:,})")
        began = time.perf_counter()
        taskdb.submit_many("bench.noop", [None] * ROWS)
        rate = ROWS / (time.perf_counter() - began)
        print(f"submit_many: {rate:,.0f} a second, checked, inserted, published and marked")
        began = time.perf_counter()
        for _ in range(500):
            taskdb.submit_task("bench.noop")
        print(f"submit_task: {(time.perf_counter() - began) / 500 * 1000:.1f} ms, one by one")


if __name__ == "__main__":
    main()

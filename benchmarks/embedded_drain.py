"""How fast a worker runs tasks on the embedded default: SQLite for rows and for messages.

    python -m benchmarks embedded

Goal: at least 500 tasks a second with full history, prefork with 2 processes.
"""

import os
import tempfile
import time
from pathlib import Path

from benchmarks.worker_process import worker
from taskdb import Settings, TaskDB

TASKS = int(os.environ.get("BENCH_EMBEDDED", "3000"))
GOAL_A_SECOND = 500


def main() -> None:
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            "TASKDB_DATA_DIR": folder,
            "TASKDB_TASK_MODULES": "benchmarks.bench_tasks",
        }
        with TaskDB(Settings.load(environment)) as taskdb:
            taskdb.submit_many("bench.noop", [None] * TASKS)
            with worker("taskdb_worker.app", environment, 2, Path(folder) / "worker.log"):
                rate = TASKS / _seconds_to_complete(taskdb)
    print(f"embedded: {rate:,.0f} tasks a second (goal {GOAL_A_SECOND})")


def _seconds_to_complete(taskdb: TaskDB) -> float:
    began: float | None = None
    while True:
        oldest = taskdb.list_tasks(order="oldest", limit=1)[0]
        if began is None and oldest.started_at is not None:
            began = time.perf_counter()
        if began is not None and not taskdb.list_tasks(
            status=["CREATED", "QUEUED", "STARTED"], limit=1
        ):
            return time.perf_counter() - began
        time.sleep(0.05)


if __name__ == "__main__":
    main()

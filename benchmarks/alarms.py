"""What alarms cost workers: 10,000 failures of one cause, with alarms against without.

    python -m benchmarks alarms

PostgreSQL and Redis, prefork with 4 processes; the same worker, once with a webhook for its alarms,
once without any and without the index of failures. Goal: at least 0.90 x. With alarms there must be
one alarm with the whole count, and at most two messages.
"""

import json
import os
import statistics
import tempfile
from pathlib import Path

import psycopg
import redis
from tests.servers.receiver import Receiver

from benchmarks.servers import Servers, servers
from benchmarks.worker_process import seconds_to_drain, worker
from taskdb import Settings, TaskDB
from taskdb.outgoing.signing import new_secret

FAILURES = int(os.environ.get("BENCH_MESSAGES", "10000"))
PAIRS = int(os.environ.get("BENCH_PAIRS", "3"))
PROCESSES = 4
GOAL_RATIO = 0.90
INDEX = (
    "CREATE INDEX taskdb_event_bad ON taskdb_event (xid, id)"
    " WHERE to_status IN ('FAILED','HALTED') AND from_status <> to_status"
)


def main() -> None:
    """Measure and print."""
    with servers() as started, Receiver() as receiver:
        _measure(started, receiver)


def _measure(started: Servers, receiver: Receiver) -> None:
    ratios = []
    hook = {"hook": {"webhook": receiver.url, "secret": new_secret()}}
    alarmed = {
        "TASKDB_ALARM_CHANNELS": json.dumps(hook),
        "TASKDB_OUTBOUND_PRIVATE": "127.0.0.0/8",
        "TASKDB_OUTBOUND_PORTS": "1-65535",
        "TASKDB_OUTBOUND_HTTP": "true",
    }
    for pair in range(PAIRS):
        _sql(started.url, "DROP INDEX IF EXISTS taskdb_event_bad")
        without = _rate(started, {})
        _sql(started.url, INDEX)
        _sql(started.url, "TRUNCATE taskdb_alarm, taskdb_delivery")
        _sql(
            started.url,
            "UPDATE taskdb_alarm_cursor SET event_id = 9223372036854775807,"
            " xid = pg_snapshot_xmin(pg_current_snapshot())::text::bigint - 1"
            " WHERE name = 'events'",
        )
        receiver.received.clear()
        with_alarms = _rate(started, alarmed)
        _check(started, receiver)
        ratios.append(with_alarms / without)
        print(
            f"pair {pair + 1}: {with_alarms:,.0f}/s with alarms, {without:,.0f}/s without ="
            f" {with_alarms / without:.2f}"
        )
    median = statistics.median(ratios)
    print(f"alarms: {median:.2f} x without (median of {PAIRS}; goal {GOAL_RATIO})")


def _rate(started: Servers, further: dict[str, str]) -> float:
    """Failures a second."""
    broker, environment = started.broker, {**started.environment, **further}
    broker.flush(0)
    with TaskDB(Settings.load(started.environment)) as taskdb:
        taskdb.submit_many("bench.fails", [None] * FAILURES)
    log = Path(tempfile.mkdtemp()) / "worker.log"
    with (
        redis.Redis.from_url(broker.url_of(0)) as client,
        worker("taskdb_worker.app", environment, PROCESSES, log),
    ):
        return FAILURES / seconds_to_drain(client, "taskdb", FAILURES)


def _check(started: Servers, receiver: Receiver) -> None:
    """What was counted and told; the worker has ended, and with it its last pass."""
    counts = _sql(started.url, "SELECT count FROM taskdb_alarm")
    told = [one.json["content"]["count"] for one in receiver.taken[-len(receiver.received) :]]
    print(f"  alarms with counts {[row[0] for row in counts]}, messages with {told}")


def _sql(url: str, statement: str) -> list[tuple[int, ...]]:
    plain = url.replace("postgresql+psycopg://", "postgresql://")
    with psycopg.connect(plain, autocommit=True) as connection:
        done = connection.execute(statement)  # type: ignore[call-overload]
        return list(done.fetchall()) if done.description else []


if __name__ == "__main__":
    main()

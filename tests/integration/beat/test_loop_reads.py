"""What a loop reads: about as many rows as it acts on, however large the tables have grown.

The statements are those that a pass of each loop sends, so a new one is tried without being named.
"""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy import Engine, event
from tests.servers import PostgreSQL

from taskdb import TaskDB
from taskdb.settings.settings import Settings
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.engine.session import DriverSession
from taskdb_beat.command import loops_of, schedule_loop
from taskdb_beat.loops.loop import Loop
from taskdb_beat.observation.reporter import Reporter

Statement = tuple[str, dict[str, Any]]

LEAST_ROWS = 300
"""Rows that any statement may read: of small tables, and of what it looks at in vain."""
MOST_PER_ROW = 10
"""Rows that it may read for each one that it returns, counts or changes."""
GROWN = (
    "taskdb_task",
    "taskdb_event",
    "taskdb_schedule_run",
    "taskdb_alarm",
    "taskdb_delivery",
    "taskdb_worker",
)
NOW = "strftime('%Y-%m-%dT%H:%M:%fZ', 'now', {})"
NUMBERS = "WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < {})"


def seed(url: str) -> list[str]:
    """Tables that a site has grown: most rows are over, and some are of every kind."""
    is_sqlite = url.startswith("sqlite")

    def ago(days: str) -> str:
        if is_sqlite:
            return NOW.format(f"printf('%+f days', -({days}))")
        return f"now() - ({days}) * interval '1 day'"

    def rows(count: int) -> str:
        return f"({NUMBERS.format(count)} SELECT n FROM n) AS numbers"

    old, day, now = ago("n / 2000.0"), ago("1"), ago("0")
    task = (
        "INSERT INTO taskdb_task (type, status, created_at, updated_at, relay_at, ended_at,"
        " queued_at, attempt, worker, parent_id, position)"
    )
    return [
        (
            f"{task} SELECT 'done', 'COMPLETED', {old}, {old}, {old}, {old}, {old},"
            " 1, 'gone-1', NULL, NULL"
            f" FROM {rows(20_000)}"
        ),
        (
            f"{task} SELECT 'bad', 'FAILED', {day}, {day}, {day}, {day}, {day},"
            f" 1, 'gone-2', NULL, NULL FROM {rows(3_000)}"
        ),
        (
            f"{task} SELECT 'queued', 'QUEUED', {now}, {now}, {now}, NULL, {now},"
            f" 0, NULL, NULL, NULL FROM {rows(3_000)}"
        ),
        (
            f"{task} SELECT 'later', 'SCHEDULED', {ago('0')}, {ago('0')}, {ago('-1')}, NULL, NULL,"
            f" 0, NULL, NULL, NULL FROM {rows(3_000)}"
        ),
        (
            f"{task} SELECT 'runs', 'STARTED', {now}, {now}, {now}, NULL, {now},"
            f" 1, 'here', NULL, NULL FROM {rows(50)}"
        ),
        (
            "INSERT INTO taskdb_event (task_id, to_status, from_status)"
            " SELECT id, status, CASE WHEN status = 'FAILED' THEN 'STARTED'"
            " WHEN status = 'COMPLETED' THEN 'STARTED' WHEN status = 'STARTED' THEN 'QUEUED'"
            " WHEN status = 'QUEUED' THEN 'CREATED' END FROM taskdb_task"
        ),
        (
            "INSERT INTO taskdb_worker (id, name, host, pid, started_at, seen_at, stopped_at)"
            f" SELECT 'gone-' || n, 'w' || n, 'h', n, {ago('3')}, {ago('2')}, {ago('2')}"
            f" FROM {rows(2_000)}"
        ),
        (
            "INSERT INTO taskdb_worker (id, name, host, pid, started_at, seen_at, listed_at)"
            f" SELECT 'here', 'here', 'h', 1, {ago('2')}, {ago('0')}, {ago('0')}"
        ),
        (
            "INSERT INTO taskdb_schedule (name, type, kind, cron, next_due_at)"
            f" SELECT 's' || n, 'done', 'cron', '0 0 * * *', {ago('-1')} FROM {rows(200)}"
        ),
        (
            "INSERT INTO taskdb_schedule_run (schedule_id, due_at, outcome, is_reported)"
            f" SELECT id, {ago('n')}, 'fired', true FROM taskdb_schedule JOIN {rows(100)} ON true"
        ),
        (
            "INSERT INTO taskdb_alarm (fingerprint, source, state, count, reported, resolved_at,"
            f" last_seen_at) SELECT n, 'failed', 'resolved', 1, 1, {ago('2')}, {ago('2')}"
            f" FROM {rows(3_000)}"
        ),
        (
            "INSERT INTO taskdb_delivery (alarm_id, channel, sequence, kind, count, total,"
            f" message, sent_at) SELECT id, 'ops', 1, 'opened', 1, 1, '{{}}', {ago('1')}"
            " FROM taskdb_alarm"
        ),
    ]


@contextmanager
def site(url: str, redis_url: str) -> Iterator[TaskDB]:
    given = {
        "TASKDB_DATABASE_URL": url,
        "TASKDB_BROKER_URL": redis_url,
        "TASKDB_ALARM_CHANNELS": '{"ops": {"log": ""}}',
    }
    with TaskDB(Settings.load(given)) as taskdb:
        yield taskdb


def passes(taskdb: TaskDB) -> Iterator[Loop]:
    yield from loops_of(taskdb)
    yield schedule_loop(taskdb)
    yield Loop("report", Reporter(taskdb.settings, taskdb.store, "me").run_once, 1.0)


@contextmanager
def recorded(monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, dict[str, Any]]]:
    """Each statement that is sent meanwhile, with its last parameters."""
    sent: dict[str, dict[str, Any]] = {}
    run = DriverSession.run

    def ran(self: DriverSession, sql: str, parameters: Any) -> Any:
        style = self._style
        sent[re.sub(r"(?<![:\w]):([a-z_]+)", lambda m: style % m[1], sql)] = dict(parameters)
        return run(self, sql, parameters)

    def seen(_c: Any, _cursor: Any, sql: str, parameters: Any, _x: Any, many: Any) -> None:
        parameters = parameters[0] if many else parameters
        given = parameters if isinstance(parameters, dict) else {"": parameters}
        sent[sql] = dict(given)

    monkeypatch.setattr(DriverSession, "run", ran)
    event.listen(Engine, "before_cursor_execute", seen)
    try:
        yield sent
    finally:
        event.remove(Engine, "before_cursor_execute", seen)


def of_tables(sent: dict[str, dict[str, Any]]) -> list[Statement]:
    names = re.compile(rf"\b({'|'.join(GROWN)})\b")
    words = re.compile(r"\s*(SELECT|WITH|UPDATE|DELETE|INSERT(?!.*\bVALUES\b))\b", re.DOTALL)
    return [(sql, given) for sql, given in sent.items() if words.match(sql) and names.search(sql)]


# --- PostgreSQL -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def grown_url(postgresql_server: PostgreSQL) -> Iterator[str]:
    name = "grown"
    url = postgresql_server.create_database(name, "template_taskdb")
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        for statement in seed(url):
            connection.execute(statement)
        connection.execute("VACUUM ANALYZE")
    yield url
    postgresql_server.drop_database(name)


@dataclass
class Read:
    """What a statement has read, and what came of it."""

    read: int = 0
    used: int = 0

    @property
    def is_fair(self) -> bool:
        return self.read <= LEAST_ROWS + MOST_PER_ROW * self.used


def plan_of(
    connection: psycopg.Connection[Any], mode: str, sql: str, given: dict[str, Any]
) -> dict[str, Any]:
    """The plan of a prepared statement, which is what a loop runs after its first few passes."""
    names = list(dict.fromkeys(re.findall(r"%\((\w+)\)s", sql)))
    numbered = re.sub(r"%\((\w+)\)s", lambda found: f"${names.index(found[1]) + 1}", sql)
    # psycopg says the type of a number; here it must be said in words.
    numbered = re.sub(r"-(\$\d+)", r"-CAST(\1 AS DOUBLE PRECISION)", numbered)
    values = ", ".join(literal(connection, given[name]) for name in names)
    with connection.transaction(force_rollback=True):
        connection.execute(f"SET LOCAL plan_cache_mode = {mode}")
        connection.execute(f"PREPARE tried AS {numbered.replace('%%', '%')}")
        explain = "EXPLAIN (ANALYZE, FORMAT JSON, TIMING OFF, COSTS OFF) EXECUTE tried"
        found = connection.execute(f"{explain}({values})" if names else explain).fetchone()
        connection.execute("DEALLOCATE tried")
    assert found
    plan: dict[str, Any] = found[0][0]["Plan"]
    return plan


def literal(connection: psycopg.Connection[Any], value: Any) -> str:
    plain = str(value) if isinstance(value, str | int | float) else value
    return psycopg.sql.Literal(plain).as_string(connection)


def count(node: dict[str, Any], into: Read) -> Read:
    loops = node["Actual Loops"]
    rows = round(node["Actual Rows"] * loops)
    if "Relation Name" in node and node["Node Type"] != "ModifyTable":
        into.read += rows + round(node.get("Rows Removed by Filter", 0) * loops)
        into.read += round(node.get("Rows Removed by Index Recheck", 0) * loops)
    for child in node.get("Plans", ()):
        count(child, into)
        if node["Node Type"] in {"Aggregate", "ModifyTable"}:
            into.used = max(into.used, round(child["Actual Rows"] * child["Actual Loops"]))
    return into


def read_of(plan: dict[str, Any]) -> Read:
    found = count(plan, Read())
    found.used = max(found.used, round(plan["Actual Rows"] * plan["Actual Loops"]))
    return found


def test_no_loop_reads_more_than_it_acts_on_on_postgresql(
    grown_url: str, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    unfair = []
    with (
        site(grown_url, redis_url) as taskdb,
        psycopg.connect(grown_url.replace("+psycopg", "")) as connection,
    ):
        for loop in passes(taskdb):
            with recorded(monkeypatch) as sent:
                loop.run_once()
                assert not loop.health.errors_in_row, loop.name
            for sql, given in of_tables(sent):
                for mode in ("force_custom_plan", "force_generic_plan"):
                    plan = plan_of(connection, mode, sql, given)
                    found = read_of(plan)
                    if not found.is_fair:
                        unfair.append(f"{loop.name}, {mode}: {found}\n{sql}\n{json.dumps(plan)}")
            loop.stop(10)
    assert not unfair, "\n\n".join(unfair)


# --- SQLite ---------------------------------------------------------------------------------------


def test_no_loop_reads_a_whole_table_on_sqlite(
    tmp_path: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'grown.sqlite3'}"
    migrate(url)
    whole = []
    with sqlite3.connect(tmp_path / "grown.sqlite3", isolation_level=None) as connection:
        for statement in seed(url):
            connection.execute(statement)
        partial = {
            name
            for (name,) in connection.execute(
                "SELECT name FROM sqlite_master WHERE type = 'index' AND sql LIKE '%WHERE%'"
            )
        }
        with site(url, redis_url) as taskdb:
            for loop in passes(taskdb):
                with recorded(monkeypatch) as sent:
                    loop.run_once()
                    assert not loop.health.errors_in_row, loop.name
                for sql, given in of_tables(sent):
                    found = connection.execute(f"EXPLAIN QUERY PLAN {sql}", given.get("", given))
                    whole += [
                        f"{loop.name}: {row[3]}\n{sql}"
                        for row in found
                        if is_whole(row[3], sql, partial)
                    ]
                loop.stop(10)
    connection.close()
    assert not whole, "\n\n".join(whole)


IN_ORDER = frozenset(
    {
        # The newest event, and the next ones: read in order and cut by a limit.
        "taskdb_event_cursor",
        # Alarms that are due, in order of their ids. They are as many as were resolved in 90 days,
        # and SQLite would rather read them in order than sort the few that are due.
        "sqlite_autoindex_taskdb_alarm_1",
    }
)
"""Indexes that SQLite may walk on a file of one machine."""


def is_whole(step: str, sql: str, partial: set[str]) -> bool:
    """Whether a step of a plan reads all rows of a table that grows."""
    scan = re.match(r"SCAN (\w+)(?: USING (?:COVERING )?INDEX (\w+))?", step)
    if scan is None or scan[2] in partial | IN_ORDER:
        return False
    alias = scan[1]
    if re.search(rf"\bpage AS {alias}\b", sql):
        # A page that the statement has read before.
        return False
    return alias in GROWN or bool(re.search(rf"\b({'|'.join(GROWN)}) AS {alias}\b", sql))

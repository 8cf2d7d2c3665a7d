"""An outcome that meets a fault of the database: waited out, and never an error of the body.

A trigger makes the server raise an error of its own so many times, whatever its transaction does;
on SQLite the file is full or locked for a while.
"""

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from celery.exceptions import Reject
from structlog.testing import capture_logs
from tests.waiting import wait_until

from taskdb.cli.database.doctor import diagnose
from taskdb.client.taskdb import TaskDB
from taskdb.errors import PayloadStoreUnreachable
from taskdb.model.outcome import Cancel, Fail, Halt, Snooze
from taskdb.model.retry import Retry
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings
from taskdb.store.contract import Claim
from taskdb.store.engine.migrations.migrate import migrate
from taskdb.store.task.worker import WorkerRecord
from taskdb.types.context import TaskContext
from taskdb.types.declaration import task
from taskdb.types.registry import Registry
from taskdb.types.task_type import TaskType
from taskdb_worker.run import execution
from taskdb_worker.run.chunk import Chunk
from taskdb_worker.run.execution import Execution
from taskdb_worker.run.outcome import Ended

WAITED_OUT = {
    **dict.fromkeys(("57014", "55P03"), "a time limit"),
    **dict.fromkeys(("25006", "26000", "42P05", "08P01", "0A000"), "a useless connection"),
    **dict.fromkeys(("40001", "40P01"), "a collision"),
    **dict.fromkeys(("53100", "53200", "58030", "XX000", "XX001"), "a server in need"),
    **dict.fromkeys(("42501", "28000", "55000", "F0000"), "a server that is set up wrong"),
    **dict.fromkeys(("23505", "P0001", "21000", "99999"), "an error that nobody knows"),
}
"""SQLSTATEs that say nothing about the value."""
REFUSED = ("22P02", "22003", "54000", "23502")
"""SQLSTATEs of a value that no later try would make better."""
FAULTS = 3


class Site:
    """A client, the types of this module, and an execution in this very process."""

    def __init__(self, taskdb: TaskDB) -> None:
        self.taskdb = taskdb
        self.execution = Execution(taskdb, "w-1")
        self.bodies: list[str] = []

    def run(self, name: str, body: Callable[..., Any], **options: Any) -> Ended:
        task_type = self.add(name, body, **options)
        entity = self.taskdb.submit_task(name)
        token = uuid4().hex
        claim = self.execution.claim(entity.id, task_type, token)
        assert claim.granted
        return self.execution.run(entity.id, task_type, claim, token)

    def add(self, name: str, body: Callable[..., Any], **options: Any) -> TaskType:
        def counted(ctx: TaskContext) -> Any:
            self.bodies.append(ctx.task_id)
            return body(ctx)

        task(name, registry=self.taskdb.types.registry, **options)(counted)
        return self.taskdb.types.registry.get(name)

    def query(self, sql: str, **parameters: Any) -> list[Any]:
        return list(self.taskdb.store.database.query(sql, parameters))

    def row(self) -> Any:
        [row] = self.query("SELECT * FROM taskdb_task WHERE parent_id IS NULL")
        return row

    def break_server(self, state: str, times: int = FAULTS, when: str = "UPDATE") -> None:
        """Let the server raise this error for so many statements that change tasks."""
        self._make_fault(state, times)
        self.query(
            f"CREATE TRIGGER fault BEFORE {when} ON taskdb_task"
            " FOR EACH ROW EXECUTE FUNCTION fault()"
        )

    def break_commit(self, state: str) -> None:
        """Let the commits of some transactions that change tasks fail, and no statement of them."""
        self._make_fault(state, FAULTS)
        self.query(
            "CREATE CONSTRAINT TRIGGER fault AFTER UPDATE"
            " ON taskdb_task DEFERRABLE INITIALLY DEFERRED FOR EACH ROW EXECUTE FUNCTION fault()"
        )

    def _make_fault(self, state: str, times: int) -> None:
        self.query("CREATE SEQUENCE fault")
        self.query(
            "CREATE FUNCTION fault() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN"
            # A sequence counts also what is rolled back.
            f" IF nextval('fault') <= {times} THEN"
            f" RAISE EXCEPTION 'it is so' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$"
        )


@pytest.fixture
def site(postgresql_url: str, tmp_path: Path) -> Iterator[Site]:
    with made(postgresql_url, tmp_path) as found:
        yield found


@contextmanager
def made(url: str, folder: Path) -> Iterator[Site]:
    given = {"TASKDB_DATA_DIR": str(folder), "TASKDB_DATABASE_URL": url}
    with closing(TaskDB(Settings.load(given), registry=Registry())) as taskdb, taskdb.resting():
        yield Site(taskdb)


def raises(error: BaseException) -> Callable[[TaskContext], Any]:
    def body(_ctx: TaskContext) -> Any:
        raise error

    return body


def splits(ctx: TaskContext) -> None:
    ctx.fan_out([{}, {}], type="part")


ENDS: dict[str, tuple[Callable[[TaskContext], Any], str]] = {
    "returns": (lambda _: {"done": True}, "COMPLETED"),
    "raises": (raises(ValueError("its own")), "ERRORED"),
    "fails": (raises(Fail("its own")), "FAILED"),
    "halts": (raises(Halt("its own")), "HALTED"),
    "cancels": (raises(Cancel("its own")), "CANCELED"),
    "snoozes": (lambda _: Snooze(timedelta(hours=1)), "SCHEDULED"),
    "rejects": (raises(Reject("later", requeue=True)), "CREATED"),
    "runs out of memory": (raises(MemoryError()), "ERRORED"),
    "exits": (raises(SystemExit(1)), "ERRORED"),
    "waits for a callback": (lambda ctx: ctx.wait_for_callback(timedelta(hours=1)), "PROCESSING"),
    "splits": (splits, "PROCESSING"),
}


@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("state", ["53100", "57014", "25006"])
def test_every_end_of_a_body_waits_out_a_fault_of_the_database(
    site: Site, state: str, end: str
) -> None:
    body, status = ENDS[end]
    site.add("part", lambda _: None)

    def breaking(ctx: TaskContext) -> Any:
        site.break_server(state)
        return body(ctx)

    site.run("a", breaking, retry=Retry(max_attempts=3))
    row = site.row()
    assert row["status"] == status, row["error"]
    assert (row["attempt"], row["crashes"]) == (1, int(end in {"runs out of memory", "exits"}))
    assert "it is so" not in str(row["error"])
    assert len(site.bodies) == 1
    assert site.query("SELECT last_value AS n FROM fault")[0]["n"] > FAULTS


@pytest.mark.parametrize("state", WAITED_OUT)
def test_no_error_of_the_database_is_charged_to_a_body_that_returned(
    site: Site, state: str
) -> None:
    def body(_ctx: TaskContext) -> str:
        site.break_server(state)
        return "done"

    assert site.run("a", body).status is TaskStatus.COMPLETED
    row = site.row()
    assert (row["status"], row["attempt"], row["error"]) == ("COMPLETED", 1, None)


@pytest.mark.parametrize("state", REFUSED)
def test_a_result_that_the_row_cannot_take_fails_with_the_reason(site: Site, state: str) -> None:
    def body(_ctx: TaskContext) -> str:
        # The statement of the result is refused, and the one that says so is not.
        site.break_server(state, times=1)
        return "done"

    with capture_logs() as lines:
        assert site.run("a", body, retry=Retry(max_attempts=3)).status is TaskStatus.FAILED
    row = site.row()
    assert row["status"] == "FAILED"
    assert "it is so" in str(row["error"])
    assert "outcome.refused" in {line["event"] for line in lines}


@pytest.mark.parametrize("state", [*WAITED_OUT])
def test_a_claim_waits_out_every_error_of_the_database(site: Site, state: str) -> None:
    task_type = site.add("a", lambda _: None)
    entity = site.taskdb.submit_task("a")
    site.break_server(state)
    claim = site.execution.claim(entity.id, task_type, "token")
    assert (claim.granted, claim.attempt) == (True, 1)


def test_a_row_that_nobody_can_claim_keeps_a_worker_from_others_for_a_moment_only(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(execution, "_UNKNOWN_SECONDS", 0.1)
    task_type = site.add("a", lambda _: None)
    entity = site.taskdb.submit_task("a")
    site.break_server("P0001", times=1_000)
    with pytest.raises(psycopg.Error, match="it is so"):
        site.execution.claim(entity.id, task_type, "token")


@pytest.mark.parametrize("state", ["53100", "57014", "25006", "40001", "P0001"])
def test_a_report_of_progress_that_was_not_written_comes_with_the_outcome(
    site: Site, state: str
) -> None:
    def body(ctx: TaskContext) -> None:
        site.break_server(state, times=2 * FAULTS)
        ctx.progress(1, 2, "half")

    assert site.run("a", body).status is TaskStatus.COMPLETED
    assert (site.row()["progress_current"], site.row()["progress_total"]) == (1, 2)


def test_what_an_iterator_cannot_give_twice_is_run_again_and_not_charged(site: Site) -> None:
    site.add("part", lambda _: None)

    def splits_an_iterator(ctx: TaskContext) -> None:
        site.break_server("57014", when="INSERT")
        ctx.fan_out(iter([{}, {}]), type="part")

    site.run("a", splits_an_iterator, retry=Retry(max_attempts=1))
    row = site.row()
    assert (row["status"], row["attempt"], row["spared"]) == ("CREATED", 1, 1)


@pytest.mark.parametrize("decides", ["fan_out", "wait_for_callback"])
def test_a_copy_that_a_body_forks_decides_nothing_of_its_task(site: Site, decides: str) -> None:
    site.add("part", lambda _: None)

    def body(ctx: TaskContext) -> int:
        copy = os.fork()
        if copy == 0:
            if decides == "fan_out":
                ctx.fan_out([{}, {}], type="part")
            else:
                ctx.wait_for_callback(timedelta(hours=1))
        return os.waitstatus_to_exitcode(os.waitpid(copy, 0)[1])

    ended = site.run("a", body)
    assert (ended.status, ended.value) == (TaskStatus.COMPLETED, 1)
    assert site.row()["callback_hash"] is None
    assert site.query("SELECT id FROM taskdb_task WHERE parent_id IS NOT NULL") == []


@pytest.mark.parametrize("end", ENDS)
def test_every_end_of_a_body_waits_out_a_fault_of_its_commit(site: Site, end: str) -> None:
    body, status = ENDS[end]
    site.add("part", lambda _: None)

    def breaking(ctx: TaskContext) -> Any:
        site.break_commit("53100")
        return body(ctx)

    site.run("a", breaking, retry=Retry(max_attempts=3))
    row = site.row()
    assert (row["status"], row["attempt"]) == (status, 1), row["error"]
    assert "it is so" not in str(row["error"])
    assert len(site.bodies) == 1


@pytest.mark.parametrize("state", ["53100", "57014", "25006", "40P01", "P0001"])
def test_the_results_of_a_chunk_wait_out_a_fault_of_the_database(site: Site, state: str) -> None:
    task_type, claims = chunk_of(site, lambda _: "done")
    site.break_server(state)
    Chunk(site.execution, task_type, claims, "token", None).run()
    assert statuses(site) == ["COMPLETED", "COMPLETED", "COMPLETED"]


def test_an_item_whose_result_the_row_cannot_take_fails_alone(site: Site) -> None:
    task_type, claims = chunk_of(site, lambda _: "done")
    site.query(
        "ALTER TABLE taskdb_task ADD CONSTRAINT task_odd CHECK (position <> 1"
        " OR status <> 'COMPLETED')"
    )
    Chunk(site.execution, task_type, claims, "token", None).run()
    assert statuses(site) == ["COMPLETED", "FAILED", "COMPLETED"]


def chunk_of(site: Site, body: Callable[..., Any]) -> tuple[TaskType, list[Claim]]:
    task_type = site.add("part", body)
    parent = site.taskdb.submit_fan_out("part", [None] * 3, chunk_size=3)
    [row] = site.query("SELECT DISTINCT chunk FROM taskdb_task WHERE parent_id = :id", id=parent.id)
    return task_type, site.execution.claim_chunk(str(row["chunk"]), task_type, "token", 3)


def statuses(site: Site) -> list[str]:
    sql = "SELECT status FROM taskdb_task WHERE parent_id IS NOT NULL ORDER BY position"
    return [row["status"] for row in site.query(sql)]


def test_an_outcome_waits_for_a_lock_past_every_time_limit_of_the_server(
    site: Site, postgresql_url: str
) -> None:
    name = postgresql_url.rsplit("/", 1)[1]
    site.query(f"ALTER DATABASE {name} SET statement_timeout = '200ms'")
    site.query(f"ALTER DATABASE {name} SET lock_timeout = '100ms'")
    site.taskdb.store.close()
    with psycopg.connect(postgresql_url.replace("+psycopg", "")) as other:

        def body(ctx: TaskContext) -> str:
            other.execute("SELECT FROM taskdb_task WHERE id = %s FOR UPDATE", [ctx.task_id])
            return "done"

        with capture_logs() as lines, unlocking(lines, "database.write_refused", other.rollback):
            assert site.run("a", body).status is TaskStatus.COMPLETED
    assert site.row()["attempt"] == 1


@contextmanager
def unlocking(lines: Any, event: str, unlock: Callable[[], object]) -> Iterator[None]:
    """End a fault as soon as it has been told twice."""

    def work() -> None:
        wait_until(lambda: sum(line["event"] == event for line in list(lines)) >= 2, 20)
        unlock()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        thread.join(20)


# --- the payload store ----------------------------------------------------------------------------


def test_a_result_waits_for_a_payload_folder_that_cannot_be_used(
    site: Site, tmp_path: Path
) -> None:
    folder = site.taskdb.settings.payload_folder

    def body(_ctx: TaskContext) -> str:
        folder.write_text("in the way")
        return "x" * 1_000_000

    notice, seen = site.execution.row_writes.notice, []

    def free() -> None:
        seen.append(notice.read())
        folder.unlink()

    with capture_logs() as lines, unlocking(lines, "payload_store.disconnected", free):
        assert site.run("a", body).status is TaskStatus.COMPLETED
    assert site.row()["attempt"] == 1
    assert str(folder) in seen[0]


def test_a_heartbeat_says_why_a_process_of_the_worker_waits(site: Site) -> None:
    record = WorkerRecord("w-1/1", "w-1", "host", 1, ("taskdb",), ("a",), "1")
    workers = site.taskdb.store.workers
    workers.announce(record)
    notice = site.execution.row_writes.notice
    child = os.fork()
    if child == 0:
        notice.put("complete: the disk is full \u00e9" + "x" * 1_000, 60)
        os._exit(0)
    os.waitpid(child, 0)
    workers.renew(record, None, notice.read())
    [found] = [one for one in diagnose(site.taskdb) if one.name == "worker_waits"]
    assert found.examples[0].startswith("w-1: complete: the disk is full \u00e9")
    notice.put("", -1)
    workers.renew(record, None, notice.read())
    assert "worker_waits" not in {one.name for one in diagnose(site.taskdb)}


def _length(much: str) -> int:
    return len(much)


def test_a_submit_says_that_the_payload_folder_cannot_be_used(site: Site) -> None:
    task("a", registry=site.taskdb.types.registry)(_length)
    folder = site.taskdb.settings.payload_folder
    folder.write_text("in the way")
    with pytest.raises(PayloadStoreUnreachable, match="TASKDB_PAYLOAD_DIR"):
        site.taskdb.submit_task("a", {"much": "x" * 1_000_000})
    assert site.query("SELECT id FROM taskdb_task") == []


def test_an_input_waits_for_a_payload_folder_that_is_not_mounted(
    site: Site, tmp_path: Path
) -> None:
    task("a", registry=site.taskdb.types.registry)(_length)
    task_type = site.taskdb.types.registry.get("a")
    folder = site.taskdb.settings.payload_folder
    entity = site.taskdb.submit_task("a", {"much": "x" * 1_000_000})
    away = folder.rename(tmp_path / "away")
    claim = site.execution.claim(entity.id, task_type, "token")
    with (
        capture_logs() as lines,
        unlocking(lines, "payload_store.disconnected", lambda: away.rename(folder)),
    ):
        ended = site.execution.run(entity.id, task_type, claim, "token")
    assert (ended.status, ended.value) == (TaskStatus.COMPLETED, 1_000_000)


def test_a_body_that_changes_the_folder_of_its_process_takes_no_outcome_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, relative_url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    given = {"TASKDB_DATA_DIR": "data", "TASKDB_DATABASE_URL": relative_url}
    settings = Settings.load(given)
    migrate(settings.store_url)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    with closing(TaskDB(settings, registry=Registry())) as taskdb, taskdb.resting():

        def body(_ctx: TaskContext) -> str:
            os.chdir(elsewhere)
            # As in a process that opens its connections only now.
            taskdb.store.close()
            return "x" * 1_000_000

        messages = settings.message_url
        assert Site(taskdb).run("a", body).status is TaskStatus.COMPLETED
        assert settings.message_url == messages
        assert list(elsewhere.iterdir()) == []
        monkeypatch.chdir(tmp_path)
        with closing(TaskDB(Settings.load(given), registry=Registry())) as other:
            [found] = other.list_tasks()
            assert found.result == "x" * 1_000_000


@pytest.fixture(params=["sqlite:///own.sqlite3", ""], ids=["own file", "default"])
def relative_url(request: pytest.FixtureRequest) -> str:
    return str(request.param)


# --- SQLite ---------------------------------------------------------------------------------------


def test_an_outcome_waits_for_room_in_a_full_file(sqlite_url: str, tmp_path: Path) -> None:
    with made(sqlite_url, tmp_path) as site:

        def body(_ctx: TaskContext) -> Any:
            size = site.query("PRAGMA page_count")[0]["page_count"]
            site.query(f"PRAGMA max_page_count = {size}")
            return {"much": "x" * 200_000}

        # The limit is that of the connection.
        make_room = site.taskdb.store.close
        with capture_logs() as lines, unlocking(lines, "database.write_refused", make_room):
            assert site.run("a", body).status is TaskStatus.COMPLETED
        assert site.row()["attempt"] == 1


def test_an_outcome_waits_for_a_file_that_is_locked(sqlite_url: str, tmp_path: Path) -> None:
    path = sqlite_url.removeprefix("sqlite:///")
    with (
        made(f"{sqlite_url}?timeout=0.05", tmp_path) as site,
        closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as other,
    ):

        def body(_ctx: TaskContext) -> str:
            other.execute("BEGIN IMMEDIATE")
            return "done"

        with (
            capture_logs() as lines,
            unlocking(lines, "database.disconnected", lambda: other.execute("ROLLBACK")),
        ):
            assert site.run("a", body).status is TaskStatus.COMPLETED
        assert site.row()["attempt"] == 1

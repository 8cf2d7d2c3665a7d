"""Submits in processes that fork, end and are killed."""

import signal
from pathlib import Path

import pytest
from tests.integration.submit_site import REPOSITORY, client, count, ids, messages, settings
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

from taskdb import TaskDB, TaskStatus
from taskdb_beat import Relay


def start(
    processes: Processes, name: str, folder: Path, store: str, broker: str, **env: str
) -> RunningProcess:
    given = {
        "TASKDB_DATABASE_URL": store,
        "TASKDB_BROKER_URL": broker,
        "TASKDB_DATA_DIR": str(folder),
        "TASKDB_RELAY_GRACE_SECONDS": "0.2",
    }
    return processes.python(
        "-m", "tests.integration.client.submit_process", name, env={**given, **env}, cwd=REPOSITORY
    )


def told(process: RunningProcess, word: str) -> list[str]:
    """The last words of the lines that begin with this word."""
    lines = (line.strip() for line in process.output.splitlines())
    return [line.split()[-1] for line in lines if line.startswith(f"{word} ")]


def relay_until_queued(taskdb: TaskDB, expected: int) -> None:
    relay = Relay(taskdb.settings, taskdb.store, taskdb.publisher)

    def queued() -> bool:
        relay.run_once()
        return count(taskdb, TaskStatus.QUEUED) == expected

    wait_until(queued, 10)


@pytest.mark.parametrize("name", ["submit_and_return", "commit_and_return"])
def test_a_process_that_ends_right_after_loses_nothing(
    store_url: str, tmp_path: Path, processes: Processes, name: str
) -> None:
    broker = settings(store_url, tmp_path).message_url
    process = start(processes, name, tmp_path, store_url, broker)
    assert process.wait() == 0, process.tail()
    [task_id] = told(process, "id")
    with client(store_url, tmp_path) as taskdb:
        relay_until_queued(taskdb, 1)
        assert ids(messages(taskdb)) == [task_id]


@pytest.mark.parametrize("name", ["die_after_commit", "die_in_a_hook"])
def test_a_process_that_is_killed_before_it_publishes_loses_nothing(
    store_url: str, tmp_path: Path, processes: Processes, name: str
) -> None:
    broker = settings(store_url, tmp_path).message_url
    process = start(processes, name, tmp_path, store_url, broker)
    assert process.wait() == -signal.SIGKILL, process.tail()
    [task_id] = told(process, "id")
    with client(store_url, tmp_path) as taskdb:
        assert taskdb.get_task(task_id).status is TaskStatus.CREATED
        assert messages(taskdb) == []
        relay_until_queued(taskdb, 1)
        assert ids(messages(taskdb)) == [task_id]


@pytest.mark.parametrize("broker", ["embedded", "redis", "rabbitmq"])
def test_a_child_forked_after_use_submits_and_leaves_its_parent_alone(
    request: pytest.FixtureRequest,
    store_url: str,
    tmp_path: Path,
    processes: Processes,
    broker: str,
) -> None:
    embedded = settings(store_url, tmp_path).message_url
    url = embedded if broker == "embedded" else request.getfixturevalue(f"{broker}_url")
    process = start(processes, "fork_after_use", tmp_path, store_url, url)
    assert process.wait(60) == 0, process.tail()
    assert "children ended with [0, 0]" in process.output, process.tail()
    submitted = told(process, "parent") + told(process, "child")
    assert len(submitted) == len(set(submitted)) == 4 + 40
    lines = process.output
    assert lines.count("parent QUEUED") == 4 and lines.count("child QUEUED") == 40, process.tail()
    with client(store_url, tmp_path, broker_url=url) as taskdb:
        assert sorted(ids(messages(taskdb))) == sorted(submitted)


def test_a_fork_beside_a_submitting_thread_leaves_no_lock_taken(
    postgresql_url: str, tmp_path: Path, processes: Processes, redis_url: str
) -> None:
    # Not with SQLite: its library keeps locks of its own, which no fork may find taken.
    process = start(processes, "fork_while_publishing", tmp_path, postgresql_url, redis_url)
    assert process.wait(90) == 0, process.tail()
    assert f"children ended with {[0] * 10}" in process.output, process.tail()


def test_a_wrong_setting_is_told_at_first_use_and_not_by_the_import(
    sqlite_url: str, tmp_path: Path, processes: Processes
) -> None:
    process = start(
        *(processes, "import_and_use", tmp_path, sqlite_url, ""), TASKDB_DATABSE_URL="x"
    )
    assert process.wait() == 0, process.tail()
    assert "imported" in process.output
    assert "refused" in process.output and "'TASKDB_DATABASE_URL'" in process.output

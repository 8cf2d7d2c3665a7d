"""The writer's thread of a worker: in order, each write until it is answered, up to a deadline."""

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from taskdb.client.taskdb import TaskDB
from taskdb.errors import DatabaseUnreachable
from taskdb.settings.settings import Settings
from taskdb_worker.process.writer import Writer
from taskdb_worker.run.execution import Execution


@pytest.fixture
def writer(tmp_path: Path) -> Iterator[Writer]:
    taskdb = TaskDB(Settings.load({"TASKDB_DATA_DIR": str(tmp_path)}))
    writer = Writer(Execution(taskdb, "w"))
    writer.start()
    yield writer
    writer.stop(5)
    taskdb.close()


def test_writes_are_done_in_order_and_one_that_cannot_be_done_stops_no_other(
    writer: Writer,
) -> None:
    done: list[int] = []
    with capture_logs() as lines:
        writer.write("first", lambda: done.append(1))
        writer.write("second", lambda: 1 / 0)
        writer.write("third", lambda: done.append(3))
        writer.stop(5)

    assert done == [1, 3]
    assert [(line["event"], line["verb"]) for line in lines] == [("write.failed", "second")]


def test_a_write_that_was_not_answered_is_tried_again(writer: Writer) -> None:
    answers = iter([False, False, True])
    answered = threading.Event()

    def ask() -> None:
        if not next(answers):
            raise DatabaseUnreachable("no answer")
        answered.set()

    writer.write("ask", ask)

    assert answered.wait(5)


def test_a_write_that_is_never_answered_is_given_up_at_the_end(writer: Writer) -> None:
    asked = threading.Event()

    def ask() -> None:
        asked.set()
        raise DatabaseUnreachable("no answer")

    with capture_logs() as lines:
        writer.write("ask", ask)
        assert asked.wait(5)
        writer.stop(0.5)

    events = [line["event"] for line in lines]
    assert events[-1] == "write.abandoned"
    assert set(events[:-1]) == {"database.disconnected"}

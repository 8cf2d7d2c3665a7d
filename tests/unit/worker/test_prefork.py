"""A job on its way to a child: in one piece where a pipe takes it so, and as Celery does else."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from select import PIPE_BUF
from struct import pack

import pytest
from billiard.connection import Connection

from taskdb import Settings
from taskdb.celery.configuration import create_celery
from taskdb.celery.messaging import Loop
from taskdb_worker.app import create_app
from taskdb_worker.process.prefork import in_one_piece


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reader, writer = os.pipe()
    with ExitStack() as stack:
        stack.callback(os.close, reader)
        stack.callback(os.close, writer)
        yield reader, writer


@pytest.mark.parametrize(
    ("size", "writes"),
    [(1, 1), (PIPE_BUF - 4, 1), (PIPE_BUF - 3, 2), (3 * PIPE_BUF, 2)],
)
def test_a_child_reads_the_same_however_its_job_was_written(
    pipe: tuple[int, int], size: int, writes: int
) -> None:
    reader, writer = pipe
    content = os.urandom(size)
    head, body, length = in_one_piece(memoryview(pack(">I", size)), memoryview(content), size)
    # As Celery's pool does.
    count = written = 0
    while written < 4:
        written += os.write(writer, head[written:])
        count += 1
    written = 0
    while written < length:
        written += os.write(writer, body[written:])
        count += 1
    child = Connection(os.dup(reader), writable=False)
    assert (child.recv_bytes(), count) == (content, writes)
    child.close()


def test_a_worker_has_this_pool_unless_its_settings_name_another(tmp_path: object) -> None:
    def pool(celery: str) -> str:
        given = {
            "TASKDB_DATABASE_URL": f"sqlite:///{tmp_path}/taskdb.sqlite3",
            "TASKDB_CELERY": celery,
        }
        app = create_app(Settings.load(given), as_current=False)
        try:
            return str(app.conf.worker_pool)
        finally:
            app.close()
            app.taskdb_reader.close()

    assert pool("{}") == "taskdb_worker.process.prefork:TaskPool"
    assert pool('{"worker_pool": "threads"}') == "threads"


def test_a_line_to_the_broker_asks_for_the_loop() -> None:
    with create_celery(Settings.load({})) as app, app.connection_for_read() as connection:
        assert connection.requires_hub is Loop


def test_the_loop_asks_the_kernel_to_forget_only_what_it_knows(pipe: tuple[int, int]) -> None:
    reader, writer = pipe
    loop = Loop()
    asked: list[int] = []
    unregister = loop.poller.unregister

    def recorded(fd: int) -> None:
        asked.append(fd)
        unregister(fd)

    loop.poller.unregister = recorded
    loop.remove_writer(writer)
    assert asked == []
    loop.add_writer(writer, print)
    loop.remove_writer(writer)
    loop.remove_writer(writer)
    assert (asked, loop.writers) == ([writer], {})
    loop.add(writer, None, loop.WRITE, consolidate=True)
    loop.remove_writer(writer)
    assert (asked, loop.consolidate) == ([writer, writer], set())
    # Who only reads goes on to read.
    loop.add_reader(reader, print)
    loop.remove_writer(reader)
    assert list(loop.readers) == [reader]
    os.write(writer, b"!")
    assert [fd for fd, _ in loop.poller.poll(1)] == [reader]
    loop.close()

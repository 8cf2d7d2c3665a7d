"""Forks beside transactions: no child is ever locked out of the file."""

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from taskdb.store.contract import EVERYONE
from taskdb.store.store import Store
from tests.store.tasks import draft


def exit_code_of_child(work: Callable[[], None]) -> int:
    """Run it in a forked child and wait for that."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            work()
            code = 0
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@pytest.fixture
def store(sqlite_url: str) -> Store:
    return Store(sqlite_url)


def test_a_child_forked_beside_a_transaction_can_write(store: Store) -> None:
    inside, may_end = threading.Event(), threading.Event()

    def hold_a_transaction() -> None:
        with store.database.transaction():
            inside.set()
            may_end.wait(10)

    holder = threading.Thread(target=hold_a_transaction)
    holder.start()
    assert inside.wait(10)
    threading.Timer(0.3, may_end.set).start()

    code = exit_code_of_child(lambda: store.submissions.create([draft()], EVERYONE) and None)

    holder.join()
    assert code == 0
    assert len(store.submissions.create([draft()], EVERYONE)) == 1


def test_many_children_forked_beside_a_busy_thread_can_all_write(store: Store) -> None:
    stop = threading.Event()

    def write_all_the_time() -> None:
        while not stop.is_set():
            store.submissions.create([draft()], EVERYONE)

    busy = threading.Thread(target=write_all_the_time)
    busy.start()
    try:
        codes = [
            exit_code_of_child(lambda: store.submissions.create([draft()], EVERYONE) and None)
            for _ in range(40)
        ]
    finally:
        stop.set()
        busy.join()

    assert codes == [0] * 40


def test_a_fork_inside_a_transaction_of_its_own_thread_does_not_wait(store: Store) -> None:
    with store.database.transaction():
        code = exit_code_of_child(lambda: None)

    assert code == 0
    assert len(store.submissions.create([draft()], EVERYONE)) == 1


def test_nothing_is_open_while_a_fork_happens(store: Store, sqlite_url: str) -> None:
    store.submissions.create([draft()], EVERYONE)
    file = sqlite_url.removeprefix("sqlite:///")

    code = exit_code_of_child(lambda: open_files_are_none_of(file))

    assert code == 0


def open_files_are_none_of(file: str) -> None:
    entries = list(Path("/proc/self/fd").iterdir())
    opened = [str(entry.readlink()) for entry in entries if entry.is_symlink()]
    assert not [name for name in opened if name.startswith(file)]

"""Around a fork: everybody is at rest, nobody new comes, and one fork happens at a time."""

import ast
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

import taskdb
import taskdb_beat
import taskdb_worker
from taskdb import Settings, TaskDB
from taskdb.client import default
from taskdb.client.default import default_taskdb, replaced_default, set_default
from taskdb.client.step_cache import MemoryStepCache
from taskdb.fork import RenewedLock, pause_at_fork


class Sleeper:
    """Counts what happens to it; `resting` is called while it rests."""

    def __init__(self, resting: Callable[[], object] = lambda: None) -> None:
        self.resting = resting
        self.rests = 0
        self.most = 0
        self.times = 0
        pause_at_fork(self)

    def before_fork(self) -> None:
        self.rests += 1
        self.most = max(self.most, self.rests)
        self.times += 1
        self.resting()

    def after_fork_in_parent(self) -> None:
        self.rests -= 1

    def after_fork(self) -> None:
        self.rests = 0


def exit_code_of_fork(in_child: Callable[[], int] = lambda: 0) -> int:
    pid = os.fork()
    if pid == 0:
        os._exit(in_child())
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def test_what_rested_goes_on_in_the_parent_and_begins_anew_in_the_child() -> None:
    sleeper = Sleeper()

    assert exit_code_of_fork(lambda: sleeper.rests) == 0
    assert (sleeper.rests, sleeper.times) == (0, 1)


def test_a_child_can_fork_again() -> None:
    sleeper = Sleeper()

    assert exit_code_of_fork(lambda: exit_code_of_fork(lambda: sleeper.times)) == 2


def test_who_is_new_waits_until_the_fork_is_over() -> None:
    made: list[Sleeper] = []
    newcomer = threading.Thread(target=lambda: made.append(Sleeper()))

    def let_it_come() -> None:
        newcomer.start()
        newcomer.join(0.3)

    sleeper = Sleeper(let_it_come)

    assert exit_code_of_fork(lambda: len(made)) == 0
    newcomer.join(5)
    assert len(made) == 1
    assert made[0].times == 0
    sleeper.resting = lambda: None


def test_threads_that_fork_at_once_take_turns() -> None:
    sleeper = Sleeper()
    codes: list[int] = []
    threads = [
        threading.Thread(target=lambda: codes.extend(exit_code_of_fork() for _ in range(10)))
        for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)

    assert codes == [0] * 40
    assert (sleeper.rests, sleeper.most, sleeper.times) == (0, 1, 40)


# --- locks ----------------------------------------------------------------------------------------

LOCKS = {"Lock", "RLock", "Condition", "Semaphore", "BoundedSemaphore", "Event", "Barrier"}


def test_no_module_keeps_a_lock_that_a_forked_child_could_wait_for() -> None:
    """What a fork leaves locked in a module or a class stays so; `RenewedLock` begins anew."""
    found = []
    for package in (taskdb, taskdb_worker, taskdb_beat):
        for file in sorted(Path(package.__path__[0]).rglob("*.py")):
            found += [f"{file}:{line}" for line in _locks_of(ast.parse(file.read_text()))]
    assert found == []


def _locks_of(node: ast.Module | ast.ClassDef) -> Iterator[int]:
    for one in node.body:
        if isinstance(one, ast.ClassDef):
            yield from _locks_of(one)
        elif isinstance(one, ast.Assign | ast.AnnAssign):
            calls = (call.func for call in ast.walk(one) if isinstance(call, ast.Call))
            names = (getattr(call, "attr", getattr(call, "id", "")) for call in calls)
            if LOCKS & set(names):
                yield one.lineno


@contextmanager
def held_elsewhere(lock: AbstractContextManager[None]) -> Iterator[None]:
    """Another thread has this lock for as long as the block."""
    has_it, may_go = threading.Event(), threading.Event()

    def hold() -> None:
        with lock:
            has_it.set()
            may_go.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert has_it.wait(10)
    try:
        yield
    finally:
        may_go.set()
        holder.join(10)


def within_seconds(in_child: Callable[[], object]) -> Callable[[], int]:
    """Exit code 0 if the child gets through; a signal ends it otherwise."""

    def run() -> int:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(10)
        in_child()
        return 0

    return run


def test_a_child_gets_a_lock_that_another_thread_held_at_the_fork() -> None:
    lock = RenewedLock()

    def use() -> None:
        for _ in range(2):
            with lock:
                pass

    with held_elsewhere(lock):
        assert exit_code_of_fork(within_seconds(use)) == 0


def test_a_lock_is_released_by_the_thread_that_forked_with_it_in_parent_and_child() -> None:
    lock = RenewedLock()
    with lock:
        pid = os.fork()
    if pid == 0:
        os._exit(within_seconds(lock.__enter__)())
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    with lock:
        pass


def test_a_lock_keeps_threads_apart() -> None:
    lock, inside, most = RenewedLock(), [0], [0]

    def work() -> None:
        for _ in range(2_000):
            with lock:
                inside[0] += 1
                most[0] = max(most[0], inside[0])
                inside[0] -= 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == [1]


@pytest.fixture
def client(tmp_path: Path) -> Iterator[TaskDB]:
    with TaskDB(Settings(data_dir=tmp_path, allow_unknown_types=True)) as client:
        yield client


@pytest.mark.parametrize("held", ["default", "publisher", "watcher", "store"])
def test_a_child_submits_though_another_thread_held_this_at_the_fork(
    client: TaskDB, held: str
) -> None:
    locks = {
        "default": default._lock,
        "publisher": client._connections.background._lock,
        "watcher": client._connections._watcher._lock,
        "store": client.store.database._lock,
    }
    client.submit_task("before.fork")

    def submit() -> None:
        task = default_taskdb().submit_task("after.fork")
        assert default_taskdb().get_task(task.id).type == "after.fork"
        client.close()

    with replaced_default(client), held_elsewhere(locks[held]):
        assert exit_code_of_fork(within_seconds(submit)) == 0
    assert [task.type for task in client.list_tasks()] == ["after.fork", "before.fork"]


def test_a_child_builds_the_default_that_another_thread_was_building_at_the_fork(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_DATA_DIR", str(tmp_path))
    set_default(None)
    monkeypatch.setattr(default, "_default", None)
    building, may_go = threading.Event(), threading.Event()
    stamp, parent = default.settings_stamp, os.getpid()

    def slow_stamp() -> object:
        if os.getpid() == parent:
            building.set()
            may_go.wait(20)
        return stamp()

    monkeypatch.setattr(default, "settings_stamp", slow_stamp)
    builder = threading.Thread(target=default_taskdb)
    builder.start()
    assert building.wait(10)
    code = exit_code_of_fork(within_seconds(lambda: default_taskdb().list_tasks()))
    may_go.set()
    builder.join(10)
    default_taskdb().close()
    assert code == 0


def test_a_child_reads_a_cache_that_another_thread_was_writing_at_the_fork() -> None:
    cache = MemoryStepCache()
    cache.set("a", 1, "text")
    with held_elsewhere(cache._lock):
        assert exit_code_of_fork(within_seconds(lambda: cache.get("a", 1))) == 0

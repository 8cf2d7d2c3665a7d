"""The pool of processes: what was sent to a child is waited for, by a shutdown too."""

from pathlib import Path

import pytest
from tests.processes import Processes

REPOSITORY = Path(__file__).parents[4]
_PROGRAM = """
import os, signal, threading
from celery import Celery
from kombu.asynchronous import Hub, set_event_loop
from taskdb_worker.process.prefork import TaskPool

app = Celery("pool", set_as_current=False)
hub = Hub()
set_event_loop(hub)
pool = TaskPool(1, app=app, threads=False, initargs=(app, "host"))
pool.start()
pool.register_with_event_loop(hub)
loop = hub.create_loop()
said = []

def send(word):
    return pool.apply_async(
        str.upper, (word,), callback=said.append,
        accept_callback=lambda *words: said.append("taken"),
    )

def is_written(job):
    return job._write_to and not pool._pool._active_writers

def wake():
    os.kill(child.pid, signal.SIGCONT)

send("first")
while len(said) < 2:
    next(loop)
(child,) = pool._pool._pool
os.kill(child.pid, signal.SIGSTOP)
{send}
pool.flush()
print("kept", len(pool._pool._cache), flush=True)
wake()
pool.stop()
print("said", *[word[:6] for word in said], flush=True)
"""
_WHOLE = """
job = send("second")
while not is_written(job):
    next(loop)
"""
# Longer than what a pipe holds: its end is written while the child reads.
_HALF = """
job = send("second" * 50_000)
while not job._write_to:
    next(loop)
assert not is_written(job)
threading.Timer(0.5, wake).start()
"""
_NOTHING = 'send("second")'


@pytest.mark.parametrize(
    ("send", "kept", "said"),
    [
        pytest.param(_WHOLE, 1, "taken FIRST taken SECOND", id="whole"),
        pytest.param(_HALF, 1, "taken FIRST taken SECOND", id="half"),
        pytest.param(_NOTHING, 0, "taken FIRST", id="nothing"),
    ],
)
def test_a_shutdown_waits_for_what_a_child_was_sent_and_drops_the_rest(
    processes: Processes, send: str, kept: int, said: str
) -> None:
    process = processes.python("-c", _PROGRAM.format(send=send), cwd=REPOSITORY)
    # Where nobody reads its answer, a child takes 30 s to end.
    assert process.wait(20) == 0, process.output
    assert process.output.splitlines()[-2:] == [f"kept {kept}", f"said {said}"]

"""The lease of a worker, as its processes share it."""

import os
import threading

import pytest
from tests.waiting import wait_until

from taskdb_worker.run.lease import Lease, Orphaned


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


def test_a_claim_keeps_its_distance_from_the_end() -> None:
    time = Time()
    lease = Lease(20, time)
    time.seconds += 15
    assert lease.is_fresh()
    time.seconds += 0.1
    assert not lease.is_fresh()
    lease.renew(time.seconds)
    assert lease.is_fresh()


def test_a_claim_waits_for_the_next_heartbeat() -> None:
    time = Time()
    lease = Lease(20, time)
    time.seconds += 16
    waiting = threading.Thread(target=lease.wait)
    waiting.start()
    waiting.join(0.2)
    assert waiting.is_alive()
    lease.renew(time.seconds)
    wait_until(lambda: not waiting.is_alive())


def test_a_child_sees_what_its_parent_renews() -> None:
    lease = Lease(20)
    lease.renew(lease.now() - 60)
    child = os.fork()
    if child == 0:
        # Nothing of the test may run twice.
        lease.wait()
        os._exit(7)
    lease.renew(lease.now())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_a_child_whose_parent_died_ends() -> None:
    lease = Lease(20)
    lease._main_pid = -1
    lease.renew(lease.now() - 60)
    with pytest.raises(Orphaned):
        lease.wait()

"""Around a fork: everybody is at rest, nobody new comes, and one fork happens at a time."""

import os
import threading
from collections.abc import Callable

from taskdb.fork import pause_at_fork


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

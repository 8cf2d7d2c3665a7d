"""The tests' own tools: processes leave nothing behind, waiting says what it waited for."""

import signal
import time

import psutil
import pytest

from tests.processes import Processes
from tests.waiting import wait_until

_SLEEP = "import time; print('ready'); time.sleep(600)"
_PARENT = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {code!r}]); {after}"
_DEAF = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); " + _SLEEP


def is_over(process: psutil.Process) -> bool:
    """Gone, or dead and not yet collected by whoever inherited it."""
    return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE


class TestProcesses:
    def test_the_output_and_the_exit_code_are_kept(self, processes: Processes) -> None:
        process = processes.python("-c", "print('hello'); raise SystemExit(3)")
        assert process.wait() == 3
        assert process.output == "hello\n"

    def test_waiting_for_output_ends_early_when_the_process_does(
        self, processes: Processes
    ) -> None:
        process = processes.python("-c", "print('wrong')")
        begin = time.monotonic()
        with pytest.raises(AssertionError, match="without writing 'right'"):
            process.wait_for_output("right")
        assert time.monotonic() - begin < 10

    def test_variables_are_added_to_the_environment(self, processes: Processes) -> None:
        process = processes.python(
            "-c", "import os; print(os.environ['ADDED'])", env={"ADDED": "1"}
        )
        process.wait()
        assert process.output == "1\n"

    def test_kill_ends_the_process_and_kill_all_its_children(self, processes: Processes) -> None:
        process = processes.python("-c", _PARENT.format(code=_SLEEP, after="p.wait()"))
        process.wait_for_output("ready")
        assert process.kill() == -signal.SIGKILL
        (child,) = process.children
        process.kill_all()
        # Its memory goes first: for a moment it is a process without an environment.
        wait_until(lambda: is_over(child))

    def test_at_the_end_a_running_process_is_ended_without_a_fault(
        self, processes: Processes
    ) -> None:
        process = processes.python("-c", _SLEEP)
        process.wait_for_output("ready")
        assert processes.close() == []
        assert not process.is_running

    def test_at_the_end_a_child_that_outlived_its_parent_is_named_and_killed(
        self, processes: Processes
    ) -> None:
        processes.grace_seconds = 0.5
        process = processes.python("-c", _PARENT.format(code=_DEAF, after=""))
        process.wait()
        wait_until(lambda: "ready" in process.output)
        (child,) = process.children
        (fault,) = processes.close()
        assert str(child.pid) in fault
        assert is_over(child)


class TestWaiting:
    def test_it_returns_what_the_condition_returned(self) -> None:
        values = iter([0, 0, 7])
        assert wait_until(lambda: next(values)) == 7

    def test_it_says_what_it_waited_for_and_what_it_saw_last(self) -> None:
        with pytest.raises(AssertionError, match=r"for: the row; last value seen: \[\]"):
            wait_until(list, timeout=0.05, describe="the row")

"""The tests' own tools: processes leave nothing behind, waiting says what it waited for."""

import signal
import time
from pathlib import Path

import psutil
import pytest

from tests.processes import Processes
from tests.waiting import wait_until

REPOSITORY = Path(__file__).parents[1]
_SLEEP = "import time; print('ready'); time.sleep(600)"
_PARENT = "import subprocess, sys; p = subprocess.Popen([sys.executable, '-c', {code!r}]); {after}"
_RUNNER = """
import pathlib, tempfile, time
from tests.processes import Processes
started = Processes(pathlib.Path(tempfile.mkdtemp()))
for _ in range(2):
    process = started.python("-c", "import time; print('ready'); time.sleep(600)", fresh={fresh})
    print("pid", process.pid)
    process.wait_for_output("ready")
    print("ready")
time.sleep(600)
"""
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


_FORKS = """
import os, time
if os.fork() == 0:
    print("ready", flush=True)
    time.sleep(600)
time.sleep(600)
"""
_LOOKS = """
import atexit, os, sys, threading, time
atexit.register(print, "last")
threading.Thread(target=lambda: (time.sleep(0.1), print("thread"))).start()
print(sys.argv, sys.path[0], os.getcwd(), os.getsid(0) == os.getpid(), __name__)
print(os.environ["ADDED"], os.environ.get("TAKEN"), sys.stdin.read() == "")
"""


@pytest.mark.parametrize("fresh", [False, True], ids=["nursery", "fresh"])
class TestPython:
    """A process of the nursery is what a new interpreter would be."""

    def test_it_has_its_own_surroundings_and_ends_as_python_does(
        self, processes: Processes, tmp_path: Path, *, fresh: bool
    ) -> None:
        (tmp_path / "looks.py").write_text(_LOOKS)
        (tmp_path / "more").mkdir()
        env = {"ADDED": "ä", "PYTHONPATH": str(tmp_path / "more")}
        by_name = processes.python("-m", "looks", "a b", env=env, cwd=tmp_path, fresh=fresh)
        by_code = processes.python("-c", _LOOKS, "a b", env=env, cwd=tmp_path, fresh=fresh)

        assert (by_name.wait(), by_code.wait()) == (0, 0)
        common = f"{tmp_path} True __main__\nä None True\nthread\nlast\n"
        looks = tmp_path / "looks.py"
        assert by_name.output == f"[{str(looks)!r}, 'a b'] {tmp_path} {common}"
        assert by_code.output == f"['-c', 'a b']  {common}"

    @pytest.mark.parametrize(
        ("code", "ended", "said"),
        [
            ("raise ValueError('wrong')", 1, "ValueError: wrong"),
            ("import sys; sys.exit('no')", 1, "no"),
            ("import os; os._exit(7)", 7, ""),
            ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL, ""),
            ("raise KeyboardInterrupt", -signal.SIGINT, "KeyboardInterrupt"),
            ("syntax error", 1, "SyntaxError"),
        ],
    )
    def test_its_exit_code_tells_how_it_ended(
        self, processes: Processes, code: str, ended: int, said: str, *, fresh: bool
    ) -> None:
        process = processes.python("-c", code, fresh=fresh)
        assert process.wait() == ended
        assert said in process.output

    def test_its_forked_children_are_known_as_its_own(
        self, processes: Processes, *, fresh: bool
    ) -> None:
        other = processes.python("-c", _FORKS, fresh=fresh)
        process = processes.python("-c", _FORKS, fresh=fresh)
        for one in (process, other):
            one.wait_for_output("ready")
            assert len(one.children) == 1
        process.kill_all()
        assert not process.children
        assert len(other.children) == 1
        other.kill_all()

    def test_it_ends_with_who_started_it(self, processes: Processes, *, fresh: bool) -> None:
        """Or a run of tests that is killed would leave its processes behind."""
        runner = processes.python("-c", _RUNNER.format(fresh=fresh), cwd=REPOSITORY, fresh=True)
        wait_until(lambda: runner.output.count("ready") == 2, 30, lambda: runner.output)
        pids = [int(line.split()[1]) for line in runner.output.splitlines() if "pid" in line]
        started = [psutil.Process(pid) for pid in pids]
        assert len(started) == 2
        runner.kill()
        for one in started:
            wait_until(lambda one=one: is_over(one), describe=f"{one} to end")  # type: ignore[misc]


class TestWaiting:
    def test_it_returns_what_the_condition_returned(self) -> None:
        values = iter([0, 0, 7])
        assert wait_until(lambda: next(values)) == 7

    def test_it_says_what_it_waited_for_and_what_it_saw_last(self) -> None:
        with pytest.raises(AssertionError, match=r"for: the row; last value seen: \[\]"):
            wait_until(list, timeout=0.05, describe="the row")

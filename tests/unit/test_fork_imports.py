"""Imports and forks: a child never finds a module that another thread has half imported."""

from __future__ import annotations

import importlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from taskdb import fork_imports

LONGEST_SECONDS = 20
SLOW = """
import threading
started, go = threading.Event(), threading.Event()
import test_fork_imports_lock as held_module
held_module.started.set()
assert held_module.go.wait(30)
import {lazily}
IS_WHOLE = True
"""
HELD_MODULE = "import threading\nstarted, go = threading.Event(), threading.Event()\n"


def exit_code_of_fork(in_child: Callable[[], bool]) -> int:
    """0 where the child found it so; a child that hangs is ended by its alarm."""
    pid = os.fork()
    if pid == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(LONGEST_SECONDS)
        os._exit(0 if in_child() else 1)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


@contextmanager
def slow_import(
    folder: Path, monkeypatch: pytest.MonkeyPatch, lazily: str
) -> Iterator[threading.Event]:
    """A thread in the midst of an import; it goes on when the event is set."""
    monkeypatch.syspath_prepend(folder)
    (folder / "test_fork_imports_lock.py").write_text(HELD_MODULE)
    (folder / "test_fork_imports_slow.py").write_text(SLOW.format(lazily=lazily))
    held_module = importlib.import_module("test_fork_imports_lock")
    thread = threading.Thread(target=lambda: importlib.import_module("test_fork_imports_slow"))
    thread.start()
    assert held_module.started.wait(30)
    try:
        yield held_module.go
    finally:
        held_module.go.set()
        thread.join(30)
        for name in ("test_fork_imports_lock", "test_fork_imports_slow"):
            sys.modules.pop(name, None)


def imports_whole() -> bool:
    return bool(importlib.import_module("test_fork_imports_slow").IS_WHOLE)


@pytest.mark.parametrize("lazily", ["json", "colorsys", "xml.dom.minidom"])
def test_a_fork_waits_for_the_import_of_another_thread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, lazily: str
) -> None:
    with slow_import(tmp_path, monkeypatch, lazily) as go:
        waits = fork_imports.pause

        def waited() -> None:
            go.set()
            waits()

        monkeypatch.setattr(fork_imports, "pause", waited)
        assert exit_code_of_fork(imports_whole) == 0
        assert go.is_set()
    # Others may import again.
    assert importlib.import_module("wave")


def test_the_child_of_a_fork_that_waited_in_vain_imports_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fork_imports, "PATIENCE_SECONDS", 0.1)

    def in_child() -> bool:
        importlib.import_module("test_fork_imports_lock").go.set()
        return imports_whole()

    with slow_import(tmp_path, monkeypatch, "json"):
        assert exit_code_of_fork(in_child) == 0


def test_a_module_that_forks_while_it_is_imported_waits_for_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "test_fork_imports_forks.py").write_text(
        "import os\npid = os.fork()\nif pid == 0:\n    import wave\n    os._exit(3)\n"
        "CODE = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])\n"
    )
    monkeypatch.setattr(fork_imports, "pause", lambda: pytest.fail("it waits for itself"))
    assert importlib.import_module("test_fork_imports_forks").CODE == 3
    sys.modules.pop("test_fork_imports_forks")


def test_threads_import_while_others_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    names = [f"test_fork_imports_{number}" for number in range(200)]
    for name in names:
        (tmp_path / f"{name}.py").write_text("import decimal, json\nIS_WHOLE = True\n")

    def work() -> None:
        for name in names:
            importlib.import_module(name)

    def in_child() -> bool:
        return all(importlib.import_module(name).IS_WHOLE for name in names)

    threads = [threading.Thread(target=work) for _ in range(2)]
    for thread in threads:
        thread.start()
    codes = [exit_code_of_fork(in_child) for _ in range(10)]
    for thread in threads:
        thread.join(30)
    for name in names:
        sys.modules.pop(name, None)
    assert codes == [0] * 10

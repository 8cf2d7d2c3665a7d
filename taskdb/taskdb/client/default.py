"""The default client: a `TaskDB` that is built at first use, from the environment.

If a framework has the settings, a changed setting builds the client anew: a test suite sets its
own database after the import of the code under test.
"""

from __future__ import annotations

import atexit
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from taskdb.client.taskdb import TaskDB
from taskdb.fork import RenewedLock
from taskdb.settings.source import settings_stamp

_lock = RenewedLock()
_default: TaskDB | None = None
_built_from: Hashable = None
"""The settings of the framework when the client was built."""
_is_by_hand = False


def default_taskdb() -> TaskDB:
    """Return the TaskDB that the module functions use; built at first use."""
    global _default, _built_from  # noqa: PLW0603 - the one default, behind a lock
    with _lock:
        if _default is not None and not _is_by_hand and _built_from != settings_stamp():
            atexit.unregister(_default.close)
            _default.close()
            _default = None
        if _default is None:
            _built_from = settings_stamp()
            _default = TaskDB()
            atexit.register(_default.close)
        return _default


def set_default(taskdb: TaskDB | None) -> None:
    """Make the module functions use this client; None restores that of the environment."""
    global _default, _is_by_hand  # noqa: PLW0603 - the one default, behind a lock
    with _lock:
        _default = taskdb
        _is_by_hand = taskdb is not None


@contextmanager
def replaced_default(taskdb: TaskDB) -> Iterator[None]:
    """Make the module functions use this client until the end of the block."""
    global _default, _is_by_hand
    with _lock:
        before = _default, _is_by_hand
        _default, _is_by_hand = taskdb, True
    try:
        yield
    finally:
        with _lock:
            _default, _is_by_hand = before

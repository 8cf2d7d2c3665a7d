"""Keeps imports and forks apart.

Python locks each module while a thread imports it. A child that is forked at that moment inherits
the lock and the half-imported module, but not the thread: its own first import of the module never
ends. So a fork waits for all imports of other threads.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

PATIENCE_SECONDS = 10.0
"""Longest wait of a fork for an import; the child repeats a longer one."""
_PAUSE_SECONDS = 0.005

_machinery: Any = getattr(importlib, "_bootstrap", None)
_imp: Any = getattr(_machinery, "_imp", None)


class ImportLock:
    """Delays a fork until no other thread imports, and delays imports during a fork."""

    def __init__(self) -> None:
        self._is_shut = False

    def before_fork(self) -> None:
        """Wait for the imports of other threads. None starts until the fork is over."""
        if _imp is None:
            # A Python with another import system: it may not have this fault.
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            # Each import needs this lock for a moment, so it is released during the wait.
            _imp.acquire_lock()
            if not any(_locked_by_others()) or time.monotonic() >= deadline:
                self._is_shut = True
                return
            _imp.release_lock()
            pause()

    def after_fork_in_parent(self) -> None:
        """Allow imports again."""
        if self._is_shut:
            self._is_shut = False
            _imp.release_lock()

    def after_fork(self) -> None:
        """In the child: forget the unfinished imports of other threads of the parent."""
        for name in list(_locked_by_others()):
            _machinery._module_locks.pop(name, None)  # noqa: SLF001 - as in `_locked_by_others`
            sys.modules.pop(name, None)
        self.after_fork_in_parent()


def pause() -> None:
    """Give other threads time to continue."""
    time.sleep(_PAUSE_SECONDS)


def _locked_by_others() -> Iterator[str]:
    """Yield the modules that other threads import."""
    me = threading.get_ident()
    # Python has no public function for this.
    known = getattr(_machinery, "_module_locks", {})
    for name, reference in list(known.items()):
        owner = getattr(reference(), "owner", None)
        if owner is not None and owner != me:
            yield name

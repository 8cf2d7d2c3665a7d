"""Keeps imports and forks apart.

Python locks each module while a thread imports it. A child that is forked in that moment inherits
the lock, and half of the module, but not the thread: its own first import of the module never
ends. So a fork waits for the imports of other threads, whatever they import.
"""

from __future__ import annotations

import importlib
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

PATIENCE_SECONDS = 10.0
"""A fork waits so long for an import; a longer one is begun anew by the child."""
_PAUSE_SECONDS = 0.005

_machinery: Any = getattr(importlib, "_bootstrap", None)
_imp: Any = getattr(_machinery, "_imp", None)


class ImportGate:
    """Lets a fork through while no other thread imports, and holds imports back meanwhile."""

    def __init__(self) -> None:
        self._is_shut = False

    def before_fork(self) -> None:
        """Wait for the imports of other threads; none begins until the fork is over."""
        if _imp is None:
            # A Python that imports in another way: it may not have this fault, and has no cure.
            return
        deadline = time.monotonic() + PATIENCE_SECONDS
        while True:
            # Each import takes this lock for moments, so it is given back while one is waited for.
            _imp.acquire_lock()
            if not any(_locked_by_others()) or time.monotonic() >= deadline:
                self._is_shut = True
                return
            _imp.release_lock()
            pause()

    def after_fork_in_parent(self) -> None:
        """Let imports begin again."""
        if self._is_shut:
            self._is_shut = False
            _imp.release_lock()

    def after_fork(self) -> None:
        """In the child: forget what other threads of the parent had not imported yet."""
        for name in list(_locked_by_others()):
            _machinery._module_locks.pop(name, None)  # noqa: SLF001 - as in `_locked_by_others`
            sys.modules.pop(name, None)
        self.after_fork_in_parent()


def pause() -> None:
    """Let other threads go on."""
    time.sleep(_PAUSE_SECONDS)


def _locked_by_others() -> Iterator[str]:
    """The modules that other threads import."""
    me = threading.get_ident()
    # There is no other way to ask.
    known = getattr(_machinery, "_module_locks", {})
    for name, reference in list(known.items()):
        owner = getattr(reference(), "owner", None)
        if owner is not None and owner != me:
            yield name

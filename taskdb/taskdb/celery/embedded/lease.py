"""The unsettled leases of this process, and the thread that renews them and its listeners.

A consumer holds a message for as long as it lives, however long the task takes: a daemon thread
renews each lease three times per lease period. When the process dies, renewal ends, and the
message returns. A process that was stopped (SIGSTOP, a frozen virtual machine) may find after
waking that another consumer has its message. Then it no longer holds the message, and its late
acknowledgement changes nothing.

The thread needs the interpreter. If C code in the consuming process (in the prefork pool the main
process, never that of a task) holds Python's lock longer than a lease, renewal stops too.
"""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Iterable

from taskdb.celery.embedded.file import MessageFileError
from taskdb.celery.embedded.messages import Lease, Messages

logger = logging.getLogger(__name__)


class HeldLeases:
    """The leases of this process, by token. A forked child starts with none."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages
        self._pid = os.getpid()
        self._held: dict[str, Lease] = {}
        self._owed: dict[str, Lease] = {}
        self._renewer: threading.Thread | None = None
        self._stopping = threading.Event()
        self._starting = threading.Lock()
        self._settling = threading.Lock()

    def hold(self, lease: Lease) -> None:
        """Keep the lease renewed until it is acknowledged, released or lost."""
        self._leave_parent()
        self._held[lease.token] = lease
        self.start_renewer()

    def start_renewer(self) -> None:
        """Start the thread, unless it runs."""
        if self._renewer is None:
            self._start_renewer()

    def ack(self, token: str) -> None:
        """Remove the message, unless its lease was lost; raises MessageFileError.

        After an error the renewer retries the acknowledgement.
        """
        self._leave_parent()
        lease = self._held.pop(token, None)
        if lease is None:
            logger.warning("late acknowledgement of a message that this process no longer holds")
            return
        self._owed[token] = lease
        with self._settling:
            self._settle()

    def release(self, tokens: Iterable[str]) -> None:
        """Return messages to their queues at once; after MessageFileError their leases expire."""
        self._leave_parent()
        leases = [lease for token in tokens if (lease := self._held.pop(token, None))]
        if leases:
            self._messages.release(leases)

    def stop(self) -> None:
        """Stop the renewer; held leases and pending acknowledgements expire."""
        self._leave_parent()
        renewer, self._renewer = self._renewer, None
        self._stopping.set()
        if renewer is not None and renewer is not threading.current_thread():
            renewer.join(timeout=5)
        self._held.clear()
        self._owed.clear()

    def _leave_parent(self) -> None:
        """Drop the parent's leases in a forked child, which has no renewer thread."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            self._held, self._owed = {}, {}
            self._renewer = None
            self._starting, self._settling = threading.Lock(), threading.Lock()

    def _start_renewer(self) -> None:
        with self._starting:
            if self._renewer is not None:
                return
            self._stopping = threading.Event()
            self._renewer = threading.Thread(
                target=self._run, args=(self._stopping,), name="taskdb-lease", daemon=True
            )
            self._renewer.start()

    def _run(self, stopping: threading.Event) -> None:
        pause = self._messages.lease_seconds / 3
        while not stopping.wait(pause):
            try:
                self._renew()
            except MessageFileError as error:
                logger.warning("leases not renewed, tried again: %s", error)
            except Exception:
                logger.exception("leases not renewed, tried again")

    def _settle(self) -> None:
        """Send pending acknowledgements; one thread at a time.

        A second thread would find nothing to remove and report the message as lost.
        """
        for lease in list(self._owed.values()):
            if not self._messages.ack([lease]):
                logger.warning("late acknowledgement of message %s: given away", lease.message_id)
            self._owed.pop(lease.token, None)

    def _renew(self) -> None:
        with self._settling:
            self._settle()
        if held := list(self._held.values()):
            for lease in self._messages.renew(held):
                # If it is no longer held, it was settled during the renewal.
                if self._held.pop(lease.token, None):
                    logger.warning("message %s lost to another consumer", lease.message_id)
        self._messages.listeners.renew()
        self._messages.return_free_pages()

"""Inputs and results of tasks, from the row or the payload store."""

from __future__ import annotations

from typing import Any

from taskdb.client.tasks import Tasks
from taskdb.model.entity import Side


class Payloads:
    """`taskdb.payloads`: inputs and results."""

    def __init__(self, tasks: Tasks) -> None:
        self._tasks = tasks

    def read(self, reference: str, side: Side = "input") -> Any:
        """Return the input or the result of a task, from the row or from the payload store.

        Raises TaskNotFound, InvalidInput for another `side`, PayloadMissing and
        PayloadStoreUnreachable.
        """
        return self._tasks.read_payload(reference, side)

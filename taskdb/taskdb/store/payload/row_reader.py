"""A reader of the payloads of one row, for its entity."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from taskdb.model.entity import Side, TaskEntity, TaskReader
from taskdb.store.payload.payload import Payloads


@dataclass(frozen=True, slots=True)
class RowReader:
    """The reader of an entity whose row names payloads, with the references of that row.

    The row was read in a scope. If the caller changes the entity, for example with
    `dataclasses.replace`, it still reads only the payloads of its own row.
    """

    client: TaskReader
    payloads: Payloads
    input_ref: str | None
    result_ref: str | None

    def get_task(self, reference: str) -> TaskEntity:
        return self.client.get_task(reference)

    def wait_task(self, reference: str, timeout: float | None) -> TaskEntity:
        return self.client.wait_task(reference, timeout)

    def read_payload(self, reference: str, side: Side) -> Any:
        own = self.input_ref if side == "input" else self.result_ref
        if own is None:
            return self.client.read_payload(reference, side)
        return self.payloads.read(own)

"""Errors about the payload store."""

from __future__ import annotations

from taskdb.errors.taskdb_error import TaskDBError


class PayloadStoreUnreachable(TaskDBError):
    """The payload store did not respond in time, or refuses. The payload was not written."""

    page = "how-to/keep-payloads-in-a-bucket.md"


class PayloadMissing(TaskDBError):
    """A row names a payload that the payload store does not have.

    `is_all_gone`: the whole folder of the payloads is missing, for example because it is not
    mounted.
    """

    page = "how-to/keep-payloads-in-a-bucket.md"

    def __init__(self, reference: str, *, is_all_gone: bool = False) -> None:
        self.reference = reference
        self.is_all_gone = is_all_gone
        super().__init__(
            f"the payload store has no {reference!r}: give every process the same "
            "TASKDB_PAYLOAD_DIR or TASKDB_PAYLOAD_URL"
        )

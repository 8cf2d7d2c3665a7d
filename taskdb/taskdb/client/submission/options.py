"""The keyword options of a submit, typed once for every function that takes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any, TypedDict

from taskdb.store.contract import OnConflict


class SubmitOptions(TypedDict, total=False):
    """The options of a submit besides type and input; None or a missing key means the default.

    `run_at` (aware datetime) or `delay` (timedelta, or seconds) schedules it. `deadline` (aware
    datetime) fails it if no worker has claimed it by then. `priority` runs from 0 to 9, 9 first.
    Of a tenant's tasks with the same `mutex_key`, of any type, one runs at a time.
    Notifications of this task carry `notify_id` as the id instead of its key.
    """

    tenant: str | None
    name: str | None
    unique_key: str | None
    on_conflict: OnConflict
    mutex_key: str | None
    run_at: datetime | None
    delay: timedelta | float | None
    deadline: datetime | None
    priority: int | None
    queue: str | None
    request_id: str | None
    created_by: str | None
    created_ip: str | None
    notify_id: str | None
    tags: Iterable[str]
    attributes: Mapping[str, Any]

"""Converts the options of a periodic Celery task of a task type into options of `Schedule`.

The message carries only ids. An option that controls the delivery has no effect and is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any

from taskdb.errors import Fault, InvalidInput
from taskdb.model.schedule.schedule import SUBJECT

_KEPT = ("queue", "priority", "expires")


def task_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert `queue`, `priority` and `expires`; raises InvalidInput that names every other one.

    An option that is None, or an empty text or mapping, is ignored.
    """
    said = {name: value for name, value in options.items() if value not in (None, "", {})}
    others = ", ".join(repr(name) for name in said if name not in _KEPT)
    if others:
        advice = f"{others} would be lost: the message of a task type has no options of its own"
        raise InvalidInput(SUBJECT, [Fault("options", f"{advice}. Keep {', '.join(_KEPT)}")])
    expires = said.pop("expires", None)
    return said | ({} if expires is None else _expiry(expires))


def _expiry(expires: Any) -> dict[str, Any]:
    """Convert `expires`: seconds count from each due time, a moment ends the schedule."""
    if isinstance(expires, str):
        # A text that is not a time is refused below.
        with suppress(ValueError):
            expires = datetime.fromisoformat(expires)
    if isinstance(expires, datetime) and expires.tzinfo is not None:
        return {"ends_at": expires}
    if isinstance(expires, int | float | timedelta) and not isinstance(expires, bool):
        return {"deadline": expires}
    advice = "give seconds, a timedelta, or a moment with a time zone"
    raise InvalidInput(SUBJECT, [Fault("expires", f"{expires!r}: {advice}")])

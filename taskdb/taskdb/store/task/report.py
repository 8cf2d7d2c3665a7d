"""The report of a body beside its outcome, as parameters of a statement."""

from __future__ import annotations

from typing import Any

from taskdb.model.json_text import encode, storable
from taskdb.model.outcome import NO_REPORT, Report

_MESSAGE_LIMIT = 2_000
_NOTHING: dict[str, Any] = {"attributes": None, "current": None, "total": None, "message": None}


def reported(report: Report) -> dict[str, Any]:
    """Return the parameters of a report. Raises NotEncodable for attributes that are not JSON."""
    if report is NO_REPORT:
        return _NOTHING
    changed = report.attributes is not None
    message = report.message
    return {
        "attributes": encode(report.attributes, "ctx.attributes") if changed else None,
        "current": report.current,
        "total": report.total,
        "message": None if message is None else storable(message, _MESSAGE_LIMIT),
    }

"""`taskdb status`: the state of the site on one page."""

from __future__ import annotations

from typing import Any

from taskdb.cli.alarm.presenter import ALARM
from taskdb.cli.document import json_value
from taskdb.cli.output import Output
from taskdb.cli.overview.presenter import QUEUE, WORKER, processes_text
from taskdb.cli.schedule.presenter import SCHEDULE
from taskdb.cli.session import Session, with_session
from taskdb.cli.value_text import relative
from taskdb.client.overview import Overview, overview


@with_session
def status(session: Session) -> None:
    """Show the state of the site: queues, workers, beats, the next schedules, open alarms."""
    found = overview(session.taskdb)
    if session.is_json:
        session.output.document(document(found))
    else:
        print_overview(session.output, found)


def print_overview(output: Output, found: Overview) -> None:
    """Write a page of at most 80 columns, with what needs a person first."""
    for need in found.needs:
        output.line(need, style="yellow")
    output.line(processes_text(found))
    if found.queues:
        output.line()
        QUEUE.print_table(output, found.queues)
    if found.schedules:
        output.line()
        rows = [
            (one.name, one.type, relative(one.next_due_at) if one.next_due_at else "-")
            for one in found.schedules
        ]
        output.table(("SCHEDULE", "TYPE", "NEXT"), rows)
    if found.alarms:
        output.line()
        alarms = [
            (one.id, one.severity.value, one.subject, relative(one.last_seen_at))
            for one in found.alarms
        ]
        output.table(("ALARM", "SEVERITY", "WHAT", "SEEN"), alarms)


def document(found: Overview) -> dict[str, Any]:
    """The overview as JSON."""
    return {
        "at": json_value(found.at),
        "needs": found.needs,
        "queues": [QUEUE.document(one) for one in found.queues],
        "workers": [WORKER.document(one) for one in found.workers],
        "beats": list(found.beats),
        "schedules": [SCHEDULE.document(one) for one in found.schedules],
        "alarms": [ALARM.document(one) for one in found.alarms],
    }

"""`taskdb import django-celery-results`: results from before the adoption, read in batches."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Annotated, Any

import typer
from sqlalchemy import Connection, text

from taskdb.cli.database.other_database import OtherUrl, moment_of, other_database
from taskdb.cli.exit_code import ExitCode
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.client.taskdb import TaskDB
from taskdb.model.adopted import CELERY_ID, AdoptedReport, ReportKind
from taskdb.model.entity import TaskError
from taskdb.model.reference import adopted_id
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE

_TABLE = "django_celery_results_taskresult"
_SOURCE = "django-celery-results"
_WANTED = (
    "id", "task_id", "task_name", "task_args", "task_kwargs", "status", "worker", "content_type",
    "result", "traceback", "date_created", "date_started", "date_done",
)  # fmt: skip
_ENDS = {
    "SUCCESS": TaskStatus.COMPLETED,
    "FAILURE": TaskStatus.FAILED,
    "REVOKED": TaskStatus.CANCELED,
    "REJECTED": TaskStatus.FAILED,
    "IGNORED": TaskStatus.CANCELED,
}
_PAGE = 500
_LIMIT = 4_096
"""Characters that are kept of arguments and of a result."""
_TRACEBACK_LIMIT = 16_384
_JSON_TYPES = {None, "", "json", "application/json"}
NOT_JSON = "[not JSON: left out by the import]"
"""Stands for a value of another serializer than JSON: no rule can find a secret in it."""
_NOTES = {
    "not_ended": "have not ended there: run it again later",
    "not_json": "values are not JSON (pickle, YAML, …) and were left out",
    "soon_pruned": "ended longer ago than is kept, and are pruned by the next beat: "
    "TASKDB_RETENTION sets how long",
}
_OPENING = ("(", "[", "{")


@with_session
def import_results(
    session: Session,
    url: OtherUrl,
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Write nothing.")] = False,
    tenant: TenantOption = None,
) -> int:
    """Import the results of django-celery-results. Its tables are not changed.

    Each becomes an adopted task with its times, without secrets. Run it again to continue an
    interrupted import: it changes no existing task. Tasks that have not ended there are skipped.
    """
    taskdb = session.taskdb_of(tenant)
    importing = _Importing(taskdb, tenant or session.settings.default_tenant, dry_run=dry_run)
    with other_database(url, _TABLE) as (connection, columns):
        for page in _pages(connection, columns):
            importing.take(page)
    _print(session, importing.counts, dry_run=dry_run)
    return ExitCode.OK


class _Importing:
    """Imports pages of results, and counts the outcomes."""

    def __init__(self, taskdb: TaskDB, tenant: str, *, dry_run: bool) -> None:
        self._taskdb = taskdb
        self._tenant = tenant
        self._dry_run = dry_run
        self._redaction = taskdb.settings.redaction
        self._retention = taskdb.settings.retention_rules
        self._now = datetime.now(UTC)
        self.counts: Counter[str] = Counter(
            imported=0, already_here=0, not_ended=0, soon_pruned=0, not_json=0
        )

    def take(self, page: list[dict[str, Any]]) -> None:
        """Import one page, in one transaction."""
        ended = {adopted_id(row["task_id"]): row for row in page if row["status"] in _ENDS}
        self.counts["not_ended"] += len(page) - sum(row["status"] in _ENDS for row in page)
        past = [self._seen(task_id, row) for task_id, row in ended.items()]
        store = self._taskdb.store
        if self._dry_run:
            new = len(past) - len(store.tasks.statuses(ended, EVERYONE))
        else:
            new = store.adopted.adopt_past(past, _SOURCE)
        self.counts["imported"] += new
        self.counts["already_here"] += len(past) - new
        self.counts["soon_pruned"] += sum(self._is_old(seen[-1]) for seen in past)

    def _is_old(self, end: AdoptedReport) -> bool:
        return self._retention.is_due(
            end.status, end.type, end.tenant, ended_at=end.at, now=self._now
        )

    def _seen(self, task_id: str, row: Mapping[str, Any]) -> tuple[AdoptedReport, AdoptedReport]:
        """Return the two reports that a result proves: the task was published, and it ended."""
        ended_at = moment_of(row["date_done"]) or self._now
        created_at = min(moment_of(row["date_created"]) or ended_at, ended_at)
        attributes = {} if task_id == row["task_id"] else {CELERY_ID: row["task_id"]}
        first = AdoptedReport(
            id=task_id,
            kind=ReportKind.PUBLISHED,
            status=TaskStatus.QUEUED,
            at=created_at,
            attempt=0,
            type=row["task_name"] or "",
            tenant=self._tenant,
            input=self._arguments(row),
            ran=False,
            attributes=attributes,
        )
        status = _ENDS[row["status"]]
        began_at = moment_of(row["date_started"])
        is_good = status is TaskStatus.COMPLETED
        end = AdoptedReport(
            id=task_id,
            kind=ReportKind.ENDED,
            status=status,
            at=ended_at,
            attempt=0 if row["status"] == "REVOKED" else 1,
            type=first.type,
            tenant=self._tenant,
            worker=row["worker"],
            began_at=began_at,
            result=self._value(row) if is_good else None,
            error=None if is_good else self._error(row),
            ran=row["status"] != "REVOKED",
        )
        return first, end

    def _arguments(self, row: Mapping[str, Any]) -> Any:
        given = {"args": row["task_args"], "kwargs": row["task_kwargs"]}
        if not any(given.values()):
            return None
        read = {name: self._argument(value) for name, value in given.items()}
        return self._redaction.value(read, _LIMIT)

    def _argument(self, stored: Any) -> Any:
        """Return arguments. They are stored as JSON, often as a text that Python has formatted."""
        value = self._decoded(stored)
        # Redaction finds names such as `password` in such a text, and none in any other text.
        return value if value is None or _is_spelled(value) else self._drop()

    def _value(self, row: Mapping[str, Any]) -> Any:
        if row["content_type"] not in _JSON_TYPES:
            return None if row["result"] is None else self._drop()
        value = self._decoded(row["result"])
        return None if value is None else self._redaction.value(value, _LIMIT)

    def _decoded(self, stored: Any) -> Any:
        """Return the value of a JSON column; NOT_JSON for any other text."""
        if stored is None or stored == "":
            return None
        try:
            return json.loads(stored)
        except (ValueError, TypeError, RecursionError):
            return self._drop()

    def _drop(self) -> str:
        self.counts["not_json"] += 1
        return NOT_JSON

    def _error(self, row: Mapping[str, Any]) -> TaskError:
        status = str(row["status"]).title()
        found = self._value(row)
        if found == NOT_JSON or not isinstance(found, Mapping):
            message = "" if found is None else str(found)
            return TaskError(status, message, self._text(row["traceback"]), 1)
        return _error_of(found, status, self._text(row["traceback"]))

    def _text(self, stored: Any) -> str:
        return self._redaction.text(stored or "", _TRACEBACK_LIMIT, end=True)


def _is_spelled(value: Any) -> bool:
    """Whether a value is no text, or a text in which Python has formatted arguments."""
    return not isinstance(value, str) or value == NOT_JSON or value[:1] in _OPENING


def _error_of(found: Mapping[str, Any], status: str, traceback: str) -> TaskError:
    module, kind = found.get("exc_module"), str(found.get("exc_type") or status)
    message = found.get("exc_message")
    said = message[0] if isinstance(message, list) and len(message) == 1 else message
    name = kind if module in {None, "builtins"} else f"{module}.{kind}"
    return TaskError(name, "" if said is None else str(said), traceback, 1)


def _pages(connection: Connection, columns: frozenset[str]) -> Iterator[list[dict[str, Any]]]:
    """Yield every result, oldest first. Columns that an older release lacks are NULL."""
    names = ", ".join(name if name in columns else f"NULL AS {name}" for name in _WANTED)
    sql = text(f"SELECT {names} FROM {_TABLE} WHERE id > :after ORDER BY id LIMIT :limit")  # noqa: S608 - of names above
    after = 0
    while True:
        found = [
            dict(row)
            for row in connection.execute(sql, {"after": after, "limit": _PAGE}).mappings()
        ]
        if not found:
            return
        yield found
        after = found[-1]["id"]


def _print(session: Session, counts: Counter[str], *, dry_run: bool) -> None:
    if session.is_json:
        session.output.document({**counts, "dry_run": dry_run})
        return
    done = "could be imported" if dry_run else "imported"
    here = f", {counts['already_here']:,} were here already" if counts["already_here"] else ""
    session.output.line(f"{counts['imported']:,} {done}{here}")
    for name, meaning in _NOTES.items():
        if counts[name]:
            session.output.note(f"{counts[name]:,} {meaning}")

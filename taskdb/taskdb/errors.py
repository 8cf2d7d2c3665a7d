"""Every error of this package, with the data it carries and what to do about it.

::

    TaskDBError
    ├── InvalidInput (ValueError)          what was handed to submit does not validate
    │   └── PayloadTooLarge                ... or is past the hard limit
    ├── UnknownTaskType (LookupError)      no task type has this name
    ├── TaskNotFound (LookupError)         no task has this id, code or key (in this scope)
    │   └── ResultNotKept                  an `AsyncResult` has no row to read: a plain Celery task
    ├── TaskNotSubmitted                   a task type was called as a plain Celery task
    ├── TaskAlreadyRegistered              two task types want the same name
    ├── SequenceNotFound (LookupError)     no sequence has this name
    ├── SequenceAlreadyCompleted           a completed sequence can only be run anew, with force
    ├── ScheduleNotFound (LookupError)     no schedule has this name or id (in this scope)
    ├── ScheduleExists                     a schedule of this name is there already
    ├── SubscriptionNotFound (LookupError) no subscription has this name or id (in this scope)
    ├── SubscriptionExists                 a subscription of this name is there already
    ├── AlarmNotFound (LookupError)        no alarm has this id or fingerprint (in this scope)
    ├── IllegalMove                        the state machine has no such move
    │   ├── TaskIsPruned                   pruning has deleted some of its tree
    │   └── TaskIsAdopted                  the task is only watched: its own app moves it
    ├── AlreadyTracked                     an app is watched already, with other options
    ├── CallbackRefused (LookupError)      no task waits for the callback of this token
    ├── WaitTimeout (TimeoutError)         `wait` ran out of time
    ├── WaitInterrupted                    the client was closed while it waited
    ├── NotEncodable (TypeError)           a value is not JSON
    ├── SettingsError (ValueError)         a setting is unknown or wrong
    │   └── TaskModuleError                a task module cannot be imported
    ├── ValueRefused (ValueError)          the database cannot keep a value
    ├── DatabaseError
    │   ├── DatabaseUnreachable            no answer from the database
    │   ├── DatabaseRefused                it answers, and cannot do it now: read-only, full, slow
    │   ├── DatabaseCollision              another transaction was in the way: repeat the whole one
    │   ├── DatabaseNotMigrated            tables are missing or older than the code
    │   ├── DatabaseUnsuitable             made without UTF-8
    │   └── DatabaseTooNew                 tables were migrated beyond what this release can use
    ├── GrantsRefused                      grants would not bind a role, or may not be made
    ├── BrokerUnreachable                  the broker is away, refuses or is frozen
    ├── Unroutable (LookupError)           a message would reach no queue
    ├── PayloadStoreUnreachable            the payload store is away, or refuses
    ├── PayloadMissing                     the payload store has lost a payload
    ├── TargetRefused (ValueError)         nothing is sent to this target
    └── DeliveryFailed                     a target did not take a message

``code`` is stable and meant for programs; the message is meant for people and ends with the
next step.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from difflib import get_close_matches
from typing import Any, ClassVar


class TaskDBError(Exception):
    """The base of every error this package raises on purpose."""

    code: ClassVar[str] = "TASKDB_ERROR"


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing wrong with an input: where (dotted path, `''` for the whole) and what."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class InvalidInput(TaskDBError, ValueError):
    """The arguments of a submit, or the input of a task, do not validate. Nothing was written."""

    code = "INVALID_INPUT"

    def __init__(self, subject: str, faults: Sequence[Fault]) -> None:
        self.subject = subject
        self.faults = tuple(faults)
        listed = "; ".join(str(fault) for fault in self.faults)
        super().__init__(f"{subject} is not valid: {listed}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.subject, self.faults))


class PayloadTooLarge(InvalidInput):
    """A payload is past the hard limit. Nothing was written."""

    code = "PAYLOAD_TOO_LARGE"

    def __init__(self, subject: str, size: int, limit: int) -> None:
        self.size = size
        self.limit = limit
        advice = (
            f"{size:,} bytes of JSON, the limit is {limit:,}: store the data elsewhere and submit "
            "its address, or raise TASKDB_PAYLOAD_LIMIT_BYTES"
        )
        super().__init__(subject, [Fault("", advice)])

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.subject, self.size, self.limit))


class UnknownTaskType(TaskDBError, LookupError):
    """No task type of this name is registered in this process."""

    code = "TASK_TYPE_NOT_FOUND"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(
            f"no task type is named {name!r}{did_you_mean(name, self.known)}. Registered: "
            f"{', '.join(self.known) or 'none'}. Name the module that defines it in "
            "TASKDB_TASK_MODULES"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.name, self.known))


class TaskNotFound(TaskDBError, LookupError):
    """No task of this id, code or key exists, or it belongs to a tenant out of this scope."""

    code = "TASK_NOT_FOUND"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(
            f"no task {reference!r}: give the id, the code or the key that submit_task returned; "
            "pruned tasks and those of other tenants are not found either"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reference,))


class ResultNotKept(TaskNotFound):
    """An `AsyncResult` of this package's Celery app was asked about an id that has no row."""

    code = "RESULT_NOT_KEPT"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        TaskDBError.__init__(
            self,
            f"no row has the id {reference!r}, so there is no state or result to read: results of "
            "plain Celery tasks (`delay`, `apply_async`, `send_task`) are not kept here, rows that "
            "are pruned or of other tenants are not found. Declare the task with @task and call "
            "submit_task, or call it in a Celery app with a result backend of its own",
        )


class TaskNotSubmitted(TaskDBError):
    """A task type was called as a plain Celery task, which makes no row. Nothing was published."""

    code = "TASK_NOT_SUBMITTED"

    def __init__(self, type_name: str) -> None:
        self.type_name = type_name
        super().__init__(
            f"{type_name!r} is a task type, which runs from its row; `delay`, `apply_async`, "
            "`apply`, `send_task`, chains and groups of Celery make no row. Call submit_task"
            f"({type_name!r}, input), or submit_fan_out or submit_sequence for several"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.type_name,))


class TaskAlreadyRegistered(TaskDBError):
    """Two handlers were registered under one name."""

    code = "TASK_ALREADY_REGISTERED"

    def __init__(self, name: str, first: str, second: str) -> None:
        self.name = name
        self.first = first
        self.second = second
        super().__init__(
            f"task type {name!r} is registered twice, by {first} and by {second}: rename one"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.name, self.first, self.second))


class SequenceNotFound(TaskDBError, LookupError):
    """No sequence of this name is registered in this process."""

    code = "SEQUENCE_NOT_FOUND"

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        super().__init__(
            f"no sequence is named {name!r}{did_you_mean(name, self.known)}. Registered: "
            f"{', '.join(self.known) or 'none'}. Name the module that defines it in "
            "TASKDB_TASK_MODULES"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.name, self.known))


class SequenceAlreadyCompleted(TaskDBError):
    """A sequence that COMPLETED has no failed step to go on with. Nothing was changed."""

    code = "JOB_ALREADY_COMPLETED"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(
            f"sequence {task_id} has completed: there is no failed step to go on with; run all "
            "steps anew with force (retry_task(..., force=True), taskdb retry --force)"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.task_id,))


class ScheduleNotFound(TaskDBError, LookupError):
    """No schedule of this name or id exists, or it belongs to a tenant out of this scope."""

    code = "SCHEDULE_NOT_FOUND"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(
            f"no schedule {reference!r}: give its name or id (`taskdb schedule list` shows them); "
            "those of other tenants are not found either"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reference,))


class ScheduleExists(TaskDBError):
    """A schedule of this name is there already. Nothing was changed."""

    code = "SCHEDULE_EXISTS"

    def __init__(self, name: str, origin: str) -> None:
        self.name = name
        self.origin = origin
        advice = (
            "replace it (replace=True, --replace) or choose another name"
            if origin == "person"
            else f"it is declared ({origin}): change it there, or choose another name"
        )
        super().__init__(f"a schedule named {name!r} is there already: {advice}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.name, self.origin))


class SubscriptionNotFound(TaskDBError, LookupError):
    """No subscription of this name or id exists, or it belongs to a tenant out of this scope."""

    code = "SUBSCRIPTION_NOT_FOUND"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(
            f"no subscription {reference!r}: give its name or id (`taskdb subscription list` shows "
            "them); those of other tenants are not found either"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reference,))


class SubscriptionExists(TaskDBError):
    """A subscription of this name is there already. Nothing was changed."""

    code = "SUBSCRIPTION_EXISTS"

    def __init__(self, name: str) -> None:
        self.name = name
        super().__init__(
            f"a subscription named {name!r} is there already: remove it, or choose another name"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.name,))


class AlarmNotFound(TaskDBError, LookupError):
    """No alarm of this id or fingerprint exists, or it is out of this scope."""

    code = "ALARM_NOT_FOUND"

    def __init__(self, reference: str) -> None:
        self.reference = reference
        super().__init__(
            f"no alarm {reference!r}: `taskdb alarm list` shows their ids; those that count for "
            "all tenants together are seen by the operator only"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reference,))


class IllegalMove(TaskDBError):
    """The state machine has no move of this verb from this status. Nothing was changed."""

    code = "ILLEGAL_MOVE"

    def __init__(self, verb: str, status: str, allowed: Iterable[str], task_id: str = "") -> None:
        self.verb = verb
        self.status = status
        self.allowed = tuple(allowed)
        self.task_id = task_id
        whose = f"task {task_id}" if task_id else "a task"
        super().__init__(
            f"cannot {verb} {whose} that is {status}; possible from "
            f"{', '.join(self.allowed) or 'no status'}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.verb, self.status, self.allowed, self.task_id))


class TaskIsPruned(IllegalMove):
    """Pruning has begun to delete this tree of tasks, and it never runs again. Nothing changed."""

    code = "TASK_IS_PRUNED"

    def __init__(self, verb: str, task_id: str, root_id: str, status: str) -> None:
        super().__init__(verb, status, (), task_id)
        self.root_id = root_id
        advice = "the rest goes at its next run; submit the work anew"
        message = f"cannot {verb} task {task_id}: pruning has deleted sub-tasks of {root_id}"
        self.args = (f"{message}, {advice}",)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.verb, self.task_id, self.root_id, self.status))


class TaskIsAdopted(IllegalMove):
    """The task belongs to a Celery app that is only watched (adopted). Nothing was changed."""

    code = "TASK_IS_ADOPTED"

    def __init__(
        self, verb: str, task_id: str, type_name: str, status: str, celery_id: str
    ) -> None:
        self.type_name = type_name
        self.celery_id = celery_id
        super().__init__(verb, status, (), task_id)
        advice = (
            f"revoke it there: celery -A YOUR_APP control revoke {shlex.quote(celery_id)}"
            if verb == "cancel"
            else f"call it again there, for example app.send_task({type_name!r}, args, kwargs)"
        )
        message = (
            f"cannot {verb} task {task_id}: it is adopted, its own Celery app runs it and TaskDB "
            f"only watches; {advice}"
        )
        self.args = (message,)

    def __reduce__(self) -> tuple[Any, ...]:
        given = (self.verb, self.task_id, self.type_name, self.status, self.celery_id)
        return (type(self), given)


class AlreadyTracked(TaskDBError):
    """The Celery app is watched already, with other options. Nothing was changed."""

    code = "ALREADY_TRACKED"

    def __init__(self, app: str) -> None:
        self.app = app
        super().__init__(
            f"{app} is tracked already, with other options: call track once, or untrack it before"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.app,))


class CallbackRefused(TaskDBError, LookupError):
    """No task waits for the callback of this token; which of the reasons it is, is not told."""

    code = "CALLBACK_REFUSED"

    def __init__(self) -> None:
        super().__init__(
            "no task waits for this callback: the token is wrong, was used before, its time is "
            "over, or its task ended or began anew; take the token of the newest run"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), ())


class WaitTimeout(TaskDBError, TimeoutError):
    """The task had not ended when the time given to `wait` was over; it goes on."""

    code = "WAIT_TIMEOUT"

    def __init__(self, task_id: str, status: str, seconds: float) -> None:
        self.task_id = task_id
        self.status = status
        self.seconds = seconds
        super().__init__(
            f"task {task_id} is still {status} after {seconds:g} s; it goes on, wait again or "
            f"look at its history with `taskdb show {task_id}`"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.task_id, self.status, self.seconds))


class WaitInterrupted(TaskDBError):
    """The client was closed while it waited for a task, which goes on."""

    code = "WAIT_INTERRUPTED"

    def __init__(self, task_id: str) -> None:
        self.task_id = task_id
        super().__init__(
            f"this TaskDB was closed while it waited for task {task_id}, which goes on: wait for "
            "it with a client that stays open"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.task_id,))


class NotEncodable(TaskDBError, TypeError):
    """A value cannot be stored as JSON; the message names where and why."""

    code = "NOT_ENCODABLE"


class SettingsError(TaskDBError, ValueError):
    """A setting is unknown or has a wrong value."""

    code = "SETTINGS_ERROR"


class TaskModuleError(SettingsError):
    """A module named in TASKDB_TASK_MODULES cannot be imported."""

    code = "TASK_MODULE_ERROR"

    def __init__(self, module: str, reason: str) -> None:
        self.module = module
        self.reason = reason
        super().__init__(
            f"cannot import task module {module!r} ({reason}): check TASKDB_TASK_MODULES and that "
            "the module's folder is on the Python path"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.module, self.reason))


class ValueRefused(TaskDBError, ValueError):
    """The database cannot keep a value. Nothing was written."""

    code = "VALUE_REFUSED"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(
            f"the database cannot keep a value of this task ({reason}): change the value"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reason,))


class DatabaseError(TaskDBError):
    """The base of what can be wrong with the database as a whole."""

    code = "DATABASE_ERROR"


class DatabaseUnreachable(DatabaseError):
    """The database gave no answer. What was being written is not there, unless said otherwise."""

    code = "DATABASE_UNREACHABLE"


class DatabaseRefused(DatabaseError):
    """The database answers and cannot do it now: read-only, full, too slow, or rights are missing.

    What was being written is not there.
    """

    code = "DATABASE_REFUSED"


class DatabaseCollision(DatabaseError):
    """Another transaction was in the way. Repeat the whole transaction; nothing of it is there.

    `orig` is the driver's error where the transaction is the caller's, and `sqlstate` its code.
    """

    code = "DATABASE_COLLISION"

    def __init__(self, message: str, orig: BaseException | None = None) -> None:
        self.orig = orig
        self.sqlstate: str | None = getattr(orig, "sqlstate", None)
        super().__init__(message)

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), self.args)


class DatabaseNotMigrated(DatabaseError):
    """The tables are missing or older than this code needs."""

    code = "DATABASE_NOT_MIGRATED"


class DatabaseUnsuitable(DatabaseError):
    """The database was made in a way in which it cannot keep what we write, as without UTF-8."""

    code = "DATABASE_UNSUITABLE"


class DatabaseTooNew(DatabaseError):
    """A newer release of this package has migrated the tables beyond what this one can use."""

    code = "DATABASE_TOO_NEW"


class GrantsRefused(TaskDBError):
    """A role does not exist, is not bound by grants, or may not grant. Nothing was granted."""

    code = "GRANTS_REFUSED"


class Unroutable(TaskDBError, LookupError):
    """A message would have reached no queue, so it was not sent."""

    code = "UNROUTABLE"

    def __init__(self, exchange: str, routing_key: str, advice: str) -> None:
        self.exchange = exchange
        self.routing_key = routing_key
        self.advice = advice
        super().__init__(
            f"exchange {exchange!r} takes a message with the routing key {routing_key!r} to no "
            f"queue: {advice}"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.exchange, self.routing_key, self.advice))


class BrokerUnreachable(TaskDBError):
    """The broker is away, refuses, or did not answer in time. Committed tasks are kept."""

    code = "BROKER_UNREACHABLE"


class PayloadStoreUnreachable(TaskDBError):
    """The payload store gave no answer in time, or refused. What was being written is not there."""

    code = "PAYLOAD_STORE_UNREACHABLE"


class PayloadMissing(TaskDBError):
    """A row points at a payload that the payload store does not have.

    `is_all_gone`: there is not even the folder of the payloads, as when it is not mounted.
    """

    code = "PAYLOAD_MISSING"

    def __init__(self, reference: str, is_all_gone: bool = False) -> None:  # noqa: FBT001, FBT002 - by which it is pickled
        self.reference = reference
        self.is_all_gone = is_all_gone
        super().__init__(
            f"the payload store has no {reference!r}: every process must see the same "
            "TASKDB_PAYLOAD_DIR or TASKDB_PAYLOAD_URL"
        )

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reference, self.is_all_gone))


class TargetRefused(TaskDBError, ValueError):
    """Nothing is sent to this target: it is malformed, or not on the public network."""

    code = "TARGET_REFUSED"

    def __init__(self, reason: str) -> None:
        self.reason = reason
        super().__init__(f"this target is refused: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        return (type(self), (self.reason,))


class DeliveryFailed(TaskDBError):
    """A target did not take a message. Unless it is final, it is worth another attempt."""

    code = "DELIVERY_FAILED"

    def __init__(
        self, reason: str, *, is_final: bool = False, retry_after: timedelta | None = None
    ) -> None:
        self.reason = reason
        self.is_final = is_final
        self.retry_after = retry_after
        super().__init__(f"not delivered: {reason}")

    def __reduce__(self) -> tuple[Any, ...]:
        state = {"is_final": self.is_final, "retry_after": self.retry_after}
        return (type(self), (self.reason,), state)


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` for the nearest of the known names, or an empty string."""
    close = get_close_matches(name, list(known), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""

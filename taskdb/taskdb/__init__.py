"""Keep Celery, gain a database of record: every task is a row before it is a message.

Each name is imported at its first use: a module that only declares task types loads no database.
Values of schedules, alarms and subscriptions are in `taskdb.model`, all errors in `taskdb.errors`.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from taskdb.client.default import default_taskdb as default_taskdb
    from taskdb.client.default import set_default as set_default
    from taskdb.client.explanation import Explanation as Explanation
    from taskdb.client.functions import cancel_task as cancel_task
    from taskdb.client.functions import cancel_task_async as cancel_task_async
    from taskdb.client.functions import explain_task as explain_task
    from taskdb.client.functions import explain_task_async as explain_task_async
    from taskdb.client.functions import get_task as get_task
    from taskdb.client.functions import get_task_async as get_task_async
    from taskdb.client.functions import list_tasks as list_tasks
    from taskdb.client.functions import list_tasks_async as list_tasks_async
    from taskdb.client.functions import resume_task as resume_task
    from taskdb.client.functions import resume_task_async as resume_task_async
    from taskdb.client.functions import retry_task as retry_task
    from taskdb.client.functions import retry_task_async as retry_task_async
    from taskdb.client.functions import submit_fan_out as submit_fan_out
    from taskdb.client.functions import submit_fan_out_async as submit_fan_out_async
    from taskdb.client.functions import submit_many as submit_many
    from taskdb.client.functions import submit_many_async as submit_many_async
    from taskdb.client.functions import submit_sequence as submit_sequence
    from taskdb.client.functions import submit_sequence_async as submit_sequence_async
    from taskdb.client.functions import submit_task as submit_task
    from taskdb.client.functions import submit_task_async as submit_task_async
    from taskdb.client.functions import task_history as task_history
    from taskdb.client.functions import task_history_async as task_history_async
    from taskdb.client.functions import wait_task as wait_task
    from taskdb.client.functions import wait_task_async as wait_task_async
    from taskdb.client.taskdb import TaskDB as TaskDB
    from taskdb.client.tasks import TaskPage as TaskPage
    from taskdb.errors import BrokerUnreachable as BrokerUnreachable
    from taskdb.errors import DatabaseError as DatabaseError
    from taskdb.errors import IllegalMove as IllegalMove
    from taskdb.errors import InvalidInput as InvalidInput
    from taskdb.errors import SettingsError as SettingsError
    from taskdb.errors import TaskDBError as TaskDBError
    from taskdb.errors import TaskNotFound as TaskNotFound
    from taskdb.errors import UnknownTaskType as UnknownTaskType
    from taskdb.errors import WaitTimeout as WaitTimeout
    from taskdb.model.alarm.alarm import Alarm as Alarm
    from taskdb.model.entity import SubTaskResult as SubTaskResult
    from taskdb.model.entity import TaskEntity as TaskEntity
    from taskdb.model.entity import TaskError as TaskError
    from taskdb.model.entity import TaskEvent as TaskEvent
    from taskdb.model.entity import TaskKind as TaskKind
    from taskdb.model.fan_out import FanOut as FanOut
    from taskdb.model.limit import Limit as Limit
    from taskdb.model.outcome import Cancel as Cancel
    from taskdb.model.outcome import Fail as Fail
    from taskdb.model.outcome import Halt as Halt
    from taskdb.model.outcome import RetryLater as RetryLater
    from taskdb.model.outcome import Snooze as Snooze
    from taskdb.model.principal.origin import Submitter as Submitter
    from taskdb.model.principal.origin import provide_submitter as provide_submitter
    from taskdb.model.principal.origin import submitting_as as submitting_as
    from taskdb.model.retry import Retry as Retry
    from taskdb.model.schedule.schedule import Schedule as Schedule
    from taskdb.model.status import TaskStatus as TaskStatus
    from taskdb.outgoing.signing import verify_webhook as verify_webhook
    from taskdb.settings.settings import Settings as Settings
    from taskdb.types.context import TaskContext as TaskContext
    from taskdb.types.declaration import on_task as on_task
    from taskdb.types.declaration import task as task
    from taskdb.types.registry import Registry as Registry
    from taskdb.types.registry import around as around
    from taskdb.types.sequence import Sequence as Sequence
    from taskdb.types.sequence import Step as Step

_HOMES = {
    # The client, and its settings.
    "taskdb.client.taskdb": ("TaskDB",),
    "taskdb.client.default": ("default_taskdb", "set_default"),
    "taskdb.settings.settings": ("Settings",),
    # The verbs of every day, on the default client.
    "taskdb.client.functions": (
        "submit_task", "submit_many", "submit_fan_out", "submit_sequence", "get_task", "list_tasks",
        "wait_task", "cancel_task", "retry_task", "resume_task", "task_history", "explain_task",
        "submit_task_async", "submit_many_async", "submit_fan_out_async", "submit_sequence_async",
        "get_task_async", "list_tasks_async", "wait_task_async", "cancel_task_async",
        "retry_task_async", "resume_task_async", "task_history_async", "explain_task_async",
    ),
    # Task types, and their policies.
    "taskdb.types.declaration": ("task", "on_task"),
    "taskdb.types.registry": ("around", "Registry"),
    "taskdb.types.sequence": ("Sequence", "Step"),
    "taskdb.model.fan_out": ("FanOut",),
    "taskdb.model.retry": ("Retry",),
    "taskdb.model.limit": ("Limit",),
    "taskdb.model.schedule.schedule": ("Schedule",),
    "taskdb.model.alarm.alarm": ("Alarm",),
    # In a body.
    "taskdb.types.context": ("TaskContext",),
    "taskdb.model.outcome": ("Cancel", "Fail", "Halt", "RetryLater", "Snooze"),
    # What the verbs return.
    "taskdb.model.status": ("TaskStatus",),
    "taskdb.model.entity": ("TaskEntity", "TaskError", "TaskEvent", "TaskKind", "SubTaskResult"),
    "taskdb.client.tasks": ("TaskPage",),
    "taskdb.client.explanation": ("Explanation",),
    # The caller of a submit, and the receiver of a webhook.
    "taskdb.model.principal.origin": ("Submitter", "provide_submitter", "submitting_as"),
    "taskdb.outgoing.signing": ("verify_webhook",),
    # Errors; `taskdb.errors` has all of them.
    "taskdb.errors": (
        "TaskDBError", "BrokerUnreachable", "DatabaseError", "IllegalMove", "InvalidInput",
        "SettingsError", "TaskNotFound", "UnknownTaskType", "WaitTimeout",
    ),
}  # fmt: skip
"""The module of each public name."""
_HOME_OF = {name: home for home, names in _HOMES.items() for name in names}
__all__ = list(_HOME_OF)


def __getattr__(name: str) -> Any:
    """Import a public name at its first use."""
    if name not in _HOME_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})

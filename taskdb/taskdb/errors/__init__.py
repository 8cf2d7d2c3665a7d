"""Every error of this package, with the data it carries and the next step for its reader.

::

    TaskDBError
    ├── InvalidInput (ValueError)          the arguments of a submit, or an input, do not validate
    │   └── PayloadTooLarge                ... or are larger than the limit
    ├── NotEncodable (TypeError)           a value is not JSON
    ├── ValueRefused (ValueError)          the database cannot store a value
    ├── UnknownTaskType (LookupError)      no task type has this name
    ├── SequenceNotFound (LookupError)     no sequence has this name
    ├── TaskAlreadyRegistered              two task types have the same name
    ├── TaskNotSubmitted                   a task type was called as a plain Celery task
    ├── TaskNotFound (LookupError)         no task has this id, code or key (in this scope)
    │   └── ResultNotKept                  an `AsyncResult` has no row: a plain Celery task
    ├── SequenceAlreadyCompleted           a completed sequence runs again only with force
    ├── IllegalMove                        the state machine has no such move
    │   ├── TaskIsPruned                   pruning has deleted a part of its tree
    │   └── TaskIsAdopted                  its own Celery app moves the task
    ├── AlreadyTracked                     an app is already tracked, with other options
    ├── CallbackRefused (LookupError)      no task waits for the callback of this token
    ├── WaitTimeout (TimeoutError)         the timeout of `wait` has passed
    ├── WaitInterrupted                    the client was closed while it waited
    ├── ScheduleNotFound (LookupError)     no schedule has this name or id (in this scope)
    ├── ScheduleExists                     a schedule of this name exists
    ├── SubscriptionNotFound (LookupError) no subscription has this name or id (in this scope)
    ├── SubscriptionExists                 a subscription of this name exists
    ├── AlarmNotFound (LookupError)        no alarm has this id or fingerprint (in this scope)
    ├── SettingsError (ValueError)         a setting is unknown or wrong
    │   └── TaskModuleError                a task module cannot be imported
    ├── DatabaseError
    │   ├── DatabaseUnreachable            the database did not respond
    │   ├── DatabaseRefused                it refuses for now: read-only, full, slow
    │   ├── DatabaseCollision              another transaction conflicts: repeat the whole one
    │   ├── DatabaseNotMigrated            tables are missing or older than the code
    │   ├── DatabaseUnsuitable             it cannot store what is written, as without UTF-8
    │   ├── TableNameTaken                 a table that is not ours has the name of one of ours
    │   └── DatabaseTooNew                 tables were migrated beyond what this release can use
    ├── GrantsRefused                      grants cannot bind a role, or may not be made
    ├── BrokerUnreachable                  the broker is not reachable, refuses or is frozen
    ├── Unroutable (LookupError)           a message has no queue to go to
    ├── PayloadStoreUnreachable            the payload store is not reachable, or refuses
    ├── PayloadMissing                     the payload store does not have a payload
    ├── TargetRefused (ValueError)         nothing is sent to this target
    └── DeliveryFailed                     a target did not accept a message

``code`` is stable and meant for programs. The message is meant for people and ends with the next
step.
"""

from taskdb.errors.alarm import AlarmNotFound
from taskdb.errors.broker import BrokerUnreachable, Unroutable
from taskdb.errors.database import (
    DatabaseCollision,
    DatabaseError,
    DatabaseNotMigrated,
    DatabaseRefused,
    DatabaseTooNew,
    DatabaseUnreachable,
    DatabaseUnsuitable,
    GrantsRefused,
    TableNameTaken,
)
from taskdb.errors.input import Fault, InvalidInput, NotEncodable, PayloadTooLarge, ValueRefused
from taskdb.errors.outgoing import DeliveryFailed, TargetRefused
from taskdb.errors.payload import PayloadMissing, PayloadStoreUnreachable
from taskdb.errors.schedule import ScheduleExists, ScheduleNotFound
from taskdb.errors.settings import SettingsError, TaskModuleError
from taskdb.errors.subscription import SubscriptionExists, SubscriptionNotFound
from taskdb.errors.task import (
    AlreadyTracked,
    CallbackRefused,
    IllegalMove,
    ResultNotKept,
    SequenceAlreadyCompleted,
    TaskIsAdopted,
    TaskIsPruned,
    TaskNotFound,
    WaitInterrupted,
    WaitTimeout,
)
from taskdb.errors.task_type import (
    SequenceNotFound,
    TaskAlreadyRegistered,
    TaskNotSubmitted,
    UnknownTaskType,
)
from taskdb.errors.taskdb_error import TaskDBError, did_you_mean

__all__ = [
    "AlarmNotFound", "AlreadyTracked", "BrokerUnreachable", "CallbackRefused", "DatabaseCollision",
    "DatabaseError", "DatabaseNotMigrated", "DatabaseRefused", "DatabaseTooNew",
    "DatabaseUnreachable", "DatabaseUnsuitable", "DeliveryFailed", "Fault", "GrantsRefused",
    "IllegalMove", "InvalidInput", "NotEncodable", "PayloadMissing", "PayloadStoreUnreachable",
    "PayloadTooLarge", "ResultNotKept", "ScheduleExists", "ScheduleNotFound",
    "SequenceAlreadyCompleted", "SequenceNotFound", "SettingsError", "SubscriptionExists",
    "SubscriptionNotFound", "TableNameTaken", "TargetRefused", "TaskAlreadyRegistered",
    "TaskDBError", "TaskIsAdopted", "TaskIsPruned", "TaskModuleError", "TaskNotFound",
    "TaskNotSubmitted", "UnknownTaskType", "Unroutable", "ValueRefused", "WaitInterrupted",
    "WaitTimeout", "did_you_mean",
]  # fmt: skip

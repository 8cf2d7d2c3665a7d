"""What a user asks for, checked whole before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from pydantic import BaseModel
from uuid_utils.compat import uuid7

from taskdb.errors import Fault, InvalidInput, NotEncodable, UnknownTaskType, did_you_mean
from taskdb.model.bounds import (
    KEY_BYTES,
    LONGEST,
    NAME_BYTES,
    QUEUE_BYTES,
    TEXT_BYTES,
    as_duration,
    clipped,
    shown,
    wrong_text,
)
from taskdb.model.clock import require_aware
from taskdb.model.entity import TaskEntity, TaskReader
from taskdb.model.json_text import decode, encode, storable
from taskdb.model.key import OF_FIELDS, mutex_key_of, unique_key_of
from taskdb.model.principal.origin import FIELDS, submitter_texts
from taskdb.model.principal.permission import ANYTHING, Permission
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings
from taskdb.store.contract import Draft, OnConflict, Scope
from taskdb.store.payload.payload import Payloads
from taskdb.store.payload.row_reader import RowReader
from taskdb.store.task.create import Created
from taskdb.tracing import carried, is_wanted, span
from taskdb.types.registry import Registry
from taskdb.types.task_type import TaskType

FAULT_LIMIT = 100
"""Faults that one error tells of; a bulk submit may have any number."""

_SUBJECT = "the submit request"
_TEXTS = {
    "tenant": NAME_BYTES,
    "name": TEXT_BYTES,
    "unique_key": KEY_BYTES,
    "mutex_key": KEY_BYTES,
    "queue": QUEUE_BYTES,
    "request_id": TEXT_BYTES,
    "created_by": TEXT_BYTES,
    "created_ip": TEXT_BYTES,
    "notify_id": TEXT_BYTES,
}
"""The options that are texts, and how many bytes each may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """The options of `submit_task`, as given."""

    tenant: str | None = None
    name: str | None = None
    unique_key: str | None = None
    on_conflict: OnConflict = "resubmit"
    mutex_key: str | None = None
    run_at: datetime | None = None
    delay: timedelta | float | None = None
    deadline: datetime | None = None
    priority: int | None = None
    queue: str | None = None
    request_id: str | None = None
    created_by: str | None = None
    created_ip: str | None = None
    notify_id: str | None = None
    tags: tuple[str, ...] = ()
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Place:
    """A type, and where and how urgently its tasks are run."""

    type: str
    queue: str
    priority: int
    mutex: tuple[str, ...] = ()


class Drafting:
    """Turns wishes into drafts; raises InvalidInput with every fault, UnknownTaskType."""

    def __init__(
        self,
        settings: Settings,
        registry: Registry,
        payloads: Payloads,
        scope: Scope,
        permission: Permission = ANYTHING,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._payloads = payloads
        self._scope = scope
        self._permission = permission

    def drafts(self, type_name: str, inputs: Iterable[Any], wish: Wish) -> list[Draft]:
        """One draft an input. Nothing has been written when this raises."""
        task_type = self._checked(type_name, wish)
        values = self._inputs(task_type, type_name, list(inputs))
        drafts: list[Draft] = []
        try:
            drafts.extend(self._draft(type_name, task_type, value, wish) for value in values)
        except BaseException:
            # Payloads of the drafts before this one have no row and will get none.
            self.discard(drafts)
            raise
        return drafts

    def checked(self, type_name: str, given: Any, wish: Wish) -> Any:
        """An input as its row will have it, once the wish is sound too; nothing is stored.

        Raises as `drafts` does.
        """
        task_type = self._checked(type_name, wish)
        value = self._input(task_type, type_name, given)
        with _as_invalid_input(type_name):
            encode(value, "it")
        return value

    def parent(self, type_name: str, wish: Wish, *, value: Any = None) -> Draft:
        """The draft of a parent, whose parts or steps get a draft each of their own.

        Raises InvalidInput.
        """
        self._check(type_name, wish)
        at_once = replace(wish, run_at=None, delay=None, deadline=None, mutex_key=None)
        with _as_invalid_input(type_name):
            value = self.plain(value)
        return self._draft(type_name, None, value, at_once)

    def plain(self, value: Any) -> Any:
        """A value as its row will answer it; raises NotEncodable."""
        dumped = value.model_dump(mode="json", by_alias=True) if _is_model(value) else value
        return decode(encode(dumped, "it"))

    def parts(self, type_name: str, inputs: Iterable[Any], wish: Wish) -> Iterator[Draft]:
        """One draft an input, made as it is asked for, so that any number of them fits.

        Raises as `drafts` does, for the first input that is wrong; the reader of the drafts then
        discards their payloads.
        """
        task_type = self._checked(type_name, wish)
        for position, given in enumerate(inputs):
            try:
                value = self._input(task_type, type_name, given)
            except InvalidInput as error:
                faults = [_numbered(fault, position) for fault in error.faults]
                raise InvalidInput(f"the items of {type_name}", faults) from None
            draft = self._draft(type_name, task_type, value, wish)
            # To make a draft anew takes as long as all that led to it.
            yield draft if draft.unique_key is None else replace(draft, unique_key=None)

    def place(self, given: Any, *, queue: str | None = None, priority: int | None = None) -> Place:
        """Where tasks of a type (by name or function) go.

        Raises UnknownTaskType, and InvalidInput for a queue or priority that is none.
        """
        name = self._registry.name_of(given)
        wish = Wish(queue=queue, priority=priority)
        return self._place(name, self._checked(name, wish), wish)

    def queue_place(self, name: str, queue: str | None, priority: int | None) -> Place:
        """The same for what has no type: a sequence inside another one."""
        wish = Wish(queue=queue, priority=priority)
        self._check(name, wish)
        return self._place(name, None, wish)

    def _place(self, name: str, task_type: TaskType | None, wish: Wish) -> Place:
        mutex = task_type.mutex if task_type else ()
        return Place(name, self._queue(task_type, wish), _priority(task_type, wish), mutex)

    def check_type(self, name: str) -> None:
        """Raise UnknownTaskType for an unknown type, InvalidInput for one that is not allowed."""
        self._type(name)

    def check_allowed(self, name: str) -> None:
        """Raise InvalidInput where this client may not submit what has this name."""
        faults = self._permission.faults({"type": name})
        if faults:
            raise InvalidInput(_SUBJECT, faults)

    def discard(self, drafts: Iterable[Draft]) -> None:
        """Remove the payloads of drafts that were not inserted."""
        for draft in drafts:
            self._payloads.discard(draft.input_ref)

    def discard_reference(self, reference: str) -> None:
        """Remove a payload that no row will name."""
        self._payloads.discard(reference)

    def _checked(self, name: str, wish: Wish) -> TaskType | None:
        """The type of a task, once the wish is sound and allowed; None for an unknown one.

        What a type declares is looked at as well: no task may be anywhere else.
        """
        task_type = self._type(name)
        place = {"queue": self._queue(task_type, wish), "priority": _priority(task_type, wish)}
        self._check(name, wish, place)
        return task_type

    def _check(self, name: str, wish: Wish, place: Mapping[str, Any] | None = None) -> None:
        """Raise InvalidInput for a wish that is not sound, or for a place that is not allowed.

        Without a place that of the wish is looked at: a parent itself runs nowhere.
        """
        if place is None:
            asked = {"queue": wish.queue, "priority": wish.priority}
            place = {name: value for name, value in asked.items() if value is not None}
        faults = self._faults(wish) or self._permission.faults({"type": name, **place})
        if faults:
            raise InvalidInput(_SUBJECT, faults)

    def _type(self, name: str) -> TaskType | None:
        # Before the registry, which names the types that it knows.
        self.check_allowed(name)
        if not self._settings.allow_unknown_types:
            return self._known(name)
        if wrong_text(name, NAME_BYTES) is not None or not name.strip() or "#" in name:
            raise UnknownTaskType(shown(name), [])
        return self._registry.find(name)

    def _known(self, name: str) -> TaskType:
        """The type of this name; UnknownTaskType, which names those that this client may run."""
        try:
            return self._registry.get(name)
        except UnknownTaskType as error:
            allowed = self._permission.types
            if allowed is None:
                raise
            known = [one for one in error.known if one in allowed]
            raise UnknownTaskType(error.name, known) from None

    def _inputs(self, task_type: TaskType | None, name: str, given: list[Any]) -> list[Any]:
        if len(given) == 1:
            return [self._input(task_type, name, given[0])]
        values: list[Any] = []
        faults: list[Fault] = []
        for position, one in enumerate(given):
            try:
                values.append(self._input(task_type, name, one))
            except InvalidInput as error:
                faults += [_numbered(fault, position) for fault in error.faults]
                if len(faults) >= FAULT_LIMIT:
                    break
        if faults:
            raise InvalidInput(f"the input of {name}", faults)
        return values

    def _input(self, task_type: TaskType | None, name: Any, given: Any) -> Any:
        if task_type is not None:
            return task_type.dump(given)
        with _as_invalid_input(name):
            # As the row will answer it: tuples become lists, and keys text.
            return self.plain(given)

    def _draft(self, name: str, task_type: TaskType | None, value: Any, wish: Wish) -> Draft:
        task_id = str(uuid7())
        with _as_invalid_input(name):
            payload = self._payloads.pack(value, f"{task_id}-input", f"the input of {name}")
        return Draft(
            id=task_id,
            tenant=self.tenant(wish.tenant),
            type=name,
            name=wish.name or name,
            status=TaskStatus.CREATED,
            queue=self._queue(task_type, wish),
            priority=_priority(task_type, wish),
            input=payload.value,
            input_ref=payload.reference,
            attributes=wish.attributes,
            tags=tuple(dict.fromkeys((*(task_type.tags if task_type else ()), *wish.tags))),
            unique_key=wish.unique_key or _key_of(task_type, value),
            mutex_key=wish.mutex_key or _mutex_of(task_type, value),
            **{name: getattr(wish, name) for name in FIELDS} | self._permission.origin,
            run_at=wish.run_at,
            delay=_duration(wish.delay),
            deadline_at=wish.deadline,
            notify_id=wish.notify_id,
            trace=carried(),
        )

    def _queue(self, task_type: TaskType | None, wish: Wish) -> str:
        return wish.queue or (task_type and task_type.queue) or self._settings.default_queue

    def tenant(self, wished: str | None) -> str:
        """The tenant of a submit: named, or the only one of the scope, or the default."""
        if wished is not None:
            return wished
        if self._scope.tenants is not None and len(self._scope.tenants) == 1:
            return self._scope.tenants[0]
        return self._settings.default_tenant

    def _faults(self, wish: Wish) -> list[Fault]:
        faults = [
            Fault(name, reason)
            for name, limit in _TEXTS.items()
            if (text := getattr(wish, name)) is not None
            and (reason := wrong_text(text, limit)) is not None
        ]
        if not faults and not self._scope.allows(self.tenant(wish.tenant)):
            advice = f"{self.tenant(wish.tenant)!r} is out of the scope of this client"
            faults.append(Fault("tenant", advice))
        return [*faults, *_wrong_choices(wish), *_wrong_times(wish), *_wrong_labels(wish)]


def wish_of(options: Mapping[str, Any]) -> Wish:
    """The options of a submit, None meaning the default; raises InvalidInput for unknown ones.

    Who submits is taken from the surroundings where the options do not say it.
    """
    known = {field.name for field in fields(Wish)}
    faults = [
        Fault(name, f"no such option{did_you_mean(name, known)}")
        for name in options
        if name not in known
    ]
    if faults:
        raise InvalidInput(_SUBJECT, faults)
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("run_at", "deadline"):
        if isinstance(given.get(name), datetime):
            given[name] = _in_utc(given[name], name)
    if isinstance(given.get("tags"), Iterable) and not isinstance(given["tags"], str):
        # It may be a generator, and every draft wants them.
        given["tags"] = tuple(given["tags"])
    if isinstance(given.get("attributes"), Mapping):
        given["attributes"] = dict(given["attributes"])
    return Wish(**_submitter(given), **given)


def _submitter(given: Mapping[str, Any]) -> dict[str, Any]:
    """What is left out of who submits. A header of any length must not make a submit fail."""
    texts = submitter_texts(name for name in FIELDS if name not in given)
    return {name: clipped(storable(text)) for name, text in texts.items()}


def submitting(type_name: Any) -> AbstractContextManager[Any]:
    """The span of a submit; what is drafted inside goes on with it."""
    if not is_wanted():
        return nullcontext()
    name = str(type_name)[:TEXT_BYTES]
    told = {"messaging.system": "taskdb", "messaging.operation.name": "submit", "taskdb.type": name}
    return span(f"submit {name}", "PRODUCER", told)


def fresh_entity(
    draft: Draft, created: Created, *, is_queued: bool, reader: TaskReader, payloads: Payloads
) -> TaskEntity:
    """The task of a row that was just inserted, without reading it back."""
    if draft.input_ref is not None:
        reader = RowReader(reader, payloads, draft.input_ref, None)
    moment = created.created_at or datetime.now(UTC)
    return TaskEntity(
        id=draft.id,
        tenant=draft.tenant,
        type=draft.type,
        kind=draft.kind,
        role=draft.role,
        name=draft.name,
        status=TaskStatus.QUEUED if is_queued else created.status,
        queue=draft.queue,
        priority=draft.priority,
        attributes=dict(draft.attributes),
        tags=draft.tags,
        unique_key=draft.unique_key,
        parent_id=draft.parent_id,
        position=draft.position,
        request_id=draft.request_id,
        created_by=draft.created_by,
        created_ip=draft.created_ip,
        created_at=moment,
        updated_at=moment,
        run_at=created.run_at,
        held_by=created.held_by,
        deadline_at=draft.deadline_at,
        notify_id=draft.notify_id,
        inline_input=draft.input,
        input_ref=draft.input_ref,
        reader=reader,
    )


def announced_entity(draft: Draft, reader: TaskReader, payloads: Payloads) -> TaskEntity:
    """The task of a row that is not written before a commit that is still to come."""
    due = draft.run_at
    if due is None and draft.delay is not None:
        due = datetime.now(UTC) + draft.delay
    status = TaskStatus.CREATED if due is None else TaskStatus.SCHEDULED
    created = Created(draft.id, status, is_new=True, run_at=due)
    return fresh_entity(draft, created, is_queued=False, reader=reader, payloads=payloads)


def _key_of(task_type: TaskType | None, value: Any) -> str | None:
    if task_type is None or not task_type.unique:
        return None
    return unique_key_of(task_type.unique_values(value))


def _mutex_of(task_type: TaskType | None, value: Any) -> str | None:
    if task_type is None or not task_type.mutex:
        return None
    return mutex_key_of(task_type.name, task_type.mutex, task_type.mutex_values(value))


def _is_model(given: Any) -> bool:
    return isinstance(given, BaseModel)


def _numbered(fault: Fault, position: int) -> Fault:
    return Fault(f"{position}.{fault.path}" if fault.path else str(position), fault.message)


@contextmanager
def _as_invalid_input(type_name: str) -> Iterator[None]:
    """What is no JSON was handed to us: it is the input that is wrong."""
    try:
        yield
    except NotEncodable as error:
        raise InvalidInput(f"the input of {type_name}", [Fault("", str(error))]) from None


def _in_utc(moment: datetime, name: str) -> datetime:
    try:
        return require_aware(moment, name)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(_SUBJECT, [Fault(name, str(error))]) from None


def _wrong_choices(wish: Wish) -> list[Fault]:
    faults = []
    if wish.on_conflict not in get_args(OnConflict):
        known = get_args(OnConflict)
        hint = did_you_mean(shown(wish.on_conflict), known)
        faults.append(Fault("on_conflict", f"one of {', '.join(known)}{hint}"))
    priority: Any = wish.priority
    is_whole = isinstance(priority, int) and not isinstance(priority, bool)
    if priority is not None and not (is_whole and priority in range(10)):
        faults.append(Fault("priority", f"{shown(priority)} is not a number from 0 to 9"))
    if wish.unique_key == "":
        faults.append(Fault("unique_key", "is empty: leave it out, or give what is unique"))
    if wish.mutex_key == "":
        faults.append(Fault("mutex_key", "is empty: leave it out, or give what is not shared"))
    elif isinstance(wish.mutex_key, str) and wish.mutex_key.startswith(OF_FIELDS):
        faults.append(Fault("mutex_key", f"{OF_FIELDS!r} begins the keys of fields: give another"))
    return faults


def _wrong_times(wish: Wish) -> list[Fault]:
    faults = [
        Fault(name, f"{shown(getattr(wish, name))} is not a datetime")
        for name in ("run_at", "deadline")
        if not isinstance(getattr(wish, name), datetime | None)
    ]
    if wish.run_at is not None and wish.delay is not None:
        faults.append(Fault("delay", "give either run_at or delay"))
    if wish.delay is not None:
        try:
            as_duration(wish.delay, "delay")
        except (TypeError, ValueError):
            advice = f"{shown(wish.delay)} is not a duration from zero to {LONGEST.days:,} days"
            faults.append(Fault("delay", advice))
    return faults


def _wrong_labels(wish: Wish) -> list[Fault]:
    faults = []
    tags: Any = wish.tags
    if not isinstance(tags, tuple):
        faults.append(Fault("tags", f"{shown(tags)} is not a list of texts"))
    else:
        wrong = (wrong_text(tag) for tag in tags)
        faults += [
            Fault(f"tags.{position}", reason)
            for position, reason in enumerate(wrong)
            if reason is not None
        ]
    attributes: Any = wish.attributes
    if not isinstance(attributes, Mapping):
        return [*faults, Fault("attributes", f"{shown(attributes)} is not a mapping")]
    try:
        encode(attributes, "attributes")
    except NotEncodable as error:
        faults.append(Fault("attributes", str(error)))
    return faults


def _duration(value: timedelta | float | None) -> timedelta | None:
    if value is None or isinstance(value, timedelta):
        return value
    return timedelta(seconds=value)


def _priority(task_type: TaskType | None, wish: Wish) -> int:
    declared = task_type.priority if task_type else None
    return next(one for one in (wish.priority, declared, 5) if one is not None)

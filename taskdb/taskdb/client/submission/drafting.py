"""Turns the inputs and options of a submit into drafts; checks all before any is written."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from pydantic import BaseModel
from uuid_utils.compat import uuid7

from taskdb.client.caller.caller import Caller
from taskdb.client.submission.chosen_options import SUBJECT, ChosenOptions
from taskdb.client.types import Types
from taskdb.errors import Fault, InvalidInput, NotEncodable, UnknownTaskType
from taskdb.model.bounds import NAME_BYTES, TEXT_BYTES, shown, wrong_text
from taskdb.model.json_text import decode, encode
from taskdb.model.key import mutex_key_of, unique_key_of
from taskdb.model.principal.origin import FIELDS
from taskdb.model.status import TaskStatus
from taskdb.settings.settings import Settings
from taskdb.store.contract import Draft
from taskdb.store.payload.payload import Payloads
from taskdb.tracing import carried, is_wanted, span
from taskdb.types.registry import Registry
from taskdb.types.task_type import TaskType

FAULT_LIMIT = 100
"""The most faults that one error names; a bulk submit may have any number."""


@dataclass(frozen=True, slots=True)
class Place:
    """The queue, priority and mutex fields that tasks of a type use."""

    type: str
    queue: str
    priority: int
    mutex: tuple[str, ...] = ()


class Drafting:
    """Makes drafts of inputs and options; raises InvalidInput with every fault, UnknownTaskType."""

    def __init__(
        self,
        settings: Settings,
        types: Types,
        payloads: Payloads,
        caller: Caller,
    ) -> None:
        self._settings = settings
        self._types = types
        self._payloads = payloads
        self._scope = caller.scope
        self._permission = caller.permission

    @property
    def _registry(self) -> Registry:
        return self._types.discover()

    def drafts(self, type_name: str, inputs: Iterable[Any], options: ChosenOptions) -> list[Draft]:
        """Return one draft for each input. Nothing has been written when this raises."""
        task_type = self._checked(type_name, options)
        values = self._inputs(task_type, type_name, list(inputs))
        drafts: list[Draft] = []
        try:
            drafts.extend(self._draft(type_name, task_type, value, options) for value in values)
        except BaseException:
            # The payloads of earlier drafts would stay without a row.
            self.discard(drafts)
            raise
        return drafts

    def checked(self, type_name: str, given: Any, options: ChosenOptions) -> Any:
        """Return an input as its row will have it, after checking the options; stores nothing.

        Raises as `drafts` does.
        """
        task_type = self._checked(type_name, options)
        value = self._input(task_type, type_name, given)
        with _as_invalid_input(type_name):
            encode(value, "it")
        return value

    def parent(self, type_name: str, options: ChosenOptions, *, value: Any = None) -> Draft:
        """Return the draft of a parent; its parts or steps have drafts of their own.

        Raises InvalidInput.
        """
        self._check(type_name, options)
        at_once = replace(options, run_at=None, delay=None, deadline=None, mutex_key=None)
        with _as_invalid_input(type_name):
            value = self.plain(value)
        return self._draft(type_name, None, value, at_once)

    def plain(self, value: Any) -> Any:
        """Return a value as a read of its row will return it; raises NotEncodable."""
        dumped = value.model_dump(mode="json", by_alias=True) if _is_model(value) else value
        return decode(encode(dumped, "it"))

    def parts(
        self, type_name: str, inputs: Iterable[Any], options: ChosenOptions
    ) -> Iterator[Draft]:
        """Yield one draft for each input on demand, so that memory does not limit their number.

        Raises as `drafts` does, at the first wrong input; the reader of the drafts then
        discards their payloads.
        """
        task_type = self._checked(type_name, options)
        for position, given in enumerate(inputs):
            try:
                value = self._input(task_type, type_name, given)
            except InvalidInput as error:
                faults = [_numbered(fault, position) for fault in error.faults]
                raise InvalidInput(f"the items of {type_name}", faults) from None
            draft = self._draft(type_name, task_type, value, options)
            # `replace` is as slow as making the draft.
            yield draft if draft.unique_key is None else replace(draft, unique_key=None)

    def place(self, given: Any, *, queue: str | None = None, priority: int | None = None) -> Place:
        """Return queue, priority and mutex of a type (by name or function).

        Raises UnknownTaskType, and InvalidInput for an invalid queue or priority.
        """
        name = self._registry.name_of(given)
        options = ChosenOptions(queue=queue, priority=priority)
        return self._place(name, self._checked(name, options), options)

    def queue_place(self, name: str, queue: str | None, priority: int | None) -> Place:
        """Return the same for a sequence inside another one, which has no type."""
        options = ChosenOptions(queue=queue, priority=priority)
        self._check(name, options)
        return self._place(name, None, options)

    def _place(self, name: str, task_type: TaskType | None, options: ChosenOptions) -> Place:
        mutex = task_type.mutex if task_type else ()
        return Place(name, self._queue(task_type, options), _priority(task_type, options), mutex)

    def check_type(self, name: str) -> None:
        """Raise UnknownTaskType for an unknown type, InvalidInput for one that is not allowed."""
        self._type(name)

    def check_allowed(self, name: str) -> None:
        """Raise InvalidInput if this client may not submit this type or sequence."""
        faults = self._permission.faults({"type": name})
        if faults:
            raise InvalidInput(SUBJECT, faults)

    def discard(self, drafts: Iterable[Draft]) -> None:
        """Remove the payloads of drafts that were not inserted."""
        for draft in drafts:
            self._payloads.discard(draft.input_ref)

    def discard_reference(self, reference: str) -> None:
        """Remove a payload that no row refers to."""
        self._payloads.discard(reference)

    def _checked(self, name: str, options: ChosenOptions) -> TaskType | None:
        """Return the type, or None for an unknown one, after checking options and permission.

        Also checks the queue and priority that the type declares: the tasks run there.
        """
        task_type = self._type(name)
        place = {
            "queue": self._queue(task_type, options),
            "priority": _priority(task_type, options),
        }
        self._check(name, options, place)
        return task_type

    def _check(
        self, name: str, options: ChosenOptions, place: Mapping[str, Any] | None = None
    ) -> None:
        """Raise InvalidInput for invalid options, or for a place that is not allowed.

        Without `place`, checks only the options: the parent of a tree does not run itself.
        """
        if place is None:
            asked = {"queue": options.queue, "priority": options.priority}
            place = {name: value for name, value in asked.items() if value is not None}
        faults = self._faults(options) or self._permission.faults({"type": name, **place})
        if faults:
            raise InvalidInput(SUBJECT, faults)

    def _type(self, name: str) -> TaskType | None:
        # Check first: the error of the registry names the types that it knows.
        self.check_allowed(name)
        if not self._settings.allow_unknown_types:
            return self._known(name)
        if wrong_text(name, NAME_BYTES) is not None or not name.strip() or "#" in name:
            raise UnknownTaskType(shown(name), [])
        return self._registry.find(name)

    def _known(self, name: str) -> TaskType:
        """Return the type of this name; UnknownTaskType names only the allowed types."""
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
            # As a read of the row will return it: tuples become lists, and keys text.
            return self.plain(given)

    def _draft(
        self, name: str, task_type: TaskType | None, value: Any, options: ChosenOptions
    ) -> Draft:
        task_id = str(uuid7())
        with _as_invalid_input(name):
            payload = self._payloads.pack(value, f"{task_id}-input", f"the input of {name}")
        return Draft(
            id=task_id,
            tenant=self.tenant(options.tenant),
            type=name,
            name=options.name or name,
            status=TaskStatus.CREATED,
            queue=self._queue(task_type, options),
            priority=_priority(task_type, options),
            input=payload.value,
            input_text=payload.text,
            input_ref=payload.reference,
            attributes=options.attributes,
            tags=tuple(dict.fromkeys((*(task_type.tags if task_type else ()), *options.tags))),
            unique_key=options.unique_key or _key_of(task_type, value),
            mutex_key=options.mutex_key or _mutex_of(task_type, value),
            **{name: getattr(options, name) for name in FIELDS} | self._permission.origin,
            run_at=options.run_at,
            delay=_duration(options.delay),
            deadline_at=options.deadline,
            notify_id=options.notify_id,
            trace=carried(),
        )

    def _queue(self, task_type: TaskType | None, options: ChosenOptions) -> str:
        return options.queue or (task_type and task_type.queue) or self._settings.default_queue

    def tenant(self, given: str | None) -> str:
        """Return the tenant of a submit: the given, the scope's only one, or the default."""
        if given is not None:
            return given
        if self._scope.tenants is not None and len(self._scope.tenants) == 1:
            return self._scope.tenants[0]
        return self._settings.default_tenant

    def _faults(self, options: ChosenOptions) -> list[Fault]:
        faults = options.faults()
        tenant = self.tenant(options.tenant)
        if not self._scope.allows(tenant) and all(one.path != "tenant" for one in faults):
            faults.append(Fault("tenant", f"{tenant!r} is out of the scope of this client"))
        return faults


def submitting(type_name: Any) -> AbstractContextManager[Any]:
    """Open the span of a submit; drafts that are made inside carry it."""
    if not is_wanted():
        return nullcontext()
    name = str(type_name)[:TEXT_BYTES]
    made = {"messaging.system": "taskdb", "messaging.operation.name": "submit", "taskdb.type": name}
    return span(f"submit {name}", "PRODUCER", made)


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
    """Turn NotEncodable into InvalidInput: the caller's input is wrong."""
    try:
        yield
    except NotEncodable as error:
        raise InvalidInput(f"the input of {type_name}", [Fault("", str(error))]) from None


def _duration(value: timedelta | float | None) -> timedelta | None:
    if value is None or isinstance(value, timedelta):
        return value
    return timedelta(seconds=value)


def _priority(task_type: TaskType | None, options: ChosenOptions) -> int:
    declared = task_type.priority if task_type else None
    return next(one for one in (options.priority, declared, 5) if one is not None)

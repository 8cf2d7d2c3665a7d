"""The options of one submit, read from the keywords of the caller and checked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from datetime import datetime, timedelta
from typing import Any, get_args

from taskdb.errors import Fault, InvalidInput, NotEncodable, did_you_mean
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
from taskdb.model.json_text import encode, storable
from taskdb.model.key import OF_FIELDS
from taskdb.model.principal.origin import FIELDS, submitter_texts
from taskdb.store.contract import OnConflict

SUBJECT = "the submit request"
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
"""The text options, and the most bytes of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChosenOptions:
    """The options of `submit_task`, each with its default; see `SubmitOptions`."""

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

    def faults(self) -> list[Fault]:
        """Return the faults of the options alone; the scope of the client is not checked."""
        wrong_texts = [
            Fault(name, reason)
            for name, limit in _TEXTS.items()
            if (text := getattr(self, name)) is not None
            and (reason := wrong_text(text, limit)) is not None
        ]
        return [*wrong_texts, *_wrong_choices(self), *_wrong_times(self), *_wrong_labels(self)]


def chosen_options(options: Mapping[str, Any]) -> ChosenOptions:
    """Return the options of a submit; None means the default. InvalidInput for unknown ones.

    Options about the submitter that are left out come from the surrounding block.
    """
    known = {field.name for field in fields(ChosenOptions)}
    faults = [
        Fault(name, f"no such option{did_you_mean(name, known)}")
        for name in options
        if name not in known
    ]
    if faults:
        raise InvalidInput(SUBJECT, faults)
    given = {name: value for name, value in options.items() if value is not None}
    for name in ("run_at", "deadline"):
        if isinstance(given.get(name), datetime):
            given[name] = _in_utc(given[name], name)
    if isinstance(given.get("tags"), Iterable) and not isinstance(given["tags"], str):
        # It may be a generator, and every draft reads the tags.
        given["tags"] = tuple(given["tags"])
    if isinstance(given.get("attributes"), Mapping):
        given["attributes"] = dict(given["attributes"])
    return ChosenOptions(**_submitter(given), **given)


def _submitter(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the submitter options that are left out; clipped, so a long header cannot fail."""
    texts = submitter_texts(name for name in FIELDS if name not in given)
    return {name: clipped(storable(text)) for name, text in texts.items()}


def _in_utc(moment: datetime, name: str) -> datetime:
    try:
        return require_aware(moment, name)
    except (ValueError, OverflowError) as error:
        raise InvalidInput(SUBJECT, [Fault(name, str(error))]) from None


def _wrong_choices(options: ChosenOptions) -> list[Fault]:
    faults = []
    if options.on_conflict not in get_args(OnConflict):
        known = get_args(OnConflict)
        hint = did_you_mean(shown(options.on_conflict), known)
        faults.append(Fault("on_conflict", f"one of {', '.join(known)}{hint}"))
    priority: Any = options.priority
    is_whole = isinstance(priority, int) and not isinstance(priority, bool)
    if priority is not None and not (is_whole and priority in range(10)):
        faults.append(Fault("priority", f"{shown(priority)} is not a number from 0 to 9"))
    if options.unique_key == "":
        faults.append(Fault("unique_key", "is empty: leave it out, or give what is unique"))
    if options.mutex_key == "":
        faults.append(Fault("mutex_key", "is empty: leave it out"))
    elif isinstance(options.mutex_key, str) and options.mutex_key.startswith(OF_FIELDS):
        faults.append(Fault("mutex_key", f"{OF_FIELDS!r} begins keys of fields: choose another"))
    return faults


def _wrong_times(options: ChosenOptions) -> list[Fault]:
    faults = [
        Fault(name, f"{shown(getattr(options, name))} is not a datetime")
        for name in ("run_at", "deadline")
        if not isinstance(getattr(options, name), datetime | None)
    ]
    if options.run_at is not None and options.delay is not None:
        faults.append(Fault("delay", "give either run_at or delay"))
    if options.delay is not None:
        try:
            as_duration(options.delay, "delay")
        except (TypeError, ValueError):
            advice = f"{shown(options.delay)} is not a duration from zero to {LONGEST.days:,} days"
            faults.append(Fault("delay", advice))
    return faults


def _wrong_labels(options: ChosenOptions) -> list[Fault]:
    faults = []
    tags: Any = options.tags
    if not isinstance(tags, tuple):
        faults.append(Fault("tags", f"{shown(tags)} is not a list of texts"))
    else:
        wrong = (wrong_text(tag) for tag in tags)
        faults += [
            Fault(f"tags.{position}", reason)
            for position, reason in enumerate(wrong)
            if reason is not None
        ]
    attributes: Any = options.attributes
    if not isinstance(attributes, Mapping):
        return [*faults, Fault("attributes", f"{shown(attributes)} is not a mapping")]
    try:
        encode(attributes, "attributes")
    except NotEncodable as error:
        faults.append(Fault("attributes", str(error)))
    return faults

"""Promise 7: every public call of a scoped client, with all that is another tenant's.

A call is refused, or answers as if there were nothing; it names nothing of others and changes none
of their rows. Methods and parameters are found by introspection: one without a recipe here fails.
"""

import asyncio
import inspect
import re
from collections.abc import Collection, Iterator, Mapping
from contextlib import closing, suppress
from dataclasses import fields, is_dataclass, replace
from enum import Enum
from operator import attrgetter
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, NullPool, create_engine
from tests.integration.client.public_calls import CALLS, OPTIONS, PLACED, methods, parts_of
from tests.integration.client.tenant_world import FOREIGN, OWN, TEXTS, TOKEN, World, world

from taskdb import InvalidInput, TaskDB, TaskDBError, TaskEntity, TaskNotFound
from taskdb.celery.application import RowResult
from taskdb.client.step_cache import MemoryStepCache
from taskdb.model.reference import parse_reference

UNKNOWN = "01890a5d-ac96-774b-bcce-b302099a8057"
MORE: Mapping[str, Mapping[str, Any]] = {
    # Calls that only this walk makes: they are refused, or name nothing that is a tenant's.
    "types.around": {"make": lambda _context: None},
    "schedules.fire": {"limit": 1},
    "trees.split": {
        "task_id": UNKNOWN,
        "token": "t",
        "owner": None,
        "tenant": FOREIGN,
        "part_type": "echo",
        "items": [1],
        "options": None,
    },
    "limits.release": {"wait_queues": ["running:type:limited"]},
}
OPERATORS = {
    "schedules.check_declared", "alarms.declare", "limits.declare", "trees.split", "schedules.fire",
    "limits.release", "schedules.sync", "alarms.test_channel", "workers.list",
}  # fmt: skip
"""Calls for the whole platform: refused for a scoped client, whatever they are given."""
CHANGES = {
    "alarms.acknowledge", "alarms.resolve", "alarms.snooze", "cancel_task", "retry_task",
    "schedules.pause", "schedules.remove", "schedules.resume", "schedules.run_now",
    "subscriptions.pause", "subscriptions.remove", "subscriptions.replay", "subscriptions.resume",
    "subscriptions.rotate_secret", "subscriptions.test",
}  # fmt: skip
"""Calls that are not made with references of the client's own, which the other tests need."""
PLAIN = {
    # Parameters that name nothing that a tenant could have.
    "after", "at", "cache", "chunk_size", "count", "created_before", "created_from", "cron",
    "deadline", "delay", "ends_at", "error", "every", "force", "input", "inputs", "is_enabled",
    "items", "jitter", "join", "kind", "limit", "make", "max_concurrency", "max_running",
    "max_starts", "misfire", "misfire_bound", "misfire_grace", "note", "on_conflict", "on_join",
    "options", "order", "origin", "output", "overlap", "owner", "part_type", "payload", "per",
    "priorities", "priority", "reason", "replace", "role", "run_at", "schedule", "secret",
    "sequence", "session", "severity", "side", "source", "starts_at", "state", "status", "target",
    "timeout", "timezone", "tolerate", "transport", "types", "undelivered", "unrouted", "until",
    "with_sub_tasks", "adopted", "deadline_at",
}  # fmt: skip


@pytest.fixture(scope="module")
def made(module_store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(module_store_url, tmp_path_factory.mktemp("tenants")) as found:
        yield found


def recipe(name: str) -> dict[str, Any]:
    """What a call is given where nothing of the other tenant stands; fails for one without."""
    base = name.removesuffix("_async")
    takes = set(inspect.signature(methods()[name]).parameters) - {"self"}
    given = CALLS.get(base, MORE.get(base))
    assert given is not None or not takes, f"{name} has no recipe: add one, here or in public_calls"
    own = {"tenant": OWN, "tenants": OWN}
    return {
        parameter: own.get(parameter, value) if value is not None else None
        for parameter, value in (given or {}).items()
    }


def parameters(name: str) -> list[str]:
    """Every parameter, those of the options of a call too."""
    base = name.removesuffix("_async")
    signature = inspect.signature(methods()[name])
    options = OPTIONS.get(base)
    plain = [
        one.name
        for one in signature.parameters.values()
        if one.name != "self" and one.kind is not inspect.Parameter.VAR_KEYWORD
    ]
    return list(dict.fromkeys([*plain, *(options.__annotations__ if options else ())]))


def foreign_values(made: World) -> Mapping[str, list[tuple[Any, Any]]]:
    """For each parameter what is the other tenant's, and the same of nobody."""
    references = [(one, _nobody(one)) for one in made.foreign]
    return {
        "reference": references,
        "task_id": references,
        "parent_id": references,
        "token": [(TOKEN, "no-token"), ("t1", "no-token")],
        "alarm_ids": [([made.alarm], [UNKNOWN])],
        "route_id": [(made.route, UNKNOWN)],
        "tenant": [(FOREIGN, "nobody")],
        "tenants": [(FOREIGN, "nobody")],
        "cursor": [(made.cursor, made.cursor)],
        "start": [(made.place, made.place)],
        "wait_queues": [(["mutex:zenith/k", "running:tenant:zenith"], ["mutex:nobody/k"])],
        "to": [("opsecret-ops", "no-channel")],
        "channel": [("opsecret-ops", "no-channel")],
        "queue": [("stopped", "nowhere")],
        "queues": [(["stopped"], ["nowhere"])],
        "type": [("echo", "echo")],
        "tag": [("quartz-tag", "no-tag")],
        "tags": [(["quartz-tag"], ["no-tag"])],
        "search": [("quartz", "nothing"), (FOREIGN, "nothing")],
        "attributes": [({"quartz": "quartz-attribute"}, {"no": "attribute"})],
        "by": [("opsecret-by", "nobody")],
        "mutex_key": [("quartz-mutex", "no-mutex")],
        **{name: [(value, f"no-{name}")] for name, value in TEXTS.items()},
    }


def _nobody(reference: str) -> str:
    """A reference of the same form that nothing has."""
    if reference.count("-") == 4 and len(reference) == 36:
        return UNKNOWN
    if len(reference) == 26:
        return "01H45NVB4PEX5VSKNK0A09K01Q"
    return f"no-{reference}"


@pytest.mark.parametrize("name", methods())
def test_a_call_with_what_is_another_tenants_reads_and_moves_nothing(
    made: World, name: str
) -> None:
    faults = []
    known = foreign_values(made)
    base = recipe(name)
    for parameter in parameters(name):
        assert parameter in known or parameter in PLAIN, f"{parameter} of {name} is not known"
    for parameter in parameters(name) or [""]:
        for value, nobody in known.get(parameter, [] if parameter else [(None, None)]):
            given = {**base, **({parameter: value} if parameter else {})}
            outcome = act(made.acme, name, given)
            faults += leaks(made, f"{name}({parameter}={value!r})", given, outcome)
            if name.removesuffix("_async") in OPERATORS and not isinstance(outcome, InvalidInput):
                faults.append(f"{name} is not refused: {outcome!r}")
            if parameter in _LIKE_NOBODY and value != nobody:
                other = act(made.acme, name, {**base, parameter: nobody})
                if alike(outcome, value) != alike(other, nobody):
                    faults.append(f"{name}({parameter}={value!r}) differs: {outcome!r}, {other!r}")
    if "reference" in base and name.removesuffix("_async") not in CHANGES:
        for own in made.own:
            given = {**base, "reference": own}
            faults += leaks(made, f"{name}({own})", given, act(made.acme, name, given))
    faults += made.changed()
    assert not faults, "\n".join(faults)


_LIKE_NOBODY = {"reference", "parent_id", "token", "alarm_ids", "route_id", "task_id", "channel"}


def act(client: TaskDB, name: str, given: Mapping[str, Any]) -> Any:
    """The answer of a call, or its error; an error that is not ours is one of the test."""
    values = dict(given)
    if "at" in values or "every" in values:
        values.pop("cron", None)
    if name in PLACED:
        named = [one for one in ("queue", "type", "tenant") if one in values]
        for one in named[:-1]:
            del values[one]
    positional = [values.pop("tenants")] if name == "for_tenant" else []
    try:
        answer = attrgetter(name)(client)(*positional, **values)
        if inspect.iscoroutine(answer):
            answer = asyncio.run(answer)
    except TaskDBError as error:
        return error
    return answer


def leaks(made: World, call: str, given: Mapping[str, Any], outcome: Any) -> list[str]:
    """Marks of others in an outcome, but for what the caller has said itself."""
    place = parse_reference(str(given.get("reference", "")))
    # A code spells an id: whoever gives one knows the other.
    said, told = f"{given} {place}", shown(outcome)
    return [
        f"{call} tells of {mark}: {told[:300]}"
        for mark in made.marks()
        if mark in told and mark not in said
    ]


def shown(value: Any) -> str:  # noqa: PLR0911 - a line for each kind of value
    """All that can be read in an answer."""
    if isinstance(value, BaseException):
        return f"{type(value).__name__}: {value} {vars(value)}"
    if isinstance(value, TaskDB):
        return repr(value.scope)
    if isinstance(value, TaskEntity):
        told = {name: getattr(value, name) for name in (*_FIELDS, *_properties(TaskEntity))}
        return repr({name: shown(one) for name, one in told.items()})
    if is_dataclass(value) and not isinstance(value, type):
        return repr({one.name: shown(getattr(value, one.name)) for one in fields(value)})
    if isinstance(value, Mapping):
        return repr({shown(key): shown(one) for key, one in value.items()})
    if isinstance(value, Collection) and not isinstance(value, str | bytes | Enum):
        return repr([shown(one) for one in value])
    return str(value)


def _properties(kind: type) -> list[str]:
    found = inspect.getmembers(kind, lambda one: isinstance(one, property))
    return [name for name, _ in found if not name.startswith("_")]


_FIELDS = [one.name for one in fields(TaskEntity) if one.name != "reader"]


def alike(outcome: Any, given: Any) -> str:
    """An outcome without what was given, to compare it with another."""
    told = f"{type(outcome).__name__}: {outcome}"
    for one in given if isinstance(given, list) else [given]:
        # A store knows a task by its id, whatever the spelling that it was asked for by.
        told = told.replace(str(one), "…")
    return _ID.sub("…", told)


_ID = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}(#\d+)?|no-…")


def test_an_attribute_of_a_client_is_reviewed_before_it_is_public(made: World) -> None:
    """These are the application's: `settings` has secrets, `store` every tenant."""
    public = {name for name in vars(made.acme) if not name.startswith("_")}
    assert public - set(parts_of(made.acme)) == {"settings"}
    properties = ["celery_app", "permission", "publisher", "reader", "scope", "store"]
    assert _properties(TaskDB) == properties
    for name, part in parts_of(made.acme).items():
        assert [one for one in vars(part) if not one.startswith("_")] == _REVIEWED.get(name, [])
        assert _properties(type(part)) == (["surroundings"] if name == "types" else [])


_REVIEWED = {"types": ["registry"]}


@pytest.mark.parametrize("name", [
    *(one for one in dir(TaskEntity) if not one.startswith("_") and one != "reader"),
])  # fmt: skip
def test_an_entity_that_a_caller_has_changed_reads_nothing_of_others(
    made: World, name: str
) -> None:
    """The id and the references of the other tenant, in an entity of one's own."""
    faults = []
    for own in own_tasks(made):
        for task_id in made.foreign[:3]:
            [input_ref], [result_ref] = _references(made, "input"), _references(made, "result")
            forged = replace(
                own, id=task_id, inline_input=None, input_ref=input_ref, result_ref=result_ref
            )
            try:
                found = getattr(forged, name)
                told = found(0) if name == "wait" else found() if callable(found) else found
            except TaskDBError as error:
                told = error
            said = {"given": [task_id, forged.code, input_ref, result_ref]}
            faults += leaks(made, name, said, told)
    faults += made.changed()
    assert not faults, "\n".join(faults)


def own_tasks(made: World) -> Iterator[TaskEntity]:
    for reference in made.own:
        with suppress(TaskNotFound):
            yield made.acme.get_task(reference)


def _references(made: World, side: str) -> list[str]:
    return [one for one in made.foreign if one.endswith(".json") and side in one]


@pytest.mark.parametrize("name", [
    name for name in dir(RowResult)
    if not name.startswith("_") and name not in {"backend", "app", "TimeoutError"}
])  # fmt: skip
def test_a_result_of_celery_reads_and_moves_nothing_of_others(made: World, name: str) -> None:
    app = made.acme.celery_app
    faults = []
    for task_id in made.foreign[:12]:
        result = app.AsyncResult(task_id)
        try:
            found = getattr(result, name)
            told = _called(found) if callable(found) else found
        except Exception as error:  # noqa: BLE001 - Celery has errors of its own
            told = error
        if name in {"id", "task_id", "as_tuple", "as_list"}:
            continue
        faults += leaks(made, name, {"id": task_id}, told)
    assert app.GroupResult.restore(made.foreign[7]) is None
    with pytest.raises(InvalidInput, match="remote control"):
        app.control.revoke(made.foreign[0], terminate=True)
    with pytest.raises(InvalidInput, match="remote control"):
        app.control.purge()
    faults += made.changed()
    assert not faults, "\n".join(faults)


def _called(found: Any) -> Any:
    """What a method of a result answers, where it can be called without anything."""
    takes = inspect.signature(found).parameters.values()
    given = {"timeout": 0.01} if any(one.name == "timeout" for one in takes) else {}
    answer = found(**given)
    return list(answer) if inspect.isgenerator(answer) else answer


def test_a_cache_of_step_results_is_asked_for_the_clients_own_only(made: World) -> None:
    cache = MemoryStepCache()
    for task_id in made.foreign:
        cache.set(task_id, 1, '{"attempt": 1, "reference": null, "result": "quartz-kept"}')
        with pytest.raises(TaskDBError) as refused:
            made.acme.trees.step_results(task_id, cache=cache)
        assert "quartz-kept" not in str(refused.value)


def engine_of(made: World) -> Engine:
    """An application's own engine, which keeps no connection."""
    return create_engine(made.acme.settings.store_url, poolclass=NullPool)


@pytest.mark.parametrize("submit", [
    lambda client, **given: client.submit_task("echo", **given),
    lambda client, **given: client.submit_many("echo", [1], **given),
    lambda client, **given: client.submit_fan_out("echo", [1], **given),
    lambda client, **given: client.submit_sequence("steps", **given),
], ids=range(4))  # fmt: skip
def test_a_submit_in_a_transaction_keeps_to_the_scope(made: World, submit: Any) -> None:
    with closing(engine_of(made).connect()) as connection, connection.begin():
        with pytest.raises(InvalidInput, match="out of the scope"):
            submit(made.acme, session=connection, tenant=FOREIGN)
        mine = submit(made.acme, session=connection, unique_key=TEXTS["unique_key"])
        for one in mine if isinstance(mine, list) else [mine]:
            assert one.tenant == OWN
    assert made.changed() == []


def test_a_large_input_is_read_before_the_commit_of_its_transaction(made: World) -> None:
    large = "own" * 1_000
    with closing(engine_of(made).connect()) as connection, connection.begin():
        task = made.acme.submit_task("echo", large, session=connection)
        assert task.input == large
        with pytest.raises(TaskNotFound):
            made.acme.payloads.read(task.id)
    assert made.acme.payloads.read(task.id) == large


def test_a_payload_is_read_by_task_and_side(made: World) -> None:
    large = made.operator.get_task(made.foreign[1])
    for client in (made.operator, made.operator.for_tenant(FOREIGN)):
        assert client.payloads.read(large.code, "input") == large.input
        assert client.payloads.read(large.id, "result") == large.result
    assert made.acme.payloads.read(made.own[0], "input") == "own"
    with pytest.raises(InvalidInput, match="side"):
        made.acme.payloads.read(made.own[0], "error")  # type: ignore[arg-type]
    for reference in (large.input_ref, large.result_ref):
        with pytest.raises(TaskNotFound):
            made.operator.payloads.read(str(reference))


def test_a_tenant_is_told_how_many_others_it_waits_for_and_not_who(
    store_url: str, tmp_path: Path
) -> None:
    with world(store_url, tmp_path) as made:
        told = {one.id: made.acme.explain_task(one.id) for one in own_tasks(made)}
        known = {one.id: made.operator.explain_task(one.id) for one in own_tasks(made)}
        assert [one.cause for one in told.values()] == [one.cause for one in known.values()]
        by_cause = {one.cause: one for one in told.values()}
        limited, paused = by_cause["held_by_running_limit"], by_cause["paused"]
        assert limited.sentence.endswith("which 1 task of other tenants has")
        assert (limited.facts["holders"], limited.facts["other_holders"]) == ([], 1)
        assert re.fullmatch(r"its queue 'stopped' was paused \d+ m?s ago", paused.sentence)
        assert (paused.facts["reason"], paused.facts["set_by"], paused.advice) == (None, None, "")
        assert by_cause["queued"].facts["consumers"] == 1
        # The operator reads all of it.
        named = {one.cause: one for one in known.values()}
        assert named["held_by_running_limit"].facts["holders"]
        assert named["paused"].facts["reason"] == "opsecret-reason"
        assert named["queued"].facts["consumers"] == ["opsecret-worker@host"]
        assert leaks(made, "explain_task", {}, list(told.values())) == []

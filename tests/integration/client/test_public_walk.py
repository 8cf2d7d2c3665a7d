"""Every public call with hostile texts, moments and durations: it works, or says what is wrong."""

import inspect
import math
import random
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text
from tests.integration.client.public_calls import CALLS, call, methods, parameters
from tests.integration.submit_site import settings

import taskdb as public
from taskdb import InvalidInput, Registry, Sequence, Settings, TaskDB, TaskDBError, TaskError, task
from taskdb.store.contract import EVERYONE
from taskdb.store.task.filter import Filter

_CHANCE = random.Random(7)


def _odd(length: int) -> str:
    """Characters of three bytes that no index can press together."""
    return "".join(chr(_CHANCE.randrange(0x4E00, 0x9FFF)) for _ in range(length))


TEXTS: Mapping[str, Any] = {
    "nul": "a\x00b",
    "half": "a\ud800b",
    "wide": _odd(1_000),
    "long": _odd(30_000),
    "empty": "",
    "number": 5,
}
_FAR = timezone(timedelta(hours=14)), timezone(-timedelta(hours=14))
MOMENTS: Mapping[str, Any] = {
    "max": datetime.max.replace(tzinfo=UTC),
    "min": datetime.min.replace(tzinfo=UTC),
    "max in the west": datetime.max.replace(tzinfo=_FAR[1]),
    "min in the east": datetime.min.replace(tzinfo=_FAR[0]),
    "naive": datetime(2026, 1, 1),  # noqa: DTZ001 - that is what is refused
    "last": datetime(2999, 12, 31, tzinfo=UTC),
    "first": datetime(1900, 1, 2, tzinfo=UTC),
}
DURATIONS: Mapping[str, Any] = {
    "max": timedelta.max,
    "min": timedelta.min,
    "many days": timedelta(days=999_999),
    "century": timedelta(days=36_500),
    "inf": math.inf,
    "nan": math.nan,
    "1e300": 1e300,
    "minus": -1,
    "huge": 10**400,
    "unprintable": 10**5_000,
}
HOSTILE: Mapping[str, Any] = {
    f"{kind} {name}": value
    for kind, values in (("text", TEXTS), ("moment", MOMENTS), ("duration", DURATIONS))
    for name, value in values.items()
}

NOWHERE = "redis://127.0.0.1:1/0"
ELSEWHERE = {
    "types.around": "takes a function",
    "schedules.fire": "takes a number, from a beat",
    "trees.split": "is given what a body says, by the worker",
    "limits.release": "is given what a claim says, by the worker",
}


@pytest.fixture
def client(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    with _client(store_url, tmp_path) as opened:
        yield opened


@pytest.fixture(scope="module")
def shared(module_store_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TaskDB]:
    """For tests that need no database of their own: what one writes is read by all after it."""
    with _client(module_store_url, tmp_path_factory.mktemp("walk")) as opened:
        yield opened


@contextmanager
def _client(store_url: str, tmp_path: Path) -> Iterator[TaskDB]:
    registry = Registry()
    task("echo", registry=registry)(lambda input: input)
    Sequence("steps", ["echo"], on_error="echo", registry=registry)
    given: Settings = settings(
        store_url, tmp_path, alarm_channels='{"log": "log"}', redis_channel_url=NOWHERE
    )
    with TaskDB(given, registry=registry) as opened:
        opened.schedules.create("s", "echo", 1, cron="0 0 * * *")
        opened.subscriptions.create("n", "redis")
        opened.subscriptions.create("hook", "webhook", "https://example.org/")
        yield opened


def test_every_public_call_is_walked() -> None:
    named = {
        name
        for name, member in methods().items()
        if not name.endswith("_async") and _takes_something(member)
    }
    assert named - set(ELSEWHERE) == set(CALLS)
    functions = {
        name
        for name in public.__all__
        if inspect.isfunction(member := getattr(public, name))
        and not name.endswith("_async")
        and inspect.signature(member).parameters
    }
    own = {"around", "default_taskdb", "on_task", "provide_submitter", "set_default"}
    own |= {"submitting_as", "task", "verify_webhook"}
    assert functions - own <= set(CALLS)


def _takes_something(method: Callable[..., Any]) -> bool:
    return len(inspect.signature(method).parameters) > 1


@pytest.mark.parametrize("name", CALLS)
def test_a_hostile_value_works_or_is_refused_in_words(shared: TaskDB, name: str) -> None:
    faults = []
    for parameter in parameters(name):
        for what, value in HOSTILE.items():
            try:
                call(shared, name, {**CALLS[name], parameter: value})
            except TaskDBError:
                pass
            except Exception as error:  # noqa: BLE001 - all of them are told at once
                faults.append(f"{parameter}, {what}: {type(error).__name__}: {error}"[:200])
    assert not faults, "\n".join(faults)
    all_can_be_read(shared)


def all_can_be_read(client: TaskDB) -> None:
    """What was taken keeps no list and no loop from what else is there."""
    lease = timedelta(seconds=1)
    client.list_tasks(limit=1_000, with_sub_tasks=True)
    client.limits.list()
    client.schedules.list()
    client.subscriptions.list()
    client.alarms.list()
    client.alarms.routes()
    client.schedules.fire()
    client.store.admission.release(1_000, lease)
    client.store.publications.lease_due(1_000, lease)


@pytest.mark.parametrize("name", [one for one in CALLS if one.startswith("submit_")])
def test_a_refused_submit_leaves_the_transaction_of_its_caller_as_it_was(
    client: TaskDB, name: str
) -> None:
    engine = create_engine(client.settings.store_url)
    refused = 0
    try:
        with engine.connect() as connection, connection.begin():
            connection.execute(text("CREATE TABLE own (n INTEGER)"))
            for parameter in parameters(name):
                for value in HOSTILE.values():
                    given = {**CALLS[name], parameter: value, "session": connection}
                    try:
                        getattr(client, name)(**given)
                    except TaskDBError:
                        refused += 1
                        connection.execute(text("INSERT INTO own VALUES (1)"))
            found = connection.execute(text("SELECT count(*) FROM own")).scalar_one()
    finally:
        engine.dispose()
    assert found == refused > len(HOSTILE)


def test_a_task_of_the_longest_texts_is_held_and_released(client: TaskDB) -> None:
    tenants = ["%" * 500, "/" * 500, _odd(166), "x" * 500]
    keys = [_odd(333), "k" * 1_000]
    made = [
        client.submit_task("echo", 1, tenant=tenant, mutex_key=key, unique_key=key, queue="q" * 255)
        for tenant in tenants
        for key in keys
    ]
    made += [client.submit_task("echo", 1, tenant=tenants[0], mutex_key=keys[0])]
    for tenant in tenants:
        client.limits.set(tenant=tenant, max_running=100, max_starts=100, per=60)
        client.submit_task("echo", 1, tenant=tenant)
    client.submit_task("echo", 1)
    released = client.store.admission.release(1_000, timedelta(seconds=30))
    assert len(released.publications) == len(made) - 1 + len(tenants)
    held = client.get_task(made[-1].id)
    assert held.held_by is not None and held.held_by.startswith("mutex:%25")
    assert (
        len(client.store.tasks.page(Filter(), EVERYONE, limit=1_000))
        == len(made) + len(tenants) + 1
    )


@pytest.mark.parametrize("submit", [
    lambda client, value: client.submit_task("echo", value),
    lambda client, value: client.submit_many("echo", [1, value]),
    lambda client, value: client.submit_task("echo", 1, attributes={"a": value}),
    lambda client, value: client.submit_fan_out("echo", [value]),
    lambda client, value: client.submit_sequence("steps", value),
    lambda client, value: client.schedules.create("deep", "echo", value, cron="* * * * *"),
    lambda client, value: client.list_tasks(attributes={"a": value}),
], ids=range(7))  # fmt: skip
@pytest.mark.parametrize("depth", [65, 980, 5_000])
def test_what_is_nested_too_deeply_is_refused_at_every_door(
    shared: TaskDB, submit: Callable[[TaskDB, Any], Any], depth: int
) -> None:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    with pytest.raises(InvalidInput, match="nested too deeply"):
        submit(shared, value)
    all_can_be_read(shared)


def test_a_payload_of_the_greatest_depth_reaches_the_handler_that_is_told_of_it(
    client: TaskDB,
) -> None:
    payload: Any = 1
    for _ in range(64):
        payload = [payload]
    parent = client.submit_sequence("steps", payload)
    [step] = client.trees.sub_tasks(parent.id)
    store = client.store
    assert store.runs.claim(step.id, token="t", worker="w", max_attempts=1).granted
    store.outcomes.fail(step.id, "t", TaskError("ValueError", "oops"))
    store.joins.join(parent.id)
    _, told = client.trees.sub_tasks(parent.id)
    assert told.input["payload"] == payload
    assert store.runs.claim(told.id, token="t", worker="w", max_attempts=1).input == told.input


NUMBERS: list[Any] = [
    *(1e16, -1e16, 1.5e17, 1e22, 1e308, -1e308, 5e-324, 1e-7, -0.0, 0.0, 0.1, 1.0),
    *(2**53 + 1, 2**63, 10**400, -(10**40), 0, True),
]


def test_a_number_comes_back_as_it_was_given_from_every_column(client: TaskDB) -> None:
    given = {"numbers": NUMBERS, "nested": [{"one": one} for one in NUMBERS]}
    made = client.submit_task("echo", given, attributes=given)
    found = client.get_task(made.id)
    assert repr(_sorted(found.input)) == repr(_sorted(given))
    assert repr(_sorted(found.attributes)) == repr(_sorted(given))
    [listed] = client.list_tasks(attributes={"numbers": NUMBERS})
    assert listed.id == made.id
    schedule = client.schedules.create("numbers", "echo", given, cron="0 0 * * *")
    assert repr(_sorted(schedule.input)) == repr(_sorted(given))
    parent = client.submit_fan_out("echo", [given])
    [part] = client.trees.sub_tasks(parent.id)
    assert repr(_sorted(part.input)) == repr(_sorted(given))


def _sorted(value: Any) -> Any:
    """JSONB keeps no order of keys."""
    return dict(sorted(value.items()))


@pytest.mark.parametrize("value", [math.nan, math.inf, {"a": [-math.inf]}], ids=range(3))
def test_what_is_no_number_of_json_is_refused(shared: TaskDB, value: Any) -> None:
    for act in (
        lambda: shared.submit_task("echo", value),
        lambda: shared.submit_task("echo", 1, attributes={"a": value}),
        lambda: shared.schedules.create("nan", "echo", value, cron="0 0 * * *"),
        lambda: shared.list_tasks(attributes={"a": value}),
    ):
        with pytest.raises(InvalidInput):
            act()

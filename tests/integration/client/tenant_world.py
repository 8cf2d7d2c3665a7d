"""A database in which a tenant has one of everything, and another tenant shares its queues."""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import select
from tests.integration.submit_site import settings
from tests.store.alarms import fold
from tests.store.tasks import HOUR, LEASE, OOPS
from ulid import ULID

from taskdb import Registry, Sequence, TaskDB, TaskError, task
from taskdb.model.outcome import NO_REPORT
from taskdb.model.reference import adopted_id
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.tables import metadata
from taskdb.store.task.worker import WorkerRecord
from taskdb.store.tree.callback import digest_of

OWN, FOREIGN = "acme", "zenith"
TOKEN = "quartz-token"
TEXTS = {
    # What the other tenant has written; each text is found by its first word wherever it comes out.
    "name": "quartz-name",
    "unique_key": "quartz-key",
    "request_id": "quartz-request",
    "created_by": "quartz-creator",
    "created_ip": "quartz-ip",
    "notify_id": "quartz-notify",
}
OPERATOR = "opsecret"
"""Begins every text that is the operator's."""
LARGE = "quartz-input" * 200


@dataclass
class World:
    """The clients, the other tenant's references, and what must not come out."""

    operator: TaskDB
    acme: TaskDB
    foreign: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    alarm: str = ""
    route: str = ""
    cursor: str = ""
    place: str = ""
    kept: Counter[str] = field(default_factory=Counter)

    def marks(self) -> list[str]:
        """Texts that are the other tenant's or the operator's, and no caller of acme may read."""
        return [FOREIGN, "quartz", OPERATOR, *self.foreign]

    def rows(self) -> Counter[str]:
        """Every row, in words."""

        def read(connection: Any) -> Counter[str]:
            return Counter(
                f"{table.name} {tuple(map(str, row))}"
                for table in metadata.sorted_tables
                for row in connection.execute(select(table))
            )

        return self.operator.store.database.read(read)

    def others_rows(self) -> Counter[str]:
        """Every row that is not acme's."""
        own = {OWN, *self.own}
        return Counter({
            row: number
            for row, number in self.rows().items()
            if not any(one in row for one in own)
        })  # fmt: skip

    def changed(self) -> list[str]:
        """Rows of others that are no longer as they were, and new ones of the other tenant."""
        now = self.rows()
        gone = [row for row in self.kept if row not in now]
        return gone + [row for row in now if row not in self.kept and FOREIGN in row]


@contextmanager
def world(store_url: str, folder: Path) -> Iterator[World]:
    registry = Registry()
    task("echo", registry=registry)(lambda input: input)
    task("limited", registry=registry)(lambda input: input)
    Sequence("steps", ["echo"], on_error="echo", registry=registry)
    channels = '{"opsecret-ops": "log", "own-log": {"log": "log", "tenants": ["acme"]}}'
    given = settings(store_url, folder, alarm_channels=channels)
    with TaskDB(given, registry=registry) as operator, operator.resting():
        made = World(operator, operator.for_tenant(OWN))
        _rule(made)
        _submit(made)
        _plan(made)
        _alarm(made)
        _shared(made)
        made.kept = made.others_rows()
        yield made


def _rule(made: World) -> None:
    operator, by = made.operator, "opsecret-by"
    operator.limits.set(type="limited", max_running=1, by=by)
    operator.limits.pause(queue="stopped", reason="opsecret-reason", by=by)


def _submit(made: World) -> None:
    """Tasks of the other tenant in every status, large and in trees."""
    operator, store = made.operator, made.operator.store
    label = {"tags": ["quartz-tag"], "attributes": {"quartz": "quartz-attribute"}}
    first = operator.submit_task("echo", "quartz-input", tenant=FOREIGN, **TEXTS, **label)
    large = operator.submit_task("echo", LARGE, tenant=FOREIGN)
    later = operator.submit_task("echo", tenant=FOREIGN, delay=HOUR)
    ended = [operator.submit_task("echo", n, tenant=FOREIGN) for n in range(4)]
    for number, one in enumerate([large, *ended]):
        claim = store.runs.claim(
            one.id, token=f"t{number}", worker="opsecret-worker/1", max_attempts=3
        )
        assert claim.granted, claim
    result = operator.store.payloads.pack("quartz-result" * 200, f"{large.id}-result", "the result")
    store.outcomes.complete(large.id, "t0", result)
    store.outcomes.fail(ended[0].id, "t1", TaskError("ValueError", "quartz-error", ""))
    store.outcomes.halt(ended[1].id, "t2", OOPS)
    store.callbacks.expect(ended[2].id, "t3", digest_of(TOKEN), HOUR)
    store.callbacks.wait(ended[2].id, "t3", NO_REPORT, [])
    operator.limits.pause(tenant=FOREIGN, reason="opsecret-reason", by="opsecret-by")
    operator.for_tenant(FOREIGN).limits.set(tenant=FOREIGN, max_running=9, by="quartz-by")
    fan_out = operator.submit_fan_out("echo", [1, "quartz-item"], tenant=FOREIGN)
    sequence = operator.submit_sequence("steps", {"n": "quartz-payload"}, tenant=FOREIGN)
    adopted = operator.submit_task("echo", tenant=FOREIGN)
    _write(
        made,
        "UPDATE taskdb_task SET id = :new, is_adopted = true WHERE id = :id",
        id=adopted.id,
        new=adopted_id("quartz-celery"),
    )
    trees = [
        fan_out,
        *operator.trees.sub_tasks(fan_out.id),
        sequence,
        *operator.trees.sub_tasks(sequence.id),
    ]
    tasks = [first, large, later, *ended, *trees]
    codes = [one.code for one in tasks]
    large = operator.get_task(large.id)
    made.foreign += [one.id for one in tasks] + codes + [str(large.input_ref), first.key]
    made.foreign += [str(large.result_ref), f"{fan_out.id}#1", trees[1].key, "quartz-celery"]
    page = operator.list_tasks(limit=1, tenant=FOREIGN)
    made.cursor = str(page.next_cursor)


def _plan(made: World) -> None:
    """A schedule that has fired, and subscriptions."""
    operator = made.operator
    schedule = operator.schedules.create(
        "quartz-schedule", "echo", "quartz-input", cron="0 0 * * *", tenant=FOREIGN
    )
    fired = operator.schedules.run_now(schedule.id)
    hook = operator.subscriptions.create(
        "quartz-subscription", "webhook", "https://example.org/quartz", tenant=FOREIGN
    ).subscription
    everyone = operator.subscriptions.create("opsecret-everyone", "log").subscription
    made.place = hook.cursor
    made.foreign += [schedule.id, fired.id, schedule.name, hook.id, hook.name]
    made.foreign += [everyone.id, everyone.name]


def _alarm(made: World) -> None:
    """Alarms of both tenants and of all together, told to a channel of the operator's."""
    operator, store = made.operator, made.operator.store
    failed = made.acme.submit_task("echo", "own")
    assert store.runs.claim(failed.id, token="t", worker="own-worker/1", max_attempts=1).granted
    store.outcomes.fail(failed.id, "t", TaskError("ValueError", "own-error", ""))
    fold(store, group_by_tenant=True, channels=("opsecret-ops",))
    for alarm in operator.alarms.list(tenant=FOREIGN):
        made.alarm = alarm.id
        made.foreign += [alarm.id, alarm.fingerprint]
    assert made.alarm
    made.route = operator.alarms.add_route("opsecret-ops", tenant=FOREIGN, by="opsecret-by")
    made.foreign.append(made.route)
    made.own += [failed.id, *(one.id for one in made.acme.alarms.list())]


def _shared(made: World) -> None:
    """Tasks of acme that wait because of others, and a worker that runs one of them."""
    operator, store, acme = made.operator, made.operator.store, made.acme
    record = WorkerRecord(
        "opsecret-worker/1", "opsecret-worker@host", "opsecret-host", 1, ("taskdb",), ("echo",)
    )
    store.workers.announce(record)
    other = operator.submit_task("limited", tenant="other")
    store.admission.release(100, LEASE)
    waits = [acme.submit_task("limited"), acme.submit_task("echo", queue="stopped")]
    waits += [acme.submit_task("echo", mutex_key="k") for _ in range(2)]
    store.admission.release(100, LEASE)
    queued = acme.submit_task("echo")
    store.publications.mark_queued(store.publications.find([queued.id]))
    large = acme.submit_task("echo", "own" * 1_000)
    fan_out = acme.submit_fan_out("echo", [1, 2])
    schedule = acme.schedules.create("own", "echo", cron="0 0 * * *")
    hook = acme.subscriptions.create("own", "webhook", "https://example.org/own").subscription
    held = [str(store.tasks.get(one.id, EVERYONE).held_by) for one in waits[:2]]
    assert held == ["running:type:limited", "paused:queue:stopped"]
    made.foreign += [other.id, str(ULID.from_str(other.code))]
    made.own += [
        one.id for one in (*waits, queued, large, fan_out, *acme.trees.sub_tasks(fan_out.id))
    ]
    made.own += [schedule.id, hook.id]


def _write(made: World, sql: str, **bound: Any) -> None:
    made.operator.store.database.query(f"{sql} RETURNING 1", bound)

"""A Celery project from before, with one of everything; run as a program it is its own client.

    python -c "from tests.integration.adopted.adopted_app import main; main()"

The program calls what there is, and prints what came of each as one line of JSON. It never says
which of two runs it is, so that a run with `track` can be held against one without.
"""

import json
import os
import pickle
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from celery import Celery, Task, chain, chord, group, shared_task
from celery.backends.redis import RedisBackend
from celery.exceptions import Ignore, Reject
from celery.result import AsyncResult
from kombu.serialization import register
from redis import Redis

from taskdb_worker import track

NOTES = os.environ["ADOPTED_NOTES"]


class PrefixedBackend(RedisBackend):
    """A result backend of the project's own."""

    def encode_result(self, result: Any, state: str) -> Any:
        return {"boxed": result} if state == "SUCCESS" else super().encode_result(result, state)

    @staticmethod
    def exception_safe_to_serialize(_: Any) -> bool:
        return True


register(
    "upper",
    lambda value: json.dumps(value).swapcase(),
    lambda text: json.loads(text.swapcase()),
    content_type="application/x-upper",
    content_encoding="utf-8",
)

app = Celery("before", broker=os.environ["ADOPTED_BROKER"], backend=os.environ["ADOPTED_BACKEND"])
app.conf.update(
    accept_content=["json", "pickle", "upper"],
    result_accept_content=["json", "pickle", "upper"],
    broker_connection_retry_on_startup=True,
    broker_transport_options={"priority_steps": list(range(10))},
    task_routes={"adopted.routed": {"queue": "other"}},
    task_queue_max_priority=10,
    task_create_missing_queues=True,
    result_extended=True,
    worker_prefetch_multiplier=1,
    task_send_sent_event=True,
)
if os.environ.get("ADOPTED_TRACK"):
    track(app, exclude=["adopted.unwatched"])

notes = Redis.from_url(NOTES, decode_responses=True)


def note(key: str, value: Any) -> None:
    notes.rpush(key, json.dumps(value))


class Counting(Task):
    """A task class of the project's own, with every hook there is."""

    calls = 0

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        note("hooks", ["call", self.name])
        return super().__call__(*args, **kwargs)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note("hooks", ["before", args])

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note("hooks", ["success", retval])

    def on_failure(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("hooks", ["failure", repr(exc)])

    def on_retry(self, exc: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note("hooks", ["retry", repr(exc)])

    def after_return(self, status: str, retval: Any, *rest: Any) -> None:
        note("hooks", ["after", status])


@shared_task(name="adopted.shared")
def shared(x: int) -> int:
    return x + 1


@app.task(name="adopted.add")
def add(x: int, y: int) -> int:
    return x + y


@app.task(name="adopted.total")
def total(values: list[int]) -> int:
    return sum(values)


@app.task(name="adopted.fails")
def fails(message: str) -> None:
    raise ValueError(message)


@app.task(name="adopted.retries", bind=True, max_retries=3, default_retry_delay=0)
def retries(self: Any, until: int) -> list[Any]:
    if self.request.retries < until:
        raise self.retry(countdown=0.2, exc=KeyError(self.request.retries))
    return [self.request.retries, self.request.is_eager, self.request.called_directly]


@app.task(
    name="adopted.automatic",
    bind=True,
    autoretry_for=(ZeroDivisionError,),
    retry_kwargs={"max_retries": 1, "countdown": 0.1},
)
def automatic(self: Any, divisor: int) -> float:
    note("automatic", self.request.retries)
    return 1 / divisor


@app.task(name="adopted.counting", base=Counting, bind=True, max_retries=1)
def counting(self: Any, value: int) -> int:
    if value < 0:
        raise RuntimeError("below zero")
    if value == 0 and not self.request.retries:
        raise self.retry(countdown=0, exc=OSError("once"))
    return value * 2


@app.task(name="adopted.quiet", ignore_result=True)
def quiet(value: str) -> str:
    note("quiet", value)
    return value


@app.task(name="adopted.custom", backend=PrefixedBackend(app=app, url=os.environ["ADOPTED_NOTES"]))
def custom(value: int) -> int:
    return value


@app.task(name="adopted.late", acks_late=True, bind=True)
def late(self: Any, value: int) -> list[Any]:
    return [value, self.request.delivery_info["redelivered"]]


@app.task(name="adopted.routed", bind=True)
def routed(self: Any) -> Any:
    return self.request.delivery_info["routing_key"]


@app.task(name="adopted.ignores")
def ignores() -> None:
    raise Ignore("nothing to do")


@app.task(name="adopted.rejects", acks_late=True)
def rejects() -> None:
    raise Reject("not for me", requeue=False)


@app.task(name="adopted.replaced", bind=True)
def replaced(self: Any, x: int) -> Any:
    return self.replace(add.s(x, 100))


@app.task(name="adopted.limited", soft_time_limit=0.5, time_limit=30)
def limited() -> str:
    time.sleep(20)
    return "too late"


@app.task(name="adopted.exits")
def exits() -> None:
    # What its process saw before has been written by then: a test is not to depend on luck.
    time.sleep(1)
    os._exit(3)


@app.task(name="adopted.sleeps")
def sleeps(seconds: float) -> str:
    # As above, for a process that is going to be killed.
    time.sleep(1)
    note("sleeping", seconds)
    time.sleep(seconds)
    return "slept"


@app.task(name="adopted.waits")
def waits() -> str:
    ends = time.monotonic() + 60
    while not notes.exists("go") and time.monotonic() < ends:
        time.sleep(0.02)
    return "went"


@app.task(name="adopted.spawns", bind=True)
def spawns(self: Any, x: int) -> list[Any]:
    child = add.apply_async((x, x))
    with_children = self.AsyncResult(self.request.id)
    return [child.id is not None, self.request.root_id == self.request.id, len(with_children.id)]


@app.task(name="adopted.back")
def back(task_id: str) -> None:
    note("errbacks", len(task_id))


@app.task(name="adopted.bodies_back")
def bodies_back(task_id: str) -> None:
    note("errbacks of bodies", len(task_id))


@app.task(name="adopted.linked")
def linked(value: int) -> int:
    note("links", value)
    return value


@app.task(name="adopted.pickled")
def pickled(value: Any) -> str:
    return type(value).__name__


@app.task(name="adopted.sees", bind=True)
def sees(self: Any, secret: str, password: str = "") -> dict[str, Any]:
    """What a body sees of its request: nothing of who watches."""
    request = self.request
    return {
        "args": list(request.args),
        "kwargs": dict(request.kwargs),
        "headers": sorted(request.headers or {}),
        "names": sorted(name for name in vars(request) if "taskdb" in name),
        "priority": request.delivery_info.get("priority"),
        "secret": [secret, password],
    }


@app.task(name="adopted.unwatched")
def unwatched() -> str:
    return "seen by nobody"


# --- what is tried --------------------------------------------------------------------------------

Try = Callable[[], Any]


def outcome(result: Any, timeout: float = 15) -> Any:
    """State, value, and what else a result tells."""
    try:
        value = result.get(timeout=timeout)
    except Exception as error:  # noqa: BLE001 - that is the outcome
        value = f"{type(error).__name__}: {error}"
    found = [result.state, value]
    if isinstance(result, AsyncResult):
        found += [result.retries, result.name, bool(result.traceback)]
    return found


def noted(key: str, count: int) -> list[Any]:
    """So many notes of a key, once there are."""
    ends = time.monotonic() + 10
    while notes.llen(key) < count and time.monotonic() < ends:
        time.sleep(0.02)
    return [json.loads(one) for one in notes.lrange(key, 0, -1)]


def state_of(result: Any, *states: str) -> str:
    ends = time.monotonic() + 10
    while result.state not in states and time.monotonic() < ends:
        time.sleep(0.02)
    return str(result.state)


def tried_ignored() -> Any:
    result = ignores.delay()
    add.delay(1, 1).get(timeout=10)
    return state_of(result, "PENDING", "STARTED")


def tried_revoked() -> Any:
    result = add.apply_async((1, 2), countdown=1)
    app.control.revoke(result.id)
    return state_of(result, "REVOKED")


def tried_terminated() -> Any:
    result = sleeps.delay(30)
    noted("sleeping", 1)
    app.control.revoke(result.id, terminate=True)
    return state_of(result, "REVOKED")


def tried_eager() -> Any:
    app.conf.task_always_eager = True
    try:
        values = [outcome(add.delay(1, 2))[:2], outcome(retries.delay(2))[:2]]
        values.append(outcome(fails.delay("eager"))[:2])
        values.append(outcome(chain(add.s(1, 1), add.s(2)).delay())[:2])
        return values
    finally:
        app.conf.task_always_eager = False


def tried_link() -> Any:
    value = outcome(add.apply_async((2, 2), link=[linked.s(), linked.s()]))
    return [value, sorted(noted("links", 2))]


def tried_link_error() -> Any:
    value = outcome(fails.apply_async(("linked",), link_error=back.s()))
    return [value, noted("errbacks", 1)]


def tried_graph() -> Any:
    result = spawns.delay(3)
    value = outcome(result)
    return [value, len(result.children or []), [outcome(one)[:2] for one in result.children or []]]


def tried_own_id() -> Any:
    result = add.apply_async((4, 4), task_id="order/4711: as ever")
    return [result.id, outcome(result)]


def tried_meta() -> Any:
    result = add.delay(5, 6)
    result.get(timeout=10)
    meta = app.backend.get_task_meta(result.id)
    names = ("status", "result", "name", "args", "kwargs", "queue")
    return {name: meta.get(name) for name in names}


def tried_members() -> Any:
    done = group(add.s(i, i) for i in range(4)).delay()
    return [done.get(timeout=10), done.successful(), done.completed_count()]


def tried_bad_chain() -> Any:
    result = chain(add.s(1, 2), fails.si("link"), add.s(3)).delay()
    return [state_of(result, "FAILURE"), outcome(result)]


def tried_bad_chord() -> Any:
    header = [add.s(1, 1), fails.s("in a chord")]
    result = chord(header)(total.s().on_error(bodies_back.s()))
    return [state_of(result, "FAILURE"), outcome(result)[1], noted("errbacks of bodies", 1)]


TRIES: dict[str, Try] = {
    "add": lambda: outcome(add.delay(1, 2)),
    "shared": lambda: outcome(shared.delay(1)),
    "fails": lambda: outcome(fails.delay("bad")),
    "retries": lambda: outcome(retries.delay(2)),
    "retries exhausted": lambda: outcome(retries.delay(9)),
    "autoretry": lambda: [outcome(automatic.delay(0)), noted("automatic", 2)],
    "custom class": lambda: [
        outcome(counting.delay(2)),
        outcome(counting.delay(0)),
        outcome(counting.delay(-1)),
        sorted(noted("hooks", 15), key=str),
    ],
    "ignore_result": lambda: [
        quiet.delay("hush").state,
        noted("quiet", 1),
        quiet.apply_async(("loud",), ignore_result=False).get(timeout=10),
    ],
    "custom backend": lambda: outcome(custom.delay(7)),
    "acks_late": lambda: outcome(late.delay(8)),
    "route": lambda: outcome(routed.delay()),
    "queue by name": lambda: outcome(routed.apply_async(queue="third")),
    "countdown": lambda: outcome(add.apply_async((1, 1), countdown=1.2)),
    "eta": lambda: outcome(add.apply_async((1, 2), eta=datetime.now(UTC) + timedelta(seconds=1.2))),
    "priority": lambda: outcome(sees.apply_async(("s",), priority=7)),
    "request": lambda: outcome(sees.delay("s3cret", password="hunter2")),
    "send_task": lambda: outcome(app.send_task("adopted.add", (20, 22))),
    "signature": lambda: outcome(app.signature("adopted.add", args=(2, 3)).delay()),
    "unknown": lambda: state_of(app.send_task("adopted.nowhere"), "FAILURE"),
    "chain": lambda: outcome(chain(add.s(1, 2), add.s(3), shared.s()).delay()),
    "chain that fails": tried_bad_chain,
    "group": tried_members,
    "chord": lambda: outcome(chord([add.s(i, 1) for i in range(5)])(total.s())),
    "chord that fails": tried_bad_chord,
    "chunks": lambda: add.chunks([(i, i) for i in range(6)], 2).delay().get(timeout=10),
    "map": lambda: outcome(shared.map([1, 2, 3]).delay()),
    "replace": lambda: outcome(replaced.delay(1)),
    "link": tried_link,
    "link_error": tried_link_error,
    "children": tried_graph,
    "own id": tried_own_id,
    "meta": tried_meta,
    "pickle": lambda: outcome(pickled.apply_async((Decimal(1),), serializer="pickle")),
    "own serializer": lambda: outcome(add.apply_async((3, 3), serializer="upper")),
    "soft limit": lambda: outcome(limited.delay()),
    "dead child": lambda: outcome(exits.delay()),
    "Reject": lambda: state_of(rejects.delay(), "FAILURE"),
    "Ignore": tried_ignored,
    "revoke": tried_revoked,
    "terminate": tried_terminated,
    "expires": lambda: state_of(add.apply_async((1, 1), expires=-1), "REVOKED"),
    "eager": tried_eager,
    "called directly": lambda: [add(1, 2), shared(1)],
    "apply": lambda: outcome(add.apply((1, 2)))[:2],
    "pickled signature": lambda: outcome(pickle.loads(pickle.dumps(add.s(1, 9))).delay()),  # noqa: S301 - its own
    "unwatched": lambda: outcome(unwatched.delay()),
}


def main() -> None:
    chosen = sys.argv[1:]
    if not chosen:
        chosen = list(TRIES)
    elif chosen[0] == "--half":
        chosen = list(TRIES)[int(chosen[1]) :: 2]
    for name in chosen:
        print(json.dumps([name, TRIES[name]()]), flush=True)

"""Explains the state of a task: one cause, one sentence, and the next step.

Pure except for the broker, which it asks only where the cause depends on it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from taskdb.celery.broker_state import BrokerState
from taskdb.model.duration import rough_duration, utc_text
from taskdb.model.status import TaskStatus
from taskdb.store.doctor.situation import Refusal, TaskSituation


@dataclass(frozen=True, slots=True)
class Explanation:
    """The reason for the status of a task.

    `cause` is a stable word for programs, `sentence` is for people. `advice` is the next step, or
    empty. `facts` are plain values. `below` explains the first open sub-task that the task waits
    for.
    """

    task_id: str
    status: TaskStatus
    cause: str
    sentence: str
    advice: str = ""
    facts: dict[str, Any] = field(default_factory=dict)
    below: Explanation | None = None


AskBroker = Callable[[str], BrokerState]
"""Asks for the state of one queue, within a bounded time."""

_ENDED = {
    TaskStatus.COMPLETED: "completed",
    TaskStatus.FAILED: "failed",
    TaskStatus.CANCELED: "canceled",
}


def explain(situation: TaskSituation, ask: AskBroker, *, lease: timedelta) -> Explanation:
    """Return the cause of this situation; the caller adds those of sub-tasks."""
    task = situation.task
    if task.status.is_settled:
        return _over(situation)
    if task.is_adopted:
        return _adopted(situation, lease)
    return _owned(situation, ask, lease)


def _owned(situation: TaskSituation, ask: AskBroker, lease: timedelta) -> Explanation:
    task = situation.task
    if task.waits_for is not None:
        return _waits(situation)
    if task.status in {TaskStatus.STARTED, TaskStatus.PROCESSING}:
        return _runs(situation, lease)
    if task.held_by is not None:
        return _held(situation)
    if task.status is TaskStatus.QUEUED:
        return _queued(situation, ask(task.queue))
    return _unpublished(situation, ask)


def _over(situation: TaskSituation) -> Explanation:
    task = situation.task
    error = f": {_short(task.error.message)}" if task.error is not None else ""
    facts: dict[str, Any] = {"ended_at": task.ended_at, "attempts": task.attempt}
    if task.error is not None:
        facts["error"] = {"type": task.error.type, "message": task.error.message}
    if task.status is TaskStatus.HALTED:
        return _said(
            situation,
            "halted",
            f"it waits for a person{error}",
            f"look at its error, then `taskdb retry {task.id}` or `taskdb cancel {task.id}`",
            **facts,
        )
    when = f" {_ago(situation, task.ended_at)}" if task.ended_at else ""
    by_hand = f"run it again: taskdb retry {task.id}"
    again = "call it again in its own Celery app" if task.is_adopted else by_hand
    advice = "" if task.status is TaskStatus.COMPLETED else again
    said = f"it ended{when}, after {_count(task.attempt, 'attempt')}{error}"
    return _said(situation, _ENDED[task.status], said, advice, **facts)


def _adopted(situation: TaskSituation, lease: timedelta) -> Explanation:
    """Explain a tracked task of another Celery app: its last seen state and the next step."""
    task = situation.task
    queue, at = task.queue, None if task.run_at is None else utc_text(task.run_at)
    facts: dict[str, Any] = {"queue": queue, "run_at": task.run_at, "attempt": task.attempt}
    if task.status is TaskStatus.STARTED:
        return _adopted_run(situation, lease)
    if task.status is TaskStatus.ERRORED:
        error = "" if task.error is None else f": {_short(task.error.message)}"
        when = "" if at is None else f", not before {at}"
        said = f"attempt {task.attempt} failed{error}; its Celery app runs it again{when}"
        return _said(situation, "adopted_retry", said, _ITS_WORKERS, **facts)
    if task.status is TaskStatus.SCHEDULED:
        said = f"its Celery app has published it, to run at {at}"
        return _said(situation, "adopted_scheduled", said, _ITS_WORKERS, **facts)
    when = _ago(situation, task.queued_at)
    said = f"its Celery app has published it to queue {queue!r} {when}, and no worker has begun it"
    return _said(situation, "adopted_queued", said, _ITS_WORKERS, **facts)


def _adopted_run(situation: TaskSituation, lease: timedelta) -> Explanation:
    task, worker = situation.task, situation.worker
    if task.worker is None:
        said = "its Celery app runs it in the process that called it, which nobody watches"
        return _said(situation, "running", said, "", started_at=task.started_at)
    if worker is not None and any(one.id == worker.id for one in situation.live):
        return _runs(situation, lease)
    name = task.worker.partition("/")[0]
    seen = None if worker is None else worker.seen_at
    last = "was never seen" if seen is None else f"was last seen {_ago(situation, seen)}"
    said = f"its worker {name} {last}; it is going to be marked as lost"
    advice = "see that a `taskdb beat`, or a tracked worker of its app, runs: it marks what is lost"
    return _said(situation, "worker_lost", said, advice, worker=name, seen_at=seen)


_ITS_WORKERS = (
    "it is only watched: see that workers of its own app run, with track, and look at their broker"
)


def _waits(situation: TaskSituation) -> Explanation:
    task = situation.task
    if task.waits_for == "callback":
        until = situation.callback_until
        limit = "for as long as it takes" if until is None else f"until {utc_text(until)}"
        return _said(
            situation,
            "callback",
            f"it waits for someone outside to call back, {limit}",
            "call resume_task with the token that its body gave away",
            until=until,
        )
    number = situation.open_sub_tasks
    facts = {"waits_for": task.waits_for, "open": number, "first_open": situation.first_open}
    if number == 0:
        return _said(
            situation,
            "join_missing",
            "none of its sub-tasks is open any more: its join is due",
            "the reconcile loop of a beat ends it; see that `taskdb beat` runs",
            **facts,
        )
    stopping = "stops, and " if task.cancel_requested_at is not None else ""
    said = f"it {stopping}waits for {_count(number, 'sub-task')} ({task.waits_for})"
    return _said(situation, "sub_tasks", said, "", **facts)


def _runs(situation: TaskSituation, lease: timedelta) -> Explanation:
    task, worker = situation.task, situation.worker
    name = task.worker if worker is None else worker.name
    seen = None if worker is None else worker.seen_at
    facts = {"worker": name, "seen_at": seen, "started_at": task.started_at}
    is_alive = worker is not None and any(one.id == worker.id for one in situation.live)
    if not is_alive:
        last = "was never seen" if seen is None else f"was last seen {_ago(situation, seen)}"
        due = None if seen is None else seen + lease
        taken = "at once" if due is None or due <= situation.now else f"at {utc_text(due)}"
        return _said(
            situation,
            "worker_lost",
            f"its worker {name} {last}; the rescue takes it back {taken}",
            "see that a `taskdb beat` runs: it does the rescue",
            rescue_at=due,
            **facts,
        )
    since = (
        ""
        if task.started_at is None
        else f" since {rough_duration(situation.now - task.started_at)}"
    )
    shown = f"it runs on {name}{since} (attempt {task.attempt}, the worker was seen"
    shown = f"{shown} {_ago(situation, seen)})"
    if task.cancel_requested_at is not None:
        asked = _ago(situation, task.cancel_requested_at)
        return _said(
            situation,
            "cancel_requested",
            f"a cancel was asked for {asked}; {shown}",
            "the body is ended after TASKDB_CANCEL_GRACE_SECONDS",
            cancel_requested_at=task.cancel_requested_at,
            **facts,
        )
    return _said(situation, "running", shown, "", **facts)


def _held(situation: TaskSituation) -> Explanation:
    rule = str(situation.task.held_by)
    kind, _, whose = rule.partition(":")
    target, _, name = whose.partition(":")
    place = f"tenant {name!r} (its own rule)" if target == "own" else f"{target} {name!r}"
    facts: dict[str, Any] = {
        "held_by": rule,
        "holders": [one.task_id for one in situation.holders if one.task_id is not None],
        "other_holders": situation.other_holders,
    }
    if kind == "window":
        said = "it is held by the window of its fan-out: max_concurrency parts run already"
        return _said(situation, "held_by_window", said, "", **facts)
    if kind == "mutex":
        said = f"it is held by the mutex {whose!r}, which {_holders(situation)}"
        return _said(situation, "held_by_mutex", said, "", **facts)
    if kind == "paused":
        return _paused(situation, place, f"--{target} {name}", facts)
    if kind == "running":
        limit = "" if situation.limit is None else f" of {situation.limit.max_running}"
        said = (
            f"it is held by the limit{limit} on how many of {place} run at once, which "
            f"{_holders(situation)}"
        )
        return _said(situation, "held_by_running_limit", said, "", **facts)
    if kind == "starts":
        free = min((one.until for one in situation.holders if one.until), default=None)
        when = "" if free is None else f"; the next place is free at {utc_text(free)}"
        said = f"it is held by the limit on how many of {place} start in a window{when}"
        return _said(situation, "held_by_start_limit", said, "", free_at=free, **facts)
    return _said(
        situation,
        "held_by_admission",
        "it has limits, and no release pass has read it yet",
        "see that a `taskdb beat` runs: it does the release",
        **facts,
    )


def _paused(
    situation: TaskSituation, place: str, option: str, facts: dict[str, Any]
) -> Explanation:
    limit = situation.limit
    by = f" by {limit.set_by}" if limit and limit.set_by else ""
    since = f" {_ago(situation, limit.set_at)}" if limit and limit.set_at else ""
    reason = f" ({limit.reason})" if limit and limit.reason else ""
    is_own = option.startswith("--own")
    option = option.replace("--own", "--own --tenant", 1)
    return _said(
        situation,
        "paused",
        f"its {place} was paused{by}{since}{reason}",
        f"taskdb resume {option}" if situation.is_operator or is_own else "",
        reason=limit.reason if limit else None,
        set_by=limit.set_by if limit else None,
        **facts,
    )


def _queued(situation: TaskSituation, broker: BrokerState) -> Explanation:
    task = situation.task
    facts: dict[str, Any] = {
        "queue": task.queue,
        "queued_at": task.queued_at,
        "before": situation.before,
    }
    if broker.away is not None:
        return _away(situation, broker, facts)
    problem = _worker_problem(situation, facts)
    if problem is not None:
        return problem
    consumers = [one.name for one in situation.live if task.queue in one.queues]
    since = _ago(situation, task.queued_at)
    said = (
        f"it was queued {since} in {task.queue!r}, with {situation.before} before it; "
        f"{_count(len(consumers), 'worker')} on that queue,"
        f" {_count(situation.busy, 'task')} running"
    )
    named = consumers if situation.is_operator else len(consumers)
    facts |= {"consumers": named, "messages": broker.messages, "running": situation.busy}
    return _said(situation, "queued", said, "", **facts)


def _worker_problem(situation: TaskSituation, facts: dict[str, Any]) -> Explanation | None:
    """Return why no live worker can run a message that the broker has; None if one can."""
    task = situation.task
    if not any(task.queue in one.queues for one in situation.live):
        live = f"{len(situation.live)} live" if situation.live else "there is no live worker"
        said = f"no worker takes its queue {task.queue!r} ({live})"
        advice = f"start one: taskdb worker -Q {task.queue}"
        return _said(situation, "no_consumer", said, advice, **facts)
    if not any(task.type in one.types for one in situation.live):
        said = f"its type {task.type!r} is unknown to every live worker"
        advice = "name its module in TASKDB_TASK_MODULES of the workers, or deploy the code"
        workers = [one.name for one in situation.live] if situation.is_operator else None
        return _said(situation, "unknown_type", said, advice, workers=workers, **facts)
    return None


def _unpublished(situation: TaskSituation, ask: AskBroker) -> Explanation:
    task = situation.task
    due = task.run_at
    if due is not None and due > situation.now:
        return _due_later(situation, due)
    facts: dict[str, Any] = {"queue": task.queue, "created_at": task.created_at}
    if situation.unregistered:
        problem = _worker_problem(situation, facts)
        if problem is not None:
            return problem
    broker = ask(task.queue)
    if broker.away is not None:
        return _away(situation, broker, facts)
    if situation.refusal is not None:
        return _refused(situation, situation.refusal, facts)
    since = task.created_at if due is None else due
    if situation.relay_at > situation.now:
        rest = rough_duration(situation.relay_at - situation.now)
        said = f"it is not published yet, since {_ago(situation, since)}; the relay may in {rest}"
        return _said(situation, "not_published", said, "", relay_at=situation.relay_at, **facts)
    late = _ago(situation, situation.relay_at)
    said = f"it is not published, though its time came {late} (made {_ago(situation, since)})"
    advice = "see that a `taskdb beat` runs: it does the relay"
    return _said(situation, "not_published", said, advice, relay_at=situation.relay_at, **facts)


def _refused(situation: TaskSituation, refusal: Refusal, facts: dict[str, Any]) -> Explanation:
    rest = situation.relay_at - situation.now
    again = f"in {rough_duration(rest)}" if rest > timedelta(0) else "by the relay next"
    facts |= {"refused_at": refusal.at, "relay_at": situation.relay_at}
    said = f"the broker did not take its message {_ago(situation, refusal.at)}"
    if not situation.is_operator:
        said = f"{said}; it is tried again {again}"
        return _said(situation, "publish_refused", said, "", reason=None, **facts)
    said = f"{said} ({_short(refusal.reason)}); it is tried again {again}"
    advice = (
        f"make queue {situation.task.queue!r} of the broker and the settings alike, or mend what "
        "makes the message: a router, a header, a receiver of before_task_publish"
    )
    return _said(situation, "publish_refused", said, advice, reason=refusal.reason, **facts)


def _due_later(situation: TaskSituation, due: datetime) -> Explanation:
    task = situation.task
    rest = rough_duration(due - situation.now)
    if task.status is TaskStatus.ERRORED:
        error = "" if task.error is None else f" {task.error.type}: {_short(task.error.message)}"
        said = f"attempt {task.attempt} ended with{error}; the next one is due in {rest}"
        return _said(situation, "backing_off", said, "", run_at=due, attempt=task.attempt)
    said = f"it is due later, at {utc_text(due)} (in {rest})"
    return _said(situation, "due_later", said, "", run_at=due)


def _away(situation: TaskSituation, broker: BrokerState, facts: dict[str, Any]) -> Explanation:
    if not situation.is_operator:
        return _said(situation, "broker_away", "the broker is away; nothing is lost", "", **facts)
    advice = "check TASKDB_BROKER_URL and that the server runs; nothing is lost meanwhile"
    said = f"the broker is away: {_short(str(broker.away))}"
    return _said(situation, "broker_away", said, advice, **facts)


def _said(
    situation: TaskSituation, cause: str, sentence: str, advice: str, **facts: Any
) -> Explanation:
    task = situation.task
    return Explanation(task.id, task.status, cause, sentence, advice, _plain(facts))


def _plain(facts: dict[str, Any]) -> dict[str, Any]:
    return {
        name: value.isoformat() if isinstance(value, datetime) else value
        for name, value in facts.items()
    }


def _holders(situation: TaskSituation) -> str:
    names = [one.task_id for one in situation.holders if one.task_id is not None]
    if situation.other_holders:
        names.append(_count(situation.other_holders, "task") + " of other tenants")
    if not names:
        return "is free: the release gives it out next"
    is_one = len(names) == 1 and situation.other_holders <= 1
    return f"{', '.join(names)} {'has' if is_one else 'have'}"


def _short(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= 200 else f"{line[:200]}…"  # noqa: PLR2004 - one line is enough


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def _ago(situation: TaskSituation, moment: datetime | None) -> str:
    return "" if moment is None else f"{rough_duration(situation.now - moment)} ago"

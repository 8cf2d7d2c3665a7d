"""Trees for the tests of the store: made, run and looked at by the store's own verbs."""

from collections.abc import Iterable
from typing import Any

from taskdb.model.entity import TaskEntity, TaskRole
from taskdb.model.fan_out import FanOutSpec, HandlerSpec
from taskdb.model.json_text import encode
from taskdb.model.outcome import NO_REPORT
from taskdb.model.sequence import SequenceSpec, StepSpec
from taskdb.model.status import TaskStatus
from taskdb.store.contract import EVERYONE
from taskdb.store.payload.payload import Payload
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from tests.store.tasks import OOPS, claim, draft

TOLD = HandlerSpec("told", "taskdb", 5)


def fan_out(store: Store, count: int, **spec: Any) -> str:
    """A fan-out of so many parts; its id."""
    parent = draft(type="root")
    drafts = (draft(type="part", input=number) for number in range(count))
    made = store.submissions.create_fan_out(
        parent, drafts, FanOutSpec(part_type="part", **spec), EVERYONE
    )
    store.joins.follow(made.after)
    return parent.id


def sequence(store: Store, *steps: StepSpec, timeout: float | None = None, **handlers: Any) -> str:
    """A sequence of these steps; its id."""
    parent = draft(type="root", input={"n": 1})
    spec = SequenceSpec(name="root", steps=steps, handlers=handlers, timeout=timeout)
    store.joins.follow(store.submissions.create_sequence(parent, spec, EVERYONE).after)
    return parent.id


def step(name: str = "step", **values: Any) -> StepSpec:
    return StepSpec(name=name, type="step", queue="taskdb", priority=5, **values)


def sub_tasks(store: Store, parent_id: str, role: TaskRole | None = None) -> list[TaskEntity]:
    return store.tasks.sub_tasks(parent_id, EVERYONE, after=-1, limit=1_000, role=role)


def part_ids(store: Store, parent_id: str) -> list[str]:
    return [one.id for one in sub_tasks(store, parent_id, TaskRole.PART)]


def newest_step(store: Store, parent_id: str) -> TaskEntity:
    return sub_tasks(store, parent_id, TaskRole.STEP)[-1]


def handler(store: Store, parent_id: str, name: str) -> TaskEntity:
    """The newest handler of this name."""
    found = sub_tasks(store, parent_id, TaskRole.HANDLER)
    return [one for one in found if one.name == name][-1]


def statuses(store: Store, parent_id: str, role: TaskRole | None = None) -> list[TaskStatus]:
    return [one.status for one in sub_tasks(store, parent_id, role)]


def payload(value: Any) -> Payload:
    return Payload(value, None if value is None else encode(value, "result"))


def end(store: Store, task_id: str, value: Any = None, *, well: bool = True) -> None:
    """Claim it, end it, and let its parent act, as a worker does."""
    one = store.tasks.get(task_id, EVERYONE)
    token = f"{task_id}-{one.attempt}"
    assert claim(store, task_id, token=token), one
    if not well:
        store.outcomes.fail(task_id, token, OOPS)
    elif one.role is TaskRole.STEP and one.parent_id is not None:
        store.endings.complete_step(task_id, token, payload(value), NO_REPORT, one.parent_id)
    else:
        store.outcomes.complete(task_id, token, payload(value))
    store.joins.settle(task_id)


def end_all(store: Store, ids: Iterable[str], *, well: bool = True) -> None:
    for task_id in ids:
        end(store, task_id, well=well)


def page(store: Store, **chosen: Any) -> list[TaskEntity]:
    return store.tasks.page(Filter(with_sub_tasks=True, **chosen), EVERYONE, limit=1_000)

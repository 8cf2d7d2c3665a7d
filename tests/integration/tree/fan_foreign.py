"""Plain Celery tasks, and bodies that call chords of them: all of those are refused."""

from celery import chord, current_task, shared_task
from tests.integration.worker_tasks import folder, note

from taskdb import TaskContext, task


@shared_task(name="plain.adds")  # type: ignore[untyped-decorator]  # Celery has no types
def adds(*numbers: int) -> int:
    return sum(numbers)


@shared_task(name="plain.sums")  # type: ignore[untyped-decorator]  # Celery has no types
def sums(numbers: list[int]) -> int:
    return sum(numbers)


@shared_task(name="plain.replaces", bind=True)  # type: ignore[untyped-decorator]  # Celery has no types
def replaces(self: object, name: str) -> object:
    try:
        return self.replace(chord([adds.s(1), adds.s(2)], sums.s()))  # type: ignore[attr-defined]
    except NotImplementedError as error:
        (folder() / name).write_text(str(error))
        raise


@task("fan.calls_a_chord")
def calls_a_chord(ctx: TaskContext, how: str) -> None:
    note(ctx)
    plain = chord([adds.s(1), adds.s(2)], sums.s())
    if how == "calls":
        plain()
    current_task.replace(plain)

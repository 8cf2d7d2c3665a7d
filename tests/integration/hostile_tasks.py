"""Task types and a plain Celery task, for tests of what a stranger's message can do to them."""

import time

from celery import shared_task
from tests.integration.worker_tasks import folder

from taskdb import Sequence, TaskContext, task


@task("public.greet")
def greet(ctx: TaskContext, input: dict) -> str:
    with (folder() / "greeted").open("a") as file:
        file.write(f"{ctx.task_id}\n")
    return f"hello {input['name']}"


@task("public.parked", queue="parked")
def parked(ctx: TaskContext, input: dict) -> None:
    pass


Sequence("public.greets", [parked, parked])


@task("public.waits")
def waits(ctx: TaskContext) -> str:
    (folder() / f"began-{ctx.task_id}").touch()
    while not (folder() / f"go-{ctx.task_id}").exists():
        time.sleep(0.02)
    return "went"


@task("admin.exec")
def admin(ctx: TaskContext, input: dict) -> None:
    (folder() / "admin-ran").touch()


@shared_task(name="plain.notes")  # type: ignore[untyped-decorator]  # Celery has no types
def notes(*_: object, **__: object) -> None:
    with (folder() / "noted").open("a") as file:
        file.write("x")

"""The smallest task: its parameters are its input."""

from taskdb import TaskContext, task


@task("greeting")
def greet(ctx: TaskContext, message: str, times: int = 1) -> str:
    """Say something, some times."""
    for count in range(times):
        ctx.progress(count + 1, times)
        ctx.log.info("greeting", message=message)
    return " ".join([message] * times)

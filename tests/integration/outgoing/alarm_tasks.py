"""Task types whose failures someone must hear of, and one that nobody must."""

import os
import signal

from taskdb import Alarm, task


@task("alarm.fails", alarm=Alarm(severity="critical"))
def fails(password: str) -> None:
    raise ValueError(f"no {password}")


@task("alarm.dies")
def dies() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@task("alarm.quiet", alarm=False)
def quiet() -> None:
    raise ValueError("quiet")


@task("alarm.part", alarm=Alarm(on=["failed", "join"]))
def part(n: int) -> None:
    raise KeyError(n)


@task("alarm.good")
def good() -> int:
    return 1


@task("alarm.imports")
def imports(n: int) -> int:
    """Imports, as a body does that needs a library; every second one fails."""
    import apprise  # noqa: PLC0415 - the first import of its child
    import boto3  # noqa: PLC0415 - as well

    if n % 2:
        raise ValueError(n)
    return len(apprise.__name__) + len(boto3.__name__)

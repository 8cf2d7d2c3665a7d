"""Programs that submit, started by the tests as processes of their own: the first word says which.

They use the module functions, on the settings of their environment.
"""

import faulthandler
import os
import signal
import sys
from typing import Any

from sqlalchemy import create_engine
from sqlalchemy.orm import Session

import taskdb
from taskdb.types.declaration import task


@task("echo")
def echo(input: Any) -> Any:
    return input


def say(*words: object) -> None:
    print(*words, flush=True)


def submit_and_return() -> None:
    """The interpreter ends right after the submit."""
    say("id", taskdb.submit_task("echo").id)


def commit_and_return() -> None:
    """It ends right after a commit whose publication has only been handed over."""
    engine = create_engine(taskdb.default_taskdb().settings.store_url)
    with Session(engine) as session, session.begin():
        entity = taskdb.submit_task("echo", session=session)
    say("id", entity.id)


def die_after_commit() -> None:
    """The process is killed after the row is committed, and before anything is published."""
    client = taskdb.default_taskdb()
    create = client.store.submissions.create

    def create_and_die(*arguments: Any, **keywords: Any) -> Any:
        created = create(*arguments, **keywords)
        say("id", created[0].id)
        os.kill(os.getpid(), signal.SIGKILL)
        return created

    client.store.submissions.create = create_and_die  # type: ignore[method-assign]
    taskdb.submit_task("echo")


def die_in_a_hook() -> None:
    """The same, with the row in the caller's transaction: killed inside its commit hook."""
    client = taskdb.default_taskdb()
    engine = create_engine(client.settings.store_url)

    def die(*_: Any, **__: Any) -> Any:
        os.kill(os.getpid(), signal.SIGKILL)

    client._connections.background.publish = die  # type: ignore[method-assign]
    with Session(engine) as session, session.begin():
        say("id", taskdb.submit_task("echo", session=session).id)


def fork_after_use() -> None:
    """Parent, then child, then parent again; the child through `os.fork`, as a web server forks."""
    parent = [taskdb.submit_task("echo", "parent")]
    children = []
    for _ in range(2):
        if (child := os.fork()) == 0:
            found = [taskdb.submit_task("echo", f"child {n}") for n in range(20)]
            say(*(f"child {one.status} {one.id}\n" for one in found))
            os._exit(0)
        children.append(child)
        parent.append(taskdb.submit_task("echo", "parent beside it"))
    codes = [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children]
    parent.append(taskdb.submit_task("echo", "parent after it"))
    say(*(f"parent {one.status} {one.id}\n" for one in parent))
    say("children ended with", codes)


def fork_while_publishing() -> None:
    """A fork while another thread is inside a submit finds no lock taken for ever."""
    from threading import Event, Thread  # noqa: PLC0415

    stop = Event()
    taskdb.submit_task("echo")  # imports of drivers are over; Python's own lock of them is its own

    def submit_again_and_again() -> None:
        while not stop.is_set():
            taskdb.submit_task("echo", "thread")

    thread = Thread(target=submit_again_and_again)
    thread.start()
    codes = []
    for _ in range(10):
        if (child := os.fork()) == 0:
            faulthandler.dump_traceback_later(15, exit=True)
            status = taskdb.submit_task("echo", "child").status
            os._exit(0 if status == "QUEUED" else 3)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
    stop.set()
    thread.join()
    say("children ended with", codes)


def import_and_use() -> None:
    """Importing reads no setting; the first use does."""
    say("imported")
    try:
        taskdb.list_tasks()
    except taskdb.SettingsError as error:
        say("refused", error)


if __name__ == "__main__":
    globals()[sys.argv[1]]()

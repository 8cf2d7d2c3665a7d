"""`taskdb top`: the screen on a real database, with the keys that a person presses."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from tests.integration.cli_site import Site, cli
from textual.pilot import Pilot
from textual.widgets import DataTable, Static

from taskdb.cli.overview.screen import TopScreen
from taskdb.model.status import TaskStatus

__all__ = ["cli"]

Press = Callable[[Pilot[None]], Awaitable[None]]


def watch(cli: Site, press: Press) -> None:
    """Open the screen at 80 columns, and let a person press keys."""

    async def run() -> None:
        with cli.client() as taskdb:
            screen = TopScreen(taskdb, every=0.2)
            async with screen.run_test(size=(80, 24)) as pilot:
                await until(pilot, lambda: rows(pilot, "tasks"))
                await press(pilot)

    asyncio.run(run())


async def until(pilot: Pilot[None], true: Callable[[], Any]) -> None:
    async with asyncio.timeout(20):
        while not true():
            await pilot.pause(0.05)


def rows(pilot: Pilot[None], table: str) -> list[list[str]]:
    found: DataTable[Any] = pilot.app.screen_stack[0].query_one(f"#{table}", DataTable)
    return [[str(cell) for cell in found.get_row_at(n)] for n in range(found.row_count)]


def text(pilot: Pilot[None], name: str) -> str:
    return str(pilot.app.screen_stack[0].query_one(f"#{name}", Static).render())


def test_a_queue_is_paused_after_a_question_and_resumed(cli: Site) -> None:
    cli.submit("echo")

    async def press(pilot: Pilot[None]) -> None:
        assert "no beat runs" in text(pilot, "head")
        await pilot.press("p", "n")
        await pilot.press("p", "y")
        await until(pilot, lambda: "paused taskdb" in text(pilot, "notice"))
        await until(pilot, lambda: rows(pilot, "queues")[0][-1] == "yes")
        await pilot.press("p")
        await until(pilot, lambda: "resumed taskdb" in text(pilot, "notice"))
        await until(pilot, lambda: rows(pilot, "queues")[0][-1] == "")

    watch(cli, press)


def test_a_task_is_opened_canceled_and_retried(cli: Site) -> None:
    task_id = cli.submit("echo")

    async def press(pilot: Pilot[None]) -> None:
        await pilot.press("enter")
        await until(pilot, lambda: len(pilot.app.screen_stack) == 2)
        shown = str(pilot.app.screen.query_one(Static).render())
        assert task_id in shown and "queue" in shown
        await pilot.press("escape")
        await pilot.press("c", "n")
        assert cli.status(task_id) is TaskStatus.QUEUED
        await pilot.press("c", "y")
        await until(pilot, lambda: "canceled" in text(pilot, "notice"))
        assert cli.status(task_id) is TaskStatus.CANCELED
        await pilot.press("r")
        await until(pilot, lambda: "retried" in text(pilot, "notice"))
        assert cli.status(task_id) is TaskStatus.QUEUED

    watch(cli, press)


def test_what_cannot_be_done_is_said_and_the_screen_goes_on(cli: Site) -> None:
    cli.submit("echo")

    async def press(pilot: Pilot[None]) -> None:
        await pilot.press("r")
        await until(pilot, lambda: text(pilot, "notice"))
        assert "QUEUED" in text(pilot, "notice")
        await pilot.press("l")
        await until(pilot, lambda: "running tasks below" in text(pilot, "head"))
        assert rows(pilot, "tasks") == []
        await pilot.press("l")
        await pilot.press("l")
        await until(pilot, lambda: rows(pilot, "tasks"))

    watch(cli, press)


def test_it_needs_a_terminal(cli: Site) -> None:
    ran = cli("top")
    assert ran.code == 2 and "taskdb status" in ran.err

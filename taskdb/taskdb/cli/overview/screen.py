"""The screen of `taskdb top`: it reads in a thread, so that a slow database never blocks a key."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Static

from taskdb.cli.overview.presenter import QUEUE, processes_text
from taskdb.cli.task.presenter import TASK
from taskdb.client.overview import Overview, overview
from taskdb.client.taskdb import TaskDB
from taskdb.client.tasks import TaskPage
from taskdb.errors import TaskDBError
from taskdb.model.status import TaskStatus
from taskdb.redaction.printable import printable

_SCROLLING = ("up", "down", "pageup", "pagedown", "home", "end")
SHOWN = 50
"""Tasks in the list below the queues."""
LISTS: Sequence[tuple[str, Sequence[str]]] = (
    ("newest", tuple(TaskStatus)),
    ("running", ("STARTED", "PROCESSING")),
    ("failed", ("FAILED", "HALTED", "ERRORED")),
)


class TopScreen(App[None]):
    """Queues above, tasks below; each key acts on the row under the cursor."""

    CSS = """
    #head, #notice { height: auto; padding: 0 1; }
    #queues { height: auto; max-height: 40%; }
    #tasks { height: 1fr; }
    Dialog { align: center middle; }
    Dialog > VerticalScroll {
        width: 90%; height: auto; max-height: 80%; border: round $accent; padding: 0 1;
        background: $surface;
    }
    """
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("tab", "app.focus_next", "other table"),
        Binding("l", "next_list", "newest/running/failed"),
        Binding("p", "pause", "pause"),
        Binding("o", "open", "open"),
        Binding("r", "retry", "retry"),
        Binding("c", "cancel", "cancel"),
    ]

    def __init__(self, taskdb: TaskDB, *, every: float) -> None:
        super().__init__()
        self._taskdb = taskdb
        self._every = every
        self._list = 0
        self._paused: dict[str, bool] = {}
        self._head, self._said = Static(id="head"), Static(id="notice")
        self._queues: DataTable[Text] = DataTable(id="queues", cursor_type="row")
        self._tasks: DataTable[Text] = DataTable(id="tasks", cursor_type="row")

    def compose(self) -> ComposeResult:
        yield from (self._head, self._queues, self._tasks, self._said, Footer())

    def on_mount(self) -> None:
        self._queues.add_columns(*QUEUE.headers)
        self._tasks.add_columns(*TASK.headers)
        self._tasks.focus()
        self._look()
        self.set_interval(self._every, self._look)

    # --- keys ---------------------------------------------------------------------------------

    def action_next_list(self) -> None:
        self._list = (self._list + 1) % len(LISTS)
        self._look()

    def action_pause(self) -> None:
        name = _chosen(self._queues)
        if name is None:
            return
        limits = self._taskdb.limits
        if self._paused.get(name):
            self._act(f"resumed {name}", lambda: limits.resume(queue=name))
        else:
            self._ask(
                f"Pause the queue {name}?", f"paused {name}", lambda: limits.pause(queue=name)
            )

    def action_retry(self) -> None:
        if task_id := _chosen(self._tasks):
            self._act(f"retried {task_id}", lambda: self._taskdb.retry_task(task_id))

    def action_cancel(self) -> None:
        if task_id := _chosen(self._tasks):
            question, done = f"Cancel the task {task_id}?", f"canceled {task_id}"
            self._ask(question, done, lambda: self._taskdb.cancel_task(task_id))

    def action_open(self) -> None:
        if task_id := _chosen(self._tasks):
            self._in_thread(lambda: self._open(task_id))

    def on_data_table_row_selected(self, event: DataTable.RowSelected) -> None:
        """Enter opens a task, as `o` does."""
        if event.data_table.id == "tasks":
            self.action_open()

    # --- what a thread does -------------------------------------------------------------------

    def _look(self) -> None:
        self._in_thread(self._read, group="look")

    def _read(self) -> None:
        statuses = LISTS[self._list][1]
        page = self._taskdb.list_tasks(limit=SHOWN, status=statuses)
        self.call_from_thread(self._show, overview(self._taskdb), page)

    def _open(self, task_id: str) -> None:
        task, why = self._taskdb.get_task(task_id), self._taskdb.explain_task(task_id)
        lines = [Text.assemble((f"{name:<14}", "bold"), value) for name, value in TASK.pairs(task)]
        lines += [
            Text(),
            Text(printable(why.sentence), style="bold"),
            Text(printable(why.advice or "")),
        ]
        shown = Text("\n").join(lines)
        self.call_from_thread(self.push_screen, Dialog(shown))

    def _act(self, done: str, act: Callable[[], object]) -> None:
        def run() -> None:
            act()
            self.call_from_thread(self._say, done)
            self._read()

        self._in_thread(run)

    def _in_thread(self, work: Callable[[], None], group: str = "act") -> None:
        def guarded() -> None:
            try:
                work()
            except TaskDBError as error:
                self.call_from_thread(self._say, str(error), "red")

        self.run_worker(guarded, thread=True, group=group, exclusive=group == "look")

    # --- what is shown ------------------------------------------------------------------------

    def _show(self, found: Overview, page: TaskPage) -> None:
        self._paused = {one.name: one.pause is not None for one in found.queues}
        head = [f"{processes_text(found)} · {LISTS[self._list][0]} tasks below", *found.needs]
        self._head.update(Text("\n".join(map(printable, head))))
        _fill(self._queues, QUEUE.rows(found.queues), [one.name for one in found.queues])
        _fill(self._tasks, TASK.rows(page), [one.id for one in page])

    def _ask(self, question: str, done: str, act: Callable[[], object]) -> None:
        def answered(key: str | None) -> None:
            if key == "y":
                self._act(done, act)

        self.push_screen(Dialog(Text(f"{question} y/n")), answered)

    def _say(self, text: str, style: str = "green") -> None:
        self._said.update(Text(printable(text), style=style))


class Dialog(ModalScreen[str]):
    """A text in front of the tables; the next key closes it, and is its result."""

    def __init__(self, shown: Text) -> None:
        super().__init__()
        self._shown = shown

    def compose(self) -> ComposeResult:
        with VerticalScroll():
            yield Static(self._shown)

    def on_key(self, event: Key) -> None:
        if event.key not in _SCROLLING:
            event.stop()
            self.dismiss(event.key)


def _fill(table: DataTable[Text], rows: Sequence[Sequence[Text]], keys: list[str]) -> None:
    """Replace the rows; the cursor stays on the row with its key."""
    chosen = _chosen(table)
    table.clear()
    for key, row in zip(keys, rows, strict=True):
        table.add_row(*row, key=key)
    if chosen in keys:
        table.move_cursor(row=keys.index(chosen))


def _chosen(table: DataTable[Text]) -> str | None:
    """The key of the row under the cursor."""
    if not table.row_count:
        return None
    return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

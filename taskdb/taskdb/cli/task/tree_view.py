"""A tree of tasks as lines for people: a bar for each fan-out, a line for each step and handler."""

from __future__ import annotations

from collections.abc import Iterator

from rich.console import Console
from rich.text import Text

from taskdb.cli.output import Output
from taskdb.cli.task.tree import BAD, Branch, halted_of, running_of, seconds_of, waiting_of
from taskdb.cli.value_text import text_of
from taskdb.model.duration import rough_duration
from taskdb.model.entity import TaskEntity, TaskRole
from taskdb.model.fan_out import Counts
from taskdb.model.status import TaskStatus
from taskdb.redaction.printable import printable

BAR_WIDTH = 30
ERROR_LENGTH = 160
_INDENT = "  "


def print_tree(output: Output, branch: Branch) -> None:
    """Return the lines of the sub-tasks."""
    output.line()
    for line in tree_lines(branch, is_live=output.is_live):
        for row in hanging(line, output.out) if output.is_live else (line,):
            output.line(row)


def hanging(line: Text, console: Console) -> Iterator[Text]:
    """The rows of a line; those after the first are indented further, as no task below is."""
    depth = len(line.plain) - len(line.plain.lstrip())
    first, *others = line.wrap(console, console.width)
    yield first
    if not others:
        return
    indent = " " * (depth + 2 * len(_INDENT))
    for row in Text(" ").join(others).wrap(console, console.width - len(indent)):
        yield Text(indent).append_text(row)


def tree_lines(
    branch: Branch, *, is_live: bool, depth: int = 0, number: str = ""
) -> Iterator[Text]:
    """A line for the task itself, then those below it, indented; `number` is that of a step."""
    yield Text(f"{_INDENT * depth}{number}").append_text(_head(branch))
    inner = depth + 1
    if branch.counts is not None:
        bar = Text(_INDENT * inner).append_text(bar_text(branch.counts, is_live=is_live))
        yield bar.append(f"  {counts_text(branch.counts)}")
    for one in branch.parts:
        yield from tree_lines(one, is_live=is_live, depth=inner)
    hidden = _hidden(branch)
    if hidden:
        how = f"`taskdb list --parent {branch.task.code} --status FAILED`"
        yield Text(f"{_INDENT * inner}… and {hidden:,} more bad parts ({how})")
    for place, one in enumerate(branch.steps, start=1):
        yield from tree_lines(one, is_live=is_live, depth=inner, number=f"{place} ")
    for place, name in enumerate(branch.coming, start=len(branch.steps) + 1):
        yield Text(f"{_INDENT * inner}{place} {printable(name)}  not yet", style="dim")
    for one in branch.handlers:
        yield from tree_lines(one, is_live=is_live, depth=inner)


def bar_text(counts: Counts, *, is_live: bool = True) -> Text:
    """`60% ######---- 600/1,000`: on a terminal coloured by how the parts ended."""
    share = counts.done / counts.total if counts.total else 1.0
    text = Text(f"{int(share * 100):>3}% ")
    bad = counts.total - counts.succeeded - counts.open
    marks = (
        (counts.succeeded, "━" if is_live else "#", "green"),
        (bad, "━" if is_live else "!", "red"),
        (running_of(counts), "━" if is_live else "=", "cyan"),
    )
    seen, drawn = 0, 0
    for number, mark, style in marks:
        seen += number
        end = seen * BAR_WIDTH // counts.total if counts.total else 0
        text.append(mark * (end - drawn), style=style)
        drawn = end
    text.append(("━" if is_live else "-") * (BAR_WIDTH - drawn), style="bright_black")
    return text.append(f" {counts.done:,}/{counts.total:,}")


def counts_text(counts: Counts) -> str:
    """Return `590 succeeded, 10 failed, 2 running`, without zeros."""
    named = (
        (counts.succeeded, "succeeded"),
        (counts.failed, "failed"),
        (counts.canceled, "canceled"),
        (halted_of(counts), "halted"),
        (running_of(counts), "running"),
        (waiting_of(counts), "waiting"),
        (counts.held, "held"),
    )
    return ", ".join(f"{number:,} {word}" for number, word in named if number)


def _head(branch: Branch) -> Text:
    task = branch.task
    words = Text.assemble((_place(task), "bold"), "  ", text_of(task.status))
    seconds = seconds_of(task)
    if seconds is not None:
        words.append(f"  {rough_duration(seconds)}")
    if not branch.is_leaf:
        words.append(f"  {task.code}", style="bright_black")
    if task.waits_for not in {None, "parts", "steps"}:
        words.append(f"  waits for {printable(str(task.waits_for))}")
    if task.error is not None and task.status in BAD:
        kind = task.error.type.rpartition(".")[2]
        text = printable(f"{kind}: {task.error.message}")
        words.append(f"  {_shortened(text)}", style="red")
    return words


def _place(task: TaskEntity) -> str:
    """Return role, position and type: `part 17 a.type`, `2 a-step`, `on_join (handler) a.type`."""
    if task.role is TaskRole.PART:
        return f"part {task.position} {printable(task.type)}"
    if task.role is TaskRole.STEP:
        return printable(task.name)
    if task.role is TaskRole.HANDLER:
        stage = "" if task.name == task.type else f"{task.name} "
        return printable(f"{stage}(handler) {task.type}")
    return f"{task.kind} {printable(task.type)}"


def _hidden(branch: Branch) -> int:
    """Return the number of bad parts that have no line."""
    if branch.counts is None:
        return 0
    ended = {TaskStatus.FAILED, TaskStatus.HALTED}
    named = sum(one.task.status in ended for one in branch.parts)
    return max(branch.counts.failed + halted_of(branch.counts) - named, 0)


def _shortened(text: str) -> str:
    return text if len(text) <= ERROR_LENGTH else f"{text[: ERROR_LENGTH - 1]}…"

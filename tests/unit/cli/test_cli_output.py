"""Tables, lines and documents: what stands where, and what others may put into it."""

import io
import json
from datetime import UTC, datetime, timedelta

import pytest
from rich.console import Console
from rich.text import Text

from taskdb.cli.output import Output, plain_lines, rich_table
from taskdb.cli.task.presenter import (
    TASK,
    about,
    one_line,
    progress_text,
    row_json,
    task_json,
    when,
)
from taskdb.cli.task.tree_view import hanging
from taskdb.cli.value_text import STATUS_STYLES
from taskdb.model.entity import Progress, TaskEntity, TaskError
from taskdb.model.status import TaskStatus

NOW = datetime(2031, 5, 4, 10, 20, 30, tzinfo=UTC)
ID = "01a1faa9-1f65-7393-a685-77b174b411c9"


def entity(**values: object) -> TaskEntity:
    given = {
        "id": ID, "tenant": "", "type": "orders.place", "name": "orders.place",
        "status": TaskStatus.QUEUED, "created_at": NOW, "updated_at": NOW, **values,
    }  # fmt: skip
    return TaskEntity(**given)  # type: ignore[arg-type]


def drawn(table: object, width: int = 80) -> list[str]:
    stream = io.StringIO()
    console = Console(file=stream, width=width, force_terminal=True, color_system=None)
    console.print(table)
    return stream.getvalue().splitlines()


def test_a_table_fits_80_columns_and_keeps_code_and_status_whole() -> None:
    tasks = [
        entity(
            status=TaskStatus.PROCESSING,
            type="customers.import.with.a.long.name",
            progress=Progress(500, 1_000, "reading the customers of a whole continent"),
        )
    ]
    lines = drawn(rich_table(TASK.headers, TASK.rows(tasks)))
    assert max(len(line) for line in lines) <= 80
    assert any(tasks[0].code in line and "PROCESSING" in line for line in lines)


@pytest.mark.parametrize("width", [40, 60, 80])
def test_a_line_of_a_tree_that_is_too_long_is_continued_below_its_own_indent(width: int) -> None:
    line = Text("    2 charge  FAILED  3 s  " + "the bank is away " * 8)
    console = Console(file=io.StringIO(), width=width)
    first, *others = [row.plain for row in hanging(line, console)]
    assert first.startswith("    2 charge")
    assert others and all(row.startswith(" " * 8) for row in others)
    assert max(map(len, others)) <= width
    assert " ".join(" ".join([first, *others]).split()) == " ".join(line.plain.split())
    assert [row.plain for row in hanging(Text("  short"), console)] == ["  short"]


def test_plain_lines_are_aligned_and_never_cut() -> None:
    lines = plain_lines([("A", "B"), ("x" * 100, Text("y")), ("", "z")])
    assert lines == ["A".ljust(102) + "B", "x" * 100 + "  y", " " * 102 + "z"]


def test_words_of_others_are_shown_as_they_are(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line("[red]not red[/red] :smile:")
    output.table(("A",), [("[/] \x1b[31m",)])
    output.note("[bold]message[/bold]")
    written = capsys.readouterr()
    assert written.out == "[red]not red[/red] :smile:\nA\n[/] �[31m\n"
    assert written.err == "[bold]message[/bold]\n"


def test_for_programs_only_documents_reach_standard_output(
    capsys: pytest.CaptureFixture[str],
) -> None:
    output = Output(is_json=True)
    output.line("a line")
    output.pairs([("a", "b")])
    output.note("a message")
    output.document({"name": "佐藤"})
    written = capsys.readouterr()
    assert json.loads(written.out) == {"name": "佐藤"}
    assert written.err == "a message\n"


def test_long_lines_are_not_broken_where_nobody_looks(capsys: pytest.CaptureFixture[str]) -> None:
    output = Output()
    output.line("word " * 100)
    output.note("word " * 100)
    written = capsys.readouterr()
    assert len(written.out.splitlines()) == len(written.err.splitlines()) == 1


@pytest.mark.parametrize(
    ("progress", "text"),
    [
        (Progress(0, 10), "0% ---------- 0/10"),
        (Progress(5, 10, "half"), "50% #####----- 5/10 half"),
        (Progress(95, 100), "95% #########- 95/100"),
        (Progress(999, 1_000), "99% #########- 999/1,000"),
        (Progress(20, 10), "100% ########## 20/10"),
        (Progress(1_234, None, "lines"), "1,234 lines"),
        (Progress(3, 0), "3"),
    ],
)
def test_progress_is_a_bar_where_the_total_is_known(progress: Progress, text: str) -> None:
    assert progress_text(progress) == text


def test_a_task_is_told_by_its_error_its_progress_or_its_name() -> None:
    error = TaskError("builtins.ValueError", "no luck")
    assert about(entity(status=TaskStatus.FAILED, error=error)) == "no luck"
    assert about(entity(status=TaskStatus.COMPLETED, error=error)) == ""
    assert about(entity(status=TaskStatus.PROCESSING, progress=Progress(1, 2))).startswith("50%")
    assert about(entity(name="Zoë", tenant="acme")) == "[acme] Zoë"


def test_the_moment_of_a_task_is_the_one_that_matters() -> None:
    later = NOW + timedelta(hours=1)
    assert when(entity()) == NOW
    assert when(entity(status=TaskStatus.SCHEDULED, run_at=later)) == later
    assert when(entity(status=TaskStatus.COMPLETED, started_at=NOW, ended_at=later)) == later
    assert when(entity(status=TaskStatus.QUEUED, run_at=NOW, started_at=later)) == later


def test_every_status_is_told_in_one_line() -> None:
    assert set(STATUS_STYLES) <= set(TaskStatus)
    for status in TaskStatus:
        line = one_line(entity(status=status)).plain
        assert line == f"{entity().code}  {status}  orders.place"


def test_a_task_as_json_has_every_field_and_no_inner_ones() -> None:
    task = entity(
        error=TaskError("a.B", "c", "d", 1), progress=Progress(1, 2, "x"), tags=("a",),
        inline_input={"a": 1}, inline_result=[1],
    )  # fmt: skip
    document = json.loads(json.dumps(task_json(task)))
    assert document["created_at"] == "2031-05-04T10:20:30+00:00"
    assert document["error"] == {"type": "a.B", "message": "c", "traceback": "d", "attempt": 1}
    assert document["progress"] == {"current": 1, "total": 2, "message": "x"}
    assert (document["input"], document["result"]) == ({"a": 1}, [1])
    assert {"id", "code", "key", "tags", "status"} <= set(document)
    assert not [name for name in document if name.startswith("inline") or name == "reader"]
    assert "input" not in row_json(task)

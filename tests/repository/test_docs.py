"""README and docs say what the code says."""

import ast
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from docs.write_reference import pages, rewritten
from typer.main import get_command

import taskdb
from taskdb.cli.app import build

ROOT = Path(__file__).parents[2]
DOCS = sorted((ROOT / "docs").rglob("*.md"))
REFERENCE = pages()


@pytest.mark.parametrize("page", REFERENCE, ids=lambda page: page.name)
def test_a_reference_page_repeats_what_the_code_says(page: Path) -> None:
    expected = rewritten(page, REFERENCE[page])

    assert page.read_text() == expected, "run: python -m docs.write_reference"


def test_the_page_of_the_python_api_has_every_public_name() -> None:
    page = (ROOT / "docs/reference/python.md").read_text()
    named = re.findall(r"^### (\w+)$|For coroutines: `(\w+)`", page, re.MULTILINE)

    assert set(taskdb.__all__) <= {name for pair in named for name in pair}


def test_every_celery_setting_has_its_reason() -> None:
    page = (ROOT / "docs/reference/celery-settings.md").read_text()
    unexplained = re.findall(r"^\| `(\S+)` \|.*\|  \|$", page, re.MULTILINE)
    plain = {"task_default_queue", "enable_utc", "timezone", "task_send_sent_event"}

    assert set(unexplained) - plain - {"worker_send_task_events"} == set()


def test_readme_begins_with_the_two_commands() -> None:
    blocks = re.findall(r"```console\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    targets = re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)

    assert blocks[0].split("\n")[:2] == ["make demo", "make test"]
    assert {"demo", "test"} <= set(targets)


def readme_examples() -> list[tuple[str, str]]:
    blocks = re.findall(
        r"```python\n# (\S+)\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL
    )
    assert len(blocks) >= 3
    return blocks


@pytest.mark.parametrize(("path", "code"), readme_examples(), ids=lambda part: part[:40])
def test_an_example_of_the_readme_is_a_file_of_the_examples(path: str, code: str) -> None:
    assert (ROOT / path).read_text().strip() == code.strip()


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text())

    missing = [link for link in links if not (page.parent / link).exists()]

    assert missing == []


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_code_with_the_name_of_a_file_is_that_file(page: Path) -> None:
    for path, code in re.findall(r"```python\n# (\S+)\n(.*?)```", page.read_text(), re.DOTALL):
        assert (ROOT / path).read_text().strip() == code.strip()


def test_every_command_of_a_page_and_its_options_exist() -> None:
    program = get_command(build(None))
    wrong = []
    for page in [*DOCS, ROOT / "README.md"]:
        blocks = re.findall(r"```(?:console|sh)\n(.*?)```", page.read_text(), re.DOTALL)
        for line in re.findall(r"^(?:\$ )?taskdb (.+)$", "\n".join(blocks), re.MULTILINE):
            words = shlex.split(line.partition("  #")[0])
            wrong += [f"{page.name}: taskdb {line}: {one}" for one in unknown(program, words)]

    assert wrong == []


def unknown(command: Any, words: list[str]) -> list[str]:
    """The words that are neither a command nor an option of the one that they name."""
    while getattr(command, "commands", None):
        if not words or words[0].startswith("-"):
            return []
        name, *words = words
        if name not in command.commands:
            return [name]
        command = command.commands[name]
    if command.context_settings.get("ignore_unknown_options"):
        return []
    options = {"--help"} | {one for parameter in command.params for one in parameter.opts}
    given = [word.partition("=")[0] for word in words if re.match("--?[a-z]", word)]
    return [word for word in given if word not in options]


@pytest.mark.parametrize("page", DOCS, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_python_of_a_page_is_python(page: Path) -> None:
    for code in re.findall(r"```python\n(.*?)```", page.read_text(), re.DOTALL):
        ast.parse(code)


def test_every_log_event_stands_in_its_table() -> None:
    said = set()
    for folder in ("taskdb/taskdb", "worker/taskdb_worker", "beat/taskdb_beat"):
        for file in (ROOT / folder).rglob("*.py"):
            calls = r"log\.(?:debug|info|warning|error|exception)\(\s*\"([a-z_]+\.[a-z_]+)\""
            said |= set(re.findall(calls, file.read_text()))
    page = (ROOT / "docs/reference/log-events.md").read_text()
    listed = set(re.findall(r"^\| `([a-z_.]+)`", page, re.MULTILINE))

    assert said == listed


def test_the_quickstart_runs_as_written(tmp_path: Path) -> None:
    """The body runs in this process by `run-task`; `wait` then answers at once."""
    folder = ROOT / "examples" / "quickstart"
    environment = {
        **os.environ,
        "PYTHONPATH": str(folder),
        "TASKDB_TASK_MODULES": "customer_tasks",
        "TASKDB_DATA_DIR": str(tmp_path),
    }
    code = (
        "from taskdb import default_taskdb, submit_task\n"
        "from taskdb_worker.command import run_task\n"
        "entity = submit_task('customers.import', {'names': ['Ada', 'Grace']}, tenant='acme')\n"
        "run_task(default_taskdb(), entity.id)\n"
        "entity = entity.wait(timeout=30)\n"
        "print(entity.status, entity.result)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert done.stdout.splitlines() == ["COMPLETED {'imported': 2}"], done.stderr

"""The program shows the help of a command without an import of it, and runs it all the same."""

import inspect
import subprocess
import sys

import pytest

from taskdb.cli.app import build
from taskdb.cli.command_table import COMMANDS, GROUPS

IMPORTED = """
import sys
from taskdb.cli.app import build
from typer.main import get_command

before = set(sys.modules)
get_command(build(sys.argv[1:]))
print(*sorted(name for name in set(sys.modules) - before if name.startswith("taskdb.cli.")))
"""


def imported(*words: str) -> list[str]:
    """The modules of commands that are imported to make the program for these words."""
    ran = subprocess.run([sys.executable, "-c", IMPORTED, *words], capture_output=True, check=True)
    return ran.stdout.decode().split()


def helps(words: list[str] | None) -> dict[str, str | None]:
    found = {}
    apps = [("", build(words))]
    for above, app in apps:
        found |= {f"{above} {one.name}".strip(): one.help for one in app.registered_commands}
        apps += [
            (f"{above} {one.name}".strip(), one.typer_instance)
            for one in app.registered_groups
            if one.typer_instance is not None
        ]
    return found


def test_every_command_is_in_the_program_once_and_in_a_group_that_is_there() -> None:
    words = [one.words for one in COMMANDS]
    assert len(set(words)) == len(words)
    assert {one.group for one in COMMANDS} == {"", *(one.words for one in GROUPS)}
    assert sorted(helps(None)) == sorted(words)


def test_the_help_that_is_read_from_a_file_is_the_docstring_of_the_function() -> None:
    whole = helps(None)
    assert all(whole.values())
    for group in ["", *(one.words for one in GROUPS)]:
        listed = helps([*group.split(), "--help"])
        for command in COMMANDS:
            if command.group == group:
                assert listed[command.words] == inspect.cleandoc(whole[command.words] or "")


@pytest.mark.parametrize("words", [["--help"], ["alarm", "--help"], ["alarm", "route"]])
def test_help_imports_no_command(words: list[str]) -> None:
    assert imported(*words) == []


def test_a_command_imports_no_other_one() -> None:
    found = imported("--", "grants", "--help")
    assert "taskdb.cli.database.grants" in found
    assert not {"taskdb.cli.task.list", "taskdb.cli.alarm.alarm"} & set(found)

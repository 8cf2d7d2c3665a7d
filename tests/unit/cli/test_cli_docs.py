"""`taskdb docs`: every name that a user may read has an entry, and a page."""

import inspect
import json
import tomllib
from pathlib import Path

import pytest

from taskdb import errors
from taskdb.cli import main
from taskdb.cli.command_table import COMMANDS
from taskdb.cli.docs.entry import docs_folder, entries, matching
from taskdb.cli.failure import as_json
from taskdb.settings.settings import Settings

ROOT = Path(__file__).parents[3]
KNOWN = entries(docs_folder())
ERRORS = [one for one in vars(errors).values() if inspect.isclass(one) and hasattr(one, "code")]


@pytest.mark.parametrize("kind", ERRORS)
def test_an_error_has_an_entry_by_name_and_by_code_and_a_page(
    kind: type[errors.TaskDBError],
) -> None:
    for term in (kind.__name__, kind.code):
        assert matching(term, KNOWN)[0].page == "reference/errors.md"
    path, _, anchor = kind.page.partition("#")
    assert anchor in {entry.anchor for entry in KNOWN if entry.page == path}


def test_every_setting_and_every_command_has_an_entry() -> None:
    for name in Settings.model_fields:
        assert matching(f"TASKDB_{name.upper()}", KNOWN)[0].page == "reference/settings.md"
    missing = [one.words for one in COMMANDS if not matching(one.words, KNOWN)]
    assert missing == []


def test_a_word_is_found_in_any_spelling() -> None:
    for term in ("relay", "`relay`", "RELAY", "fan out"):
        assert matching(term, KNOWN)[0].page == "reference/glossary.md"
    assert matching("why-is-it-not-running", KNOWN)[0].title == "Why is it not running?"


def test_a_text_is_found_where_no_heading_has_it() -> None:
    assert matching("noeviction", KNOWN)[0].page == "how-to/go-to-production.md"


def test_the_entry_is_printed_with_its_file(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["docs", "TASK_NOT_FOUND"]) == 0

    title, text, place = capsys.readouterr().out.splitlines()
    assert (title, text[:18]) == ("Errors: TaskNotFound", "  TASK_NOT_FOUND ·")
    file, _, line = place.strip().rpartition(":")
    assert "`TaskNotFound`" in Path(file).read_text().splitlines()[int(line) - 1]


def test_a_site_gives_the_address_of_the_section(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKDB_DOCS_URL", "https://docs.example/taskdb/")
    assert main(["docs", "schedule", "add", "--json"]) == 0

    first, *_ = json.loads(capsys.readouterr().out)
    base = "https://docs.example/taskdb/reference/command-line.html"
    assert first["place"] == f"{base}#taskdb-schedule-add"


def test_a_wrong_setting_does_not_keep_its_own_entry_away(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TASKDB_HEARTBEAT_SECONDS", "soon")

    assert main(["docs", "TASKDB_HEARTBEAT_SECONDS"]) == 0
    assert "settings.md" in capsys.readouterr().out


def test_an_unknown_term_is_refused_with_the_nearest_one(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["docs", "WaitTimeot"]) == 2

    assert "did you mean 'WaitTimeout'?" in capsys.readouterr().err


def test_an_error_for_programs_names_its_page() -> None:
    assert as_json(errors.AlarmNotFound("x"))["page"] == "how-to/alarms.md"


def test_the_wheel_has_every_page() -> None:
    build = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    shipped = [ROOT / one for one in build["targets"]["wheel"]["force-include"]]

    left_out = [
        page
        for page in (ROOT / "docs").rglob("*.md")
        if not any(page == one or one in page.parents for one in shipped)
    ]
    assert left_out == []

"""The tasks and the settings of the demonstration: the embedded default in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from taskdb.cli.demo.expectation import Expectation
from taskdb.model.status import TaskStatus
from taskdb.settings.file import PREFIX
from taskdb.settings.settings import Settings

MODULES = (
    "taskdb.cli.demo.tasks.customers",
    "taskdb.cli.demo.tasks.customer_chunks",
    "taskdb.cli.demo.tasks.trials",
)
CUSTOMERS = Path(__file__).parent / "tasks" / "customers.csv"
ROWS, BAD_ROWS = 1_224, 24
ROWS_A_PART = 100
PARTS = 13
"""Of the import that is split."""
AHEAD = timedelta(seconds=2)

_IMPORTED = {"read": ROWS, "imported": ROWS - BAD_ROWS, "rejected": BAD_ROWS}


def demo_settings(folder: Path) -> Settings:
    """The embedded default in this folder, independent of the settings of the user."""
    return Settings.load({}, data_dir=folder / "data", task_modules=MODULES)


def demo_environment(environment: Mapping[str, str], folder: Path) -> dict[str, str]:
    """The same settings for child processes."""
    kept = {
        name: value for name, value in environment.items() if not name.upper().startswith(PREFIX)
    }
    return {
        **kept,
        "TASKDB_DATA_DIR": str(folder / "data"),
        "TASKDB_TASK_MODULES": ",".join(MODULES),
    }


def expectations(folder: Path) -> list[Expectation]:
    """The five tasks; the last one is split into parts."""
    mail, title = "aoife@example.com", "Ausgaben für Grüße"
    source = {"path": str(CUSTOMERS)}
    whole = {**source, "database": str(database_of(folder)), "pause_seconds": 0.1}
    split = {**source, "database": str(split_database_of(folder)), "pause_seconds": 0.2}
    return [
        Expectation(title="the import", type="customers.import", input=whole, result=_IMPORTED),
        Expectation(
            title="the mail",
            type="mail.welcome",
            input={"email": mail},
            attempts=3,
            result={"sent_to": mail, "attempt": 3},
        ),
        Expectation(
            title="the charge",
            type="card.charge",
            input={"customer": 17, "amount": "12.50"},
            status=TaskStatus.FAILED,
            attempts=2,
            error="PermissionError",
        ),
        Expectation(
            title="the report",
            type="report.nightly",
            input={"title": title},
            delay=AHEAD,
            result={"title": title, "pages": 3},
        ),
        Expectation(
            title="the import in parts",
            type="customers.import_file",
            input={**split, "rows_a_part": ROWS_A_PART},
            result=_IMPORTED,
            parts=PARTS,
        ),
    ]


def database_of(folder: Path) -> Path:
    """The database file of the import."""
    return folder / "customers.sqlite3"


def split_database_of(folder: Path) -> Path:
    """The database file of the import in parts."""
    return folder / "customers-in-parts.sqlite3"

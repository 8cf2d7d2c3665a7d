"""What the demonstration runs, and where: the embedded default in a folder of its own."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any

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


@dataclass(frozen=True, slots=True)
class Part:
    """One task of the demonstration: what is submitted, and what must come of it."""

    type: str
    input: Mapping[str, Any]
    expected: Expectation
    delay: timedelta | None = None


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


def parts(folder: Path) -> list[Part]:
    """The five tasks; the last one is split into parts."""
    return [
        Part(
            "customers.import",
            {"path": str(CUSTOMERS), "database": str(database_of(folder)), "pause_seconds": 0.1},
            Expectation(title="the import", status=TaskStatus.COMPLETED, result=_IMPORTED),
        ),
        Part(
            "mail.welcome",
            {"email": "aoife@example.com"},
            Expectation(
                title="the mail",
                status=TaskStatus.COMPLETED,
                attempts=3,
                result={"sent_to": "aoife@example.com", "attempt": 3},
            ),
        ),
        Part(
            "card.charge",
            {"customer": 17, "amount": "12.50"},
            Expectation(
                title="the charge", status=TaskStatus.FAILED, attempts=2, error="PermissionError"
            ),
        ),
        Part(
            "report.nightly",
            {"title": "Ausgaben für Grüße"},
            Expectation(
                title="the report",
                status=TaskStatus.COMPLETED,
                result={"title": "Ausgaben für Grüße", "pages": 3},
                waited=AHEAD,
            ),
            delay=AHEAD,
        ),
        Part(
            "customers.import_file",
            {
                "path": str(CUSTOMERS),
                "database": str(split_database_of(folder)),
                "rows_a_part": ROWS_A_PART,
                "pause_seconds": 0.2,
            },
            Expectation(
                title="the import in parts",
                status=TaskStatus.COMPLETED,
                result=_IMPORTED,
                parts=PARTS,
            ),
        ),
    ]


def database_of(folder: Path) -> Path:
    """Where the import puts the customers."""
    return folder / "customers.sqlite3"


def split_database_of(folder: Path) -> Path:
    """Where the import in parts puts them."""
    return folder / "customers-in-parts.sqlite3"

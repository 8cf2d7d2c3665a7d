"""The text of every statement is what the files of this folder say."""

import pytest

from tests.store.engine.statements import DATABASES, FOLDER, written


@pytest.mark.parametrize("database", DATABASES)
def test_every_statement_is_as_its_file_says(database: str) -> None:
    file = FOLDER / f"{database}.sql"
    assert file.read_text() == written(database), (
        "a statement changed: run python -m tests.store.engine.statements, and read the difference"
    )

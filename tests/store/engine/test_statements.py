"""The text of every statement is what the files of this folder say."""

import pytest

from taskdb.store.doctor.statistics import RUN_SECONDS, WAIT_SECONDS
from taskdb.store.engine.dialects import spoken
from taskdb.store.engine.sql_text import columns_of
from taskdb.store.task.statements import queries_of
from tests.store.engine.statements import DATABASES, FOLDER, written


@pytest.mark.parametrize("database", DATABASES)
def test_every_statement_is_as_its_file_says(database: str) -> None:
    file = FOLDER / f"{database}.sql"
    assert file.read_text() == written(database), (
        "a statement changed: run python -m tests.store.engine.statements, and read the difference"
    )


def test_a_statement_of_one_database_is_none_of_the_other() -> None:
    queries = {name: queries_of(spoken(name), "doctor/vacuum") for name in DATABASES}
    assert "slots" in queries["postgresql"].names
    assert "pg_replication_slots" in queries["postgresql"].slots
    with pytest.raises(AttributeError):
        _ = queries["sqlite"].slots


def test_columns_begin_with_those_that_their_header_names() -> None:
    columns = columns_of("adopted/queries")
    assert list(columns["born"]) == [*columns["written"], "tenant"]


@pytest.mark.parametrize("database", DATABASES)
def test_the_buckets_of_the_statistics_have_the_bounds_of_their_module(database: str) -> None:
    page = queries_of(spoken(database), "doctor/statistics").page
    for name, bounds in (("wait", WAIT_SECONDS), ("run", RUN_SECONDS)):
        for place, bound in enumerate(bounds):
            assert f"count(CASE WHEN {name} <= {bound} THEN 1 END) AS {name}_{place}," in page
        assert f"{name}_{len(bounds)}" not in page

"""The pytest plugin, in a pytest of a user's own."""

import subprocess
import sys
from pathlib import Path

TESTS = """
import sys
from sqlalchemy import create_engine, text
from taskdb import submit_task, task
from taskdb.testing import assert_submitted, drain

@task("mail.send")
def send(to: str) -> str:
    return f"sent to {to}"

def test_one(rehearsal, taskdb_url):
    submit_task("mail.send", {"to": "ada"})
    assert_submitted("mail.send", input={"to": "ada"}, count=1)
    assert [one.result for one in drain().tasks] == ["sent to ada"]
    engine = create_engine(taskdb_url)
    with engine.connect() as connection:
        found = connection.execute(text("SELECT status FROM taskdb_task"))
        assert found.scalars().all() == ["COMPLETED"]
    engine.dispose()

def test_another_has_a_database_of_its_own(rehearsal):
    assert rehearsal.submitted() == []
"""
BARE = """
import sys

def test_nothing_was_imported():
    names = {name.partition(".")[0] for name in sys.modules}
    assert "pytest_taskdb" in names
    assert not names & {"taskdb", "taskdb_worker", "celery", "sqlalchemy", "pydantic"}
"""


def test_its_fixtures_are_there_and_cost_nothing_unless_they_are_asked_for(tmp_path: Path) -> None:
    (tmp_path / "test_mail.py").write_text(TESTS)
    (tmp_path / "bare").mkdir()
    (tmp_path / "bare" / "test_bare.py").write_text(BARE)
    for words in (["bare"], ["test_mail.py"]):
        # Those plugins of others import Celery, where they are installed.
        alone = ("-p", "no:celery", "-p", "no:docker_tools")
        command = [sys.executable, "-m", "pytest", "-q", "-W", "error", *alone, *words]
        ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
        assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "2 passed" in ended.stdout

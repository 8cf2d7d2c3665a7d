"""The second tutorial, and the section of the README about the same, run as they are written."""

import re
import signal
import sys
from pathlib import Path

import pytest
from tests.integration.cli_site import REPOSITORY, Site, cli
from tests.processes import Processes

pytestmark = pytest.mark.long

__all__ = ["cli"]

TUTORIAL = (REPOSITORY / "docs" / "tutorials" / "fan-out-and-sequence.md").read_text()
QUICKSTART = REPOSITORY / "examples" / "quickstart"


def programs() -> list[tuple[str, str]]:
    """Each program that the page runs, with what it says comes of it."""
    found = re.findall(r"```console\npython (\S+)\n```\n\n```text\n(.*?)```", TUTORIAL, re.DOTALL)
    assert [name for name, _ in found] == ["send_list.py", "send_all.py", "close_month.py"]
    return found


def code_blocks() -> list[tuple[str, str]]:
    return re.findall(r"```python\n# (\S+)\n(.*?)```", TUTORIAL, re.DOTALL)


@pytest.mark.parametrize(("path", "code"), code_blocks(), ids=lambda part: part[:40])
def test_the_code_of_the_tutorial_is_that_of_the_examples(path: str, code: str) -> None:
    assert (REPOSITORY / path).read_text().strip() == code.strip()


def test_every_program_of_the_tutorial_prints_what_the_page_says(
    cli: Site, processes: Processes, tmp_path: Path
) -> None:
    path = f"{QUICKSTART}:{cli.environment['PYTHONPATH']}"
    cli.environment.update(TASKDB_TASK_MODULES="invoice_tasks", PYTHONPATH=path)
    dev = cli.start("dev", "-c", "2")
    for name, said in programs():
        ran = processes(sys.executable, QUICKSTART / name, env=cli.environment, cwd=tmp_path)
        assert ran.wait(60) == 0, dev.tail()
        assert ran.output == said, name
    (tmp_path / "numbers.csv").write_text("number\n2031-06/001\n2031-06/002\n")
    words = ("create-fan-out", "invoice.send", "--items-file", "numbers.csv", "--wait")
    created = cli.start(*words)
    assert created.wait(60) == 0, created.output
    assert "2/2  2 succeeded" in created.output
    dev.signal(signal.SIGTERM)
    assert dev.wait(40) == 0

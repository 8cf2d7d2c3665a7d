"""The lines of the web examples' READMEs, on real processes."""

import re
import shlex
import socket
import sys
from pathlib import Path

import pytest
from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

pytestmark = pytest.mark.long

EXAMPLES = Path(__file__).parents[3] / "examples"
TESTED = {"flask_app": "3 passed", "fastapi_app": "2 passed"}
MODULES = {"flask": "flask", "taskdb": "taskdb.cli"}


@pytest.mark.parametrize("name", TESTED)
def test_the_lines_of_the_readme_do_what_it_says(
    name: str, tmp_path: Path, processes: Processes
) -> None:
    readme = (EXAMPLES / name / "README.md").read_text()
    blocks = re.findall(r"```console\n(.*?)```", readme, re.DOTALL)
    tests, prepare, serve, order, too_much = (block.strip().splitlines() for block in blocks)
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    environment = {
        "SHOP_DATA": str(tmp_path),
        "TASKDB_DATA_DIR": str(tmp_path),
        "TASKDB_TASK_MODULES": "shop",
    }

    def start(line: str) -> RunningProcess:
        words = [word.replace("8765", str(port)) for word in shlex.split(line)]
        if words[0] in MODULES:
            words = ["python", "-m", MODULES[words[0]], *words[1:]]
        if words[0] == "python":
            words[0] = sys.executable
        return processes(*words, env=environment, cwd=EXAMPLES / name)

    def run(line: str) -> str:
        process = start(line)
        assert process.wait(60) == 0, process.tail()
        return process.output

    for line in prepare:
        run(line)
    servers = [start(line) for line in serve]
    own = start(f"{tests[0]} -p no:cacheprovider")
    wait_until(lambda: listens(port), 60, lambda: f"the server: {servers[0].tail()}")
    assert '"order":1' in run(order[0])
    wait_until(lambda: '"confirmed"' in run(order[1]), 60, servers[1].tail)
    assert "too much" in run(too_much[0])
    listed = run(order[2])
    assert listed.count('"type": "order.confirm"') == 1
    assert '"created_ip": "127.0.0.1"' in listed
    assert name == "fastapi_app" or "ada" in listed
    assert own.wait(60) == 0, own.tail()
    assert TESTED[name] in own.output


def listens(port: int) -> bool:
    with socket.socket() as caller:
        return caller.connect_ex(("127.0.0.1", port)) == 0

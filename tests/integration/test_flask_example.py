"""The lines of the Flask example's README, on real processes."""

import re
import shlex
import socket
from pathlib import Path

from tests.processes import Processes, RunningProcess
from tests.waiting import wait_until

FOLDER = Path(__file__).parents[2] / "examples" / "flask_app"
SERVERS = 3


def test_the_lines_of_the_readme_do_what_it_says(tmp_path: Path, processes: Processes) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    blocks = re.findall(r"```console\n(.*?)```", (FOLDER / "README.md").read_text(), re.DOTALL)
    tests, prepare, serve, order, too_much = (block.strip().splitlines() for block in blocks)

    def start(line: str) -> RunningProcess:
        words = [word.replace("8765", port) for word in shlex.split(line)]
        env = {"SHOP_DATA": str(tmp_path / "data")}
        if words[0] == "flask":
            return processes.python("-m", *words, env=env, cwd=FOLDER)
        if words[0] == "python":
            return processes.python(*words[1:], env=env, cwd=FOLDER)
        return processes(*words, env=env, cwd=FOLDER)

    def run(line: str) -> str:
        process = start(line)
        assert process.wait(60) == 0, process.tail()
        return process.output

    own = start(tests[0].replace("-q", "-q -p no:cacheprovider"))
    for line in prepare:
        run(line)
    assert len(serve) == SERVERS
    for line in serve:
        start(line)
    wait_until(lambda: socket.socket().connect_ex(("127.0.0.1", int(port))) == 0, 60)
    placed = run(order[0])
    assert '"order":1' in placed
    wait_until(lambda: '"status":"confirmed"' in run(order[1]), 60, "the worker to confirm it")
    assert '"error":"too much"' in run(too_much[0])
    listed = run(order[2])
    assert '"created_by": "ada"' in listed
    assert listed.count('"type": "order.confirm"') == 1
    assert own.wait(60) == 0, own.tail()
    assert "3 passed" in own.output

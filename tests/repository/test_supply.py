"""What the image installs: locked by hash, listed, and asked about at the package index."""

import json
import os
import re
import shutil
import subprocess
import sys
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
HASHED = ROOT / "deploy/constraints-hashed.txt"
FILES = (HASHED, ROOT / "deploy/constraints-build-hashed.txt")
RELEASES = re.findall(r"^([\w.-]+)==(\S+) \\$", HASHED.read_text(), re.MULTILINE)
ONE = f"some-package==1.2 \\\n    --hash=sha256:{'0' * 64}\n"
KNOWN: dict[str, Any] = {
    "id": "PYSEC-1", "aliases": ["CVE-1"], "fixed_in": ["1.3"], "summary": "bad", "withdrawn": None,
}  # fmt: skip


def run(script: str, *words: str, folder: Path = ROOT, **variables: str) -> Any:
    return subprocess.run(
        [sys.executable, str(folder / "deploy" / script), *words],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    for name in ("constraints.txt", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "deploy", tmp_path / "deploy")
    return tmp_path


# --- the lock ---------------------------------------------------------------------------------


def test_the_hashes_are_of_the_versions_that_the_tests_run_on() -> None:
    done = run("lock.py", "--check")
    assert done.returncode == 0, done.stderr
    assert len(RELEASES) > 40


def test_a_pin_that_moved_without_its_hash_is_named(copy: Path) -> None:
    pins = copy / "constraints.txt"
    pins.write_text(re.sub(r"^celery==.*$", "celery==5.7.99", pins.read_text(), flags=re.MULTILINE))

    done = run("lock.py", "--check", folder=copy)
    assert done.returncode == 1
    assert "constraints-hashed.txt: celery==5.7.0" in done.stderr
    assert "make lock" in done.stderr


def test_a_requirement_without_a_hash_is_named(copy: Path) -> None:
    project = copy / "pyproject.toml"
    project.write_text(
        project.read_text().replace('    "cronsim', '    "newcomer>=1",\n    "cronsim')
    )

    done = run("lock.py", "--check", folder=copy)
    assert done.returncode == 1
    assert "no newcomer" in done.stderr


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_pip_finds_a_hash_for_every_line_and_no_address(file: Path) -> None:
    text = file.read_text()
    lines = [line for line in text.splitlines() if line and line[0] not in "# "]

    assert lines
    assert all(re.fullmatch(r"[\w.-]+==\S+ \\", line) for line in lines)
    assert len(re.findall(r"--hash=sha256:[0-9a-f]{64}$|--hash=\S+ \\$", text, re.MULTILINE))
    assert "://" not in text
    assert "index" not in text


def test_every_extra_that_a_role_could_need_is_in_the_image() -> None:
    known = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    names = {name for name, _ in RELEASES}

    # Those that it leaves out are for developers, and for applications that bring their framework.
    for extra in set(known) - {"dev", "docs", "containers", "django", "django6", "flask"}:
        for one in known[extra]:
            name = re.split(r"[^\w.-]", one, maxsplit=1)[0].lower().replace("_", "-")
            assert name in names, f"{extra}: {one}"


# --- the bill of materials --------------------------------------------------------------------


def test_the_bill_lists_every_package_with_its_hashes_and_is_the_same_each_time(
    tmp_path: Path,
) -> None:
    assert run("sbom.py", str(tmp_path / "sbom.json")).returncode == 0
    written = (tmp_path / "sbom.json").read_text()
    assert run("sbom.py").stdout == written

    bill = json.loads(written)
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    assert [(one["name"], one["version"]) for one in bill["components"]] == RELEASES
    assert all(one["purl"].startswith("pkg:pypi/") for one in bill["components"])
    assert all(one["hashes"] for one in bill["components"])
    assert bill["metadata"]["component"]["name"] == "celery-taskdb"


# --- the audit --------------------------------------------------------------------------------


class Index(BaseHTTPRequestHandler):
    """A package index that answers about one release."""

    answer: tuple[int, Any] = (404, {})

    def do_GET(self) -> None:
        status, document = self.answer if self.path == "/pypi/some-package/1.2/json" else (404, {})
        self.send_response(status)
        self.end_headers()
        self.wfile.write(json.dumps(document).encode())

    def log_message(self, *_: object) -> None:
        """Nothing: the tests write enough."""


@pytest.fixture
def index() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Index)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}/simple/"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize(
    ("status", "document", "words", "code", "said"),
    [
        (200, {"vulnerabilities": []}, (), 0, "1 packages, 0 known"),
        (200, {"vulnerabilities": [KNOWN]}, (), 1, "==1.2: PYSEC-1, CVE-1; mended by 1.3"),
        (200, {"vulnerabilities": [KNOWN]}, ("--ignore", "CVE-1"), 0, "0 known"),
        (200, {"vulnerabilities": [{**KNOWN, "withdrawn": "2026"}]}, (), 0, "0 known"),
        (200, {"vulnerabilities": [{**KNOWN, "fixed_in": []}]}, (), 1, "mended by no release"),
        (200, {"info": {}}, (), 2, "does not say"),
        (200, ["page"], (), 2, "no document"),
        (404, {}, (), 2, "404"),
        (500, {}, (), 2, "Nothing was audited"),
    ],
)  # fmt: skip
def test_an_audit_says_what_is_known_and_never_passes_without_an_answer(
    index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
    status: int, document: Any, words: tuple[str, ...], code: int, said: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(Index, "answer", (status, document))
    file = tmp_path / "hashed.txt"
    file.write_text(ONE)

    done = run("audit.py", str(file), *words, PIP_INDEX_URL=index)
    assert done.returncode == code, done.stderr
    assert said in done.stdout + done.stderr


def test_an_audit_of_nothing_and_one_without_an_index_are_errors(tmp_path: Path) -> None:
    file = tmp_path / "hashed.txt"
    file.write_text(ONE)
    away = run("audit.py", str(file), PIP_INDEX_URL="http://127.0.0.1:1/simple")
    assert away.returncode == 2
    assert "Nothing was audited" in away.stderr

    file.write_text("# nothing\n")
    assert run("audit.py", str(file)).returncode == 2

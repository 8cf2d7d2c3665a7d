"""A virtual environment with the wheel in it, on one version of Python and of Django."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

from tests.versions.distribution import Distribution
from tests.versions.servers import Missing

WORKERS = "4"


class Environment:
    """Installs the wheel with what the tests need; runs them in the tree without packages."""

    def __init__(self, folder: Path, python: Path, version: str, django: str = "") -> None:
        self._home = folder / f"python-{version}{'-' if django else ''}{django}"
        self._created_by = python
        self._django = django

    def install(self, distribution: Distribution) -> None:
        """Install into a new environment, or replace the wheel in the one of an earlier run."""
        self._tree = distribution.tree
        if not (self._home / "bin" / "python").exists():
            subprocess.run([self._created_by, "-m", "venv", self._home], check=True)
        pins = self._home / "constraints.txt"
        text = distribution.constraints.read_text()
        if self._django:
            text = re.sub(r"(?m)^django==.*$", self._django, text)
        pins.write_text(text)
        self._pip("--upgrade", "pip", "hatchling")
        self._pip(f"{distribution.wheel}[dev]")
        self._pip("--force-reinstall", "--no-deps", str(distribution.wheel))

    def test(self, words: tuple[str, ...], variables: dict[str, str]) -> tuple[int, str]:
        """Run pytest; return its exit code and the last line that it printed."""
        env = {
            name: value
            for name, value in os.environ.items()
            if name not in ("PYTHONPATH", "VIRTUAL_ENV")
        }
        env |= {"CI": "true", "PATH": f"{self._home / 'bin'}:{env['PATH']}", **variables}
        command = ["bin/python", "-m", "pytest", "--quiet", "-n", WORKERS, "--dist", "worksteal"]
        command[0] = str(self._home / command[0])
        process = subprocess.Popen(
            [*command, *words],
            cwd=self._tree,
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert process.stdout is not None
        last = ""
        for line in process.stdout:
            print(line, end="", flush=True)
            last = line.strip("= \n") or last
        return process.wait(), last

    def check_types(self) -> None:
        """Let mypy read code of a user with the installed wheel; an error ends the command."""
        mypy = [self._home / "bin" / "python", "-m", "mypy", "--strict", "--config-file="]
        user = self._tree / "tests" / "repository" / "typed_user.py"
        subprocess.run([*mypy, user], cwd=self._home, check=True)

    def _pip(self, *words: str) -> None:
        pip = [self._home / "bin" / "python", "-m", "pip", "-qq", "--disable-pip-version-check"]
        pins = ["--constraint", self._home / "constraints.txt"]
        subprocess.run([*pip, "install", *pins, *words], check=True)


def python_named(version: str) -> Path:
    """Return the interpreter of a version: on the path, or one of pyenv's."""
    places = [shutil.which(f"python{version}")]
    places += sorted(map(str, Path.home().glob(f".pyenv/versions/{version}.*/bin/python")))
    for place in filter(None, places):
        works = subprocess.run(
            [place, "-c", "import ensurepip, sys; print('%d.%d' % sys.version_info[:2])"],
            capture_output=True,
            text=True,
            check=False,
        )
        if works.stdout.strip() == version:
            return Path(place)
    raise Missing(f"no Python {version} with ensurepip is on the path or in pyenv")

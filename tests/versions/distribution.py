"""The wheel and the sdist of this tree, and a tree of tests without the code that they test."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

PACKAGES = ("taskdb", "worker", "beat")


class Distribution:
    """What a release would publish, built from the files that git knows."""

    def __init__(self, repository: Path, folder: Path) -> None:
        self._repository = repository
        self._folder = folder
        self.tree = folder / "tree"
        """Tests, examples and docs; the packages are not in it."""

    @property
    def wheel(self) -> Path:
        [wheel] = (self._folder / "built").glob("*.whl")
        return wheel

    @property
    def constraints(self) -> Path:
        return self.tree / "constraints.txt"

    def build(self) -> None:
        """Build both; a wheel made from the sdist must have the same files, with the same bytes."""
        built, sources = self._folder / "built", self._folder / "sources"
        for folder in (built, sources, self.tree):
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
        self._copy(sources, with_packages=True)
        self._copy(self.tree, with_packages=False)
        self._hatch(sources, built)
        [sdist] = built.glob("*.tar.gz")
        unpacked = sources / "from-sdist"
        unpacked.mkdir()
        subprocess.run(["tar", "-xzf", sdist, "-C", unpacked, "--strip-components=1"], check=True)
        self._hatch(unpacked, unpacked / "built", "-t", "wheel")
        [again] = (unpacked / "built").glob("*.whl")
        assert _contents(again) == _contents(self.wheel), "the sdist makes another wheel"
        shutil.rmtree(sources)

    def _copy(self, target: Path, *, with_packages: bool) -> None:
        listed = subprocess.run(
            ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
            cwd=self._repository,
            capture_output=True,
            check=True,
            text=True,
        ).stdout
        for name in filter(None, listed.split("\0")):
            path = self._repository / name
            if path.is_file() and (with_packages or Path(name).parts[0] not in PACKAGES):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(path, target / name)

    @staticmethod
    def _hatch(sources: Path, target: Path, *words: str) -> None:
        command = [sys.executable, "-m", "hatchling", "build", "-d", str(target), *words]
        subprocess.run(command, cwd=sources, check=True, stdout=subprocess.DEVNULL)


def _contents(wheel: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(wheel) as archive:
        return {name: archive.read(name) for name in archive.namelist()}

"""Run the store tests of the previous release, with its code, on databases that this tree migrated.

    python -m tests.upgrade [COMMIT] [-- WORDS FOR PYTEST]

The previous release is the newest tag that this commit stands on, and, where there is none yet, the
newest commit without the newest migration. Needs a clone with its history.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import tempfile
from io import BytesIO
from pathlib import Path

from tests.releases import REPOSITORY, Release

MIGRATIONS = "taskdb/taskdb/store/migrations/versions"
# They are about the migrations themselves: which the newest is, and what an older schema lacks.
ABOUT_MIGRATIONS = ("test_migrate", "test_lock", "test_upgrade", "test_migration_steps")
NO_HISTORY = (
    "the history of this clone ends before the previous release. Fetch it: git fetch --unshallow"
)


class HistoryMissingError(Exception):
    """Git cannot say which the previous release is."""


def main(words: list[str]) -> int:
    """Return the exit code of the tests, 2 where the history is missing."""
    end = words.index("--") if "--" in words else len(words)
    given, more = words[:end], words[end + 1 :]
    try:
        commit = given[0] if given else previous()
    except HistoryMissingError as error:
        print(f"no test of an upgrade: {error}", file=sys.stderr)
        return 2
    print("store tests of", _git("log", "-1", "--format=%h %s", commit).strip())
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        archive = subprocess.run(
            ["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True
        ).stdout
        with tarfile.open(fileobj=BytesIO(archive)) as packed:
            packed.extractall(tree, filter="data")
        return run(Release(tree), more)


def run(old: Release, words: list[str]) -> int:
    """Run the store tests of a tree, each on a database that this tree has migrated."""
    path = os.pathsep.join([old.env["PYTHONPATH"], str(Path(__file__).parent)])
    left_out = [f"--ignore=tests/store/{name}.py" for name in ABOUT_MIGRATIONS]
    command = [sys.executable, "-m", "pytest", "--quiet", "-p", "newer_schema", "tests/store"]
    env = {**os.environ, "PYTHONPATH": path, "UPGRADE_TO": str(REPOSITORY)}
    return subprocess.run(
        [*command, *left_out, *words], cwd=old.tree, env=env, check=False
    ).returncode


def previous() -> str:
    """Return the commit of the previous release."""
    tag = _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD~1", fails=True).strip()
    if tag:
        return tag
    if "??" in _git("status", "--porcelain", MIGRATIONS):
        return "HEAD"
    added = ("log", "-1", "--diff-filter=A", "--format=%H %P", "HEAD", "--")
    commits = _git(*added, f"{MIGRATIONS}/0*_*.py").split()
    if len(commits) < 2 or not _git("cat-file", "-t", commits[1], fails=True):
        raise HistoryMissingError(NO_HISTORY)
    return commits[1]


def _git(*words: str, fails: bool = False) -> str:
    """Return what git says; where it `fails` and may, nothing."""
    done = subprocess.run(
        ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    if done.returncode and not fails:
        raise HistoryMissingError(done.stderr.strip())
    return "" if done.returncode else done.stdout


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

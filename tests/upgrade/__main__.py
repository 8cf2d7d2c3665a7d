"""Run the store tests of the previous release, with its code, on databases that this tree migrated.

    python -m tests.upgrade [COMMIT] [-- WORDS FOR PYTEST]

The previous release is the newest tag `v…` that this commit stands on. Without one there is nothing
to run; CHANGELOG.md says whether a release exists, and then a clone without its tags is an error.

A test that fails is run again on the schema of its own release, and then once more on this one:
only a test that passes there and fails here twice is a finding.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.releases import REPOSITORY, Release

# The verbs that a process of the older release uses while two releases work, in three minutes.
# Left out are the tests of migrations, those that search at random or for a minute, and those of
# one function of the store.
TESTS = (
    "create", "run", "life", "rescue", "expire", "reconcile", "publish", "admission",
    "intervention", "fan_out", "sequence", "callback", "chunk", "reading", "notify", "alarm",
    "alarm_watch", "prune", "adopting", "sweep", "restore",
)  # fmt: skip
LAST_FAILED = Path(".pytest_cache/v/cache/lastfailed")
RELEASED = re.compile(r"^## \[\d", re.MULTILINE)
"""A release in CHANGELOG.md."""


def main(words: list[str]) -> int:
    """Return the exit code of the tests; 0 without a release before, 2 without the history."""
    end = words.index("--") if "--" in words else len(words)
    given, more = words[:end], words[end + 1 :]
    commit = given[0] if given else previous()
    if commit is None and RELEASED.search((REPOSITORY / "CHANGELOG.md").read_text()):
        print("this clone lacks the tag of the release before: git fetch --tags", file=sys.stderr)
        return 2
    if commit is None:
        print("no release before this one: nothing to run")
        return 0
    print("store tests of", _git("log", "-1", "--format=%h %s", commit))
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder)
        archive = subprocess.run(
            ["git", "archive", commit], cwd=REPOSITORY, capture_output=True, check=True
        ).stdout
        subprocess.run(["tar", "--extract"], input=archive, cwd=tree, check=True)
        return run(Release(tree), more)


def run(old: Release, words: list[str]) -> int:
    """Run the store tests of a tree, each on a database that this tree has migrated."""
    code, failed = _tests(old, words, is_newer=True)
    if code > 1 or not failed:
        print(f"verdict: {'the tests did not run' if code else 'the release before works'}")
        return code
    _, also_before = _tests(old, [*words, "--last-failed"], is_newer=False)
    found = failed - also_before
    if found:
        code, again = _tests(old, [*words, "--last-failed"], is_newer=True, of=found)
        found &= again
    for name in sorted(also_before):
        print(f"not counted, it fails on its own schema as well: {name}")
    for name in sorted(failed - also_before - found):
        print(f"not counted, it passes when it is run again: {name}")
    for name in sorted(found):
        print(f"fails on the schema of this release alone: {name}")
    print(f"verdict: {f'{len(found)} tests fail' if found else 'the release before works'}")
    return 1 if found else 0


def _tests(
    old: Release, words: list[str], *, is_newer: bool, of: set[str] | None = None
) -> tuple[int, set[str]]:
    """Run the tests, or those that are written down as failed; return which fail."""
    record = old.tree / LAST_FAILED
    if of is not None:
        record.write_text(json.dumps(dict.fromkeys(of, True)))
    files = [
        str(file) for name in TESTS for file in old.tree.glob(f"tests/store/**/test_{name}.py")
    ]
    plugin = ["-p", "newer_schema"] if is_newer else []
    path = os.pathsep.join([old.env["PYTHONPATH"], str(Path(__file__).parent)])
    env = {**os.environ, "PYTHONPATH": path, "UPGRADE_TO": str(REPOSITORY)}
    print(f"\non the schema of {'this release' if is_newer else 'the release before'}:", flush=True)
    command = [sys.executable, "-m", "pytest", "--quiet", "--tb=short", *plugin, *files, *words]
    code = subprocess.run(command, cwd=old.tree, env=env, check=False).returncode
    return code, set(json.loads(record.read_text())) if code and record.exists() else set()


def previous() -> str | None:
    """Return the tag of the previous release; None where git knows none."""
    return _git("describe", "--tags", "--abbrev=0", "--match", "v*", "HEAD~1") or None


def _git(*words: str) -> str:
    """Return what git prints; nothing where it fails."""
    done = subprocess.run(
        ["git", *words], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    return "" if done.returncode else done.stdout.strip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

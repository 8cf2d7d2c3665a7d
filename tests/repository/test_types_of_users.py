"""What a type checker finds in the code of a user."""

import os
import subprocess
import sys
from pathlib import Path

REPOSITORY = Path(__file__).parents[2]
USER = Path(__file__).with_name("typed_user.py")
PACKAGES = ("taskdb", "worker", "beat")
MYPY = (sys.executable, "-m", "mypy", "--strict", "--no-error-summary", "--config-file=")


def test_the_code_of_a_user_has_the_promised_types() -> None:
    assert checked(USER) == ""


def test_a_wrong_option_of_a_user_is_found(tmp_path: Path) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text('from taskdb import submit_task\n\nsubmit_task("a", {}, quueue="b")\n')
    assert 'Unexpected keyword argument "quueue"' in checked(wrong)


def checked(file: Path) -> str:
    """Return what mypy says of a file in strict mode, without the settings of this repository."""
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "mypy",
            "--strict",
            "--no-error-summary",
            "--config-file=",
            str(file),
        ],
        cwd=REPOSITORY,
        env={
            **os.environ,
            "MYPYPATH": os.pathsep.join(map(str, map(REPOSITORY.joinpath, PACKAGES))),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout + done.stderr

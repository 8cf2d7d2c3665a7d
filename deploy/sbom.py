"""Writes the bill of materials of the image: CycloneDX 1.6, from the hashed requirements.

    python deploy/sbom.py [FILE]      to standard output, or to a file

The same requirements give the same document.
"""

import json
import sys
import tomllib
import uuid
from pathlib import Path
from typing import Any

import requirement_file

ROOT = Path(__file__).parents[1]
HASHED = Path(__file__).with_name("constraints-hashed.txt")


def main(words: list[str]) -> int:
    text = json.dumps(document(HASHED), indent=2) + "\n"
    if words:
        Path(words[0]).write_text(text)
    else:
        sys.stdout.write(text)
    return 0


def document(file: Path) -> dict[str, Any]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    own = component("application", project["name"], project["version"])
    own["licenses"] = [{"license": {"id": project["license"]}}]
    parts = [
        component("library", one.name, one.version, one.hashes)
        for one in requirement_file.read(file)
    ]
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_URL, file.read_text())}",
        "version": 1,
        "metadata": {"component": own},
        "components": parts,
        "dependencies": [{"ref": own["bom-ref"], "dependsOn": [one["bom-ref"] for one in parts]}],
    }


def component(kind: str, name: str, version: str, hashes: tuple[str, ...] = ()) -> dict[str, Any]:
    """One package; it has a hash for each of its files that the image may install."""
    address = f"pkg:pypi/{name}@{version}"
    found: dict[str, Any] = {
        "type": kind, "bom-ref": address, "name": name, "version": version, "purl": address,
    }  # fmt: skip
    if hashes:
        found["hashes"] = [{"alg": "SHA-256", "content": one} for one in hashes]
    return found


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

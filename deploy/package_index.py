"""The package index that pip is configured for, and what it says of one package."""

import json
import os
import ssl
import subprocess
import sys
from typing import Any
from urllib.request import Request, urlopen

SECONDS = 60


class NoAnswer(Exception):
    """The index gives no answer, or none that can be used."""


def asked(path: str, accept: str = "application/json") -> dict[str, Any]:
    """The document below the root of the index; raises NoAnswer."""
    request = Request(f"{root()}/{path}", headers={"Accept": accept})
    trusted = ssl.create_default_context(cafile=os.environ.get("PIP_CERT"))
    try:
        with urlopen(request, timeout=SECONDS, context=trusted) as answer:
            found = json.load(answer)
    except (OSError, ValueError) as error:
        raise NoAnswer(f"the package index gives no {path}: {error}") from None
    if not isinstance(found, dict):
        raise NoAnswer(f"the package index gives no document for {path}")
    return found


def root() -> str:
    """Its address without the last part, `simple`."""
    configured = (
        os.environ.get("PIP_INDEX_URL")
        or subprocess.run(
            [sys.executable, "-m", "pip", "config", "get", "global.index-url"],
            capture_output=True,
            text=True,
            check=False,
        ).stdout.strip()
    )
    if not configured:
        from pip._internal.models.index import PyPI  # noqa: PLC0415 - its default has no other name

        configured = PyPI.simple_url
    return configured.rstrip("/").removesuffix("/simple")

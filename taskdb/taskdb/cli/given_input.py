"""The input of a task as the command line gives it: `--input`, and one option a field."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from taskdb.errors import Fault, InvalidInput


def read_input(given: str | None, fields: dict[str, Any]) -> Any:
    """The whole input; a field option wins over the same field in `--input`.

    Raises InvalidInput for what is no JSON, or for fields beside an input that is no object.
    """
    if given is None:
        return fields or None
    value = _parse(_text_of(given))
    if not fields:
        return value
    if isinstance(value, dict):
        return {**value, **fields}
    raise _wrong("is no JSON object, so it cannot be joined with options of single fields")


def _text_of(given: str) -> str:
    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise _wrong(f"cannot be read: {error}") from None


def _parse(text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        advice = f"is not JSON ({error}); a file is named as @file, standard input as -"
        raise _wrong(advice) from None


def _wrong(advice: str) -> InvalidInput:
    return InvalidInput("the command", [Fault("--input", advice)])

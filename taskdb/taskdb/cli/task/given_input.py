"""JSON as the command line gives it: `--input` with one option a field, or another option."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from taskdb.cli.usage import wrong_usage


def read_input(given: str | None, fields: dict[str, Any]) -> Any:
    """The whole input; a field option wins over the same field in `--input`.

    Raises InvalidInput for what is no JSON, or for fields beside an input that is no object.
    """
    if given is None:
        return fields or None
    value = read_json(given, "--input")
    if not fields:
        return value
    if isinstance(value, dict):
        return {**value, **fields}
    advice = "is no JSON object, so it cannot be joined with options of single fields"
    raise wrong_usage("--input", advice)


def read_json(given: str, option: str) -> Any:
    """The value of an option: JSON itself, `@FILE`, or `-` for standard input.

    Raises InvalidInput.
    """
    try:
        return json.loads(_text_of(given, option))
    except (ValueError, RecursionError) as error:
        advice = f"is not JSON ({error}); a file is named as @file, standard input as -"
        raise wrong_usage(option, advice) from None


def _text_of(given: str, option: str) -> str:
    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise wrong_usage(option, f"cannot be read: {error}") from None

"""The beginning of an id or of a code, as a range of ids."""

from __future__ import annotations

import re
from uuid import UUID

FEWEST = 6
"""The fewest characters that count as a beginning."""
_HEX = re.compile(rf"[0-9a-f]{{{FEWEST},31}}")
_CODE = re.compile(rf"[0-7][0-9A-HJKMNP-TV-Z]{{{FEWEST - 1},24}}")
_LETTERS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


def id_ranges(text: str) -> list[tuple[str, str]]:
    """Return the first and the last id that begin so, for an id and for a code.

    Empty for a text that cannot be the beginning of either, and for one that is whole.
    """
    spelled = text.replace("-", "").lower()
    found = []
    if _HEX.fullmatch(spelled):
        found.append((UUID(spelled.ljust(32, "0")), UUID(spelled.ljust(32, "f"))))
    if _CODE.fullmatch(text.upper()):
        number = 0
        for letter in text.upper():
            number = number * 32 + _LETTERS.index(letter)
        rest = 130 - 5 * len(text)
        first = number << rest
        found.append((UUID(int=first), UUID(int=first + (1 << rest) - 1)))
    return [(str(first), str(last)) for first, last in found]

"""The reason why a process of a worker waits, for its main process.

The processes share a little memory, made before the pool forks. It holds one notice, the newest. A
notice expires by itself, since a process that is ended withdraws none.
"""

from __future__ import annotations

import mmap
import struct
import time

_UNTIL = struct.Struct("d")
_LENGTH = struct.Struct("H")
_HEAD = _UNTIL.size + _LENGTH.size
_MOST_BYTES = 500


class WaitNotice:
    """Holds a reason for a while. Times are monotonic, machine-wide seconds."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _HEAD + _MOST_BYTES)

    def put(self, reason: str, seconds: float) -> None:
        """State why this process waits, for this many seconds."""
        text = reason.encode("utf-8", "replace")[:_MOST_BYTES]
        # Two processes may write at once. Then the text is that of one of them, or a mix of both.
        self._memory[_HEAD : _HEAD + len(text)] = text
        _LENGTH.pack_into(self._memory, _UNTIL.size, len(text))
        _UNTIL.pack_into(self._memory, 0, time.monotonic() + seconds)

    def read(self) -> str | None:
        """Return the reason while a process waits, or None."""
        until: float = _UNTIL.unpack_from(self._memory, 0)[0]
        if time.monotonic() > until:
            return None
        length: int = _LENGTH.unpack_from(self._memory, _UNTIL.size)[0]
        text = self._memory[_HEAD : _HEAD + min(length, _MOST_BYTES)]
        return text.decode("utf-8", "replace").replace("\x00", "")

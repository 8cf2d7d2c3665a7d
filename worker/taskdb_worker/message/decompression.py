"""A bound on decompressed messages: a few kilobytes must not fill the memory of a worker."""

# Kombu has no types.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable
from typing import Any

from kombu import compression

LARGEST_BYTES = 32 * 1024 * 1024
"""The largest body of a compressed message. Messages of task types have some hundred bytes."""
_MAKERS: dict[str, Callable[[], Any]] = {
    "application/x-gzip": zlib.decompressobj,
    "application/x-bz2": bz2.BZ2Decompressor,
    "application/x-lzma": lzma.LZMADecompressor,
}


def bound_decompression(wanted: str | None) -> None:
    """Make kombu decompress within the bound, in this process.

    It refuses a compression without a bound, unless that is `wanted`, as in the settings.
    """
    kept = None if wanted is None else compression.get_encoder(wanted)[1]
    for name in compression.encoders():
        maker = _MAKERS.get(name)
        if maker is not None:
            _put(name, _bounded(maker))
        elif name != kept:
            _put(name, _refused(name))


def _put(name: str, decoder: Callable[[bytes], bytes]) -> None:
    compression.register(compression.get_encoder(name)[0], decoder, name)


def _bounded(maker: Callable[[], Any]) -> Callable[[bytes], bytes]:
    def decompress(body: bytes) -> bytes:
        stream = maker()
        found: bytes = stream.decompress(body, LARGEST_BYTES)
        if not stream.eof:
            raise ValueError(f"it is cut off, or has more than {LARGEST_BYTES:,} bytes")
        return found

    return decompress


def _refused(name: str) -> Callable[[bytes], bytes]:
    def decompress(_body: bytes) -> bytes:
        raise ValueError(f"the compression {name} is not that of `task_compression`")

    return decompress

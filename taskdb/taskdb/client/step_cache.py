"""Caches results of finished steps. The cache only saves time; the store is authoritative.

An entry is found by task and attempt, and carries the reference that the row has for the result.
So an entry of an older run is never used for a newer one. An entry that is missing or invalid is
ignored.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from datetime import timedelta
from typing import Any, Protocol

from taskdb.fork import RenewedLock
from taskdb.logger import get_logger

log = get_logger("taskdb.step_cache")

_DAY = timedelta(days=1)


class StepCache(Protocol):
    """A cache of results. It may forget any of them, and may raise any exception."""

    def get(self, task_id: str, attempt: int) -> str | None:
        """Return the JSON text of this attempt; None if there is none."""

    def set(self, task_id: str, attempt: int, text: str) -> None:
        """Store the JSON text of a result."""


class MemoryStepCache:
    """A cache in this process that keeps the results used last; safe between threads."""

    def __init__(self, max_entries: int = 1_000) -> None:
        if max_entries < 1:
            raise ValueError(f"max_entries is {max_entries}: pass 1 or more")
        self._limit = max_entries
        self._texts: OrderedDict[tuple[str, int], str] = OrderedDict()
        self._lock = RenewedLock()

    def get(self, task_id: str, attempt: int) -> str | None:
        with self._lock:
            text = self._texts.get((task_id, attempt))
            if text is not None:
                self._texts.move_to_end((task_id, attempt))
            return text

    def set(self, task_id: str, attempt: int, text: str) -> None:
        with self._lock:
            self._texts[task_id, attempt] = text
            self._texts.move_to_end((task_id, attempt))
            while len(self._texts) > self._limit:
                self._texts.popitem(last=False)


class RedisStepCache:
    """A cache in Redis, with a time to live `ttl`. Takes a URL (extra `redis`) or a client."""

    def __init__(self, redis: Any, *, ttl: timedelta = _DAY, prefix: str = "taskdb:step:") -> None:
        if isinstance(redis, str):
            from redis import Redis  # noqa: PLC0415 - an optional extra

            # A cache must not delay its caller.
            redis = Redis.from_url(redis, socket_timeout=1, socket_connect_timeout=1)
        self._redis = redis
        self._ttl = ttl
        self._prefix = prefix

    def get(self, task_id: str, attempt: int) -> str | None:
        found = self._redis.get(self._key(task_id, attempt))
        return found.decode() if isinstance(found, bytes) else found

    def set(self, task_id: str, attempt: int, text: str) -> None:
        self._redis.set(self._key(task_id, attempt), text, ex=self._ttl)

    def close(self) -> None:
        """Close the connections to Redis."""
        self._redis.close()

    def _key(self, task_id: str, attempt: int) -> str:
        return f"{self._prefix}{task_id}:{attempt}"


class SafeStepCache:
    """Reads and fills a cache; every failure of the cache is logged and ignored."""

    def __init__(self, cache: StepCache | None) -> None:
        self._cache = cache

    def find(self, task_id: str, attempt: int, reference: str) -> tuple[bool, Any]:
        """Return whether the cache has the result that the row refers to, and the result."""
        if self._cache is None:
            return False, None
        try:
            text = self._cache.get(task_id, attempt)
            if text is None:
                return False, None
            kept = json.loads(text)
            # A parent that was retried has the same attempt number, but another reference.
            is_right = (kept["attempt"], kept["reference"]) == (attempt, reference)
            return is_right, kept["result"] if is_right else None
        except Exception as error:  # noqa: BLE001 - on any error of the cache, read the store
            self._complain(task_id, error)
            return False, None

    def keep(self, task_id: str, attempt: int, reference: str, result: Any) -> None:
        """Store the result of an attempt that has COMPLETED."""
        if self._cache is None:
            return
        try:
            kept = {"attempt": attempt, "reference": reference, "result": result}
            self._cache.set(task_id, attempt, json.dumps(kept))
        except Exception as error:  # noqa: BLE001 - as above
            self._complain(task_id, error)

    def _complain(self, task_id: str, error: Exception) -> None:
        reason = f"{type(error).__name__}: {error}"
        log.warning("step_cache.failed", task_id=task_id, reason=reason)

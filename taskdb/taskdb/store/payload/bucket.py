"""Large payloads as objects of a bucket, over the S3 protocol. Needs the extra `s3`.

References have the form of the folder store, below a prefix. An operator can copy a folder to a
bucket and back without a change to rows. One request writes an object, whole or not at all.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any, NoReturn, TypeVar

from taskdb.errors import PayloadMissing, PayloadStoreUnreachable, PayloadTooLarge, SettingsError
from taskdb.fork import renew_after_fork
from taskdb.settings.location import Bucket
from taskdb.settings.settings import Settings

T = TypeVar("T")

_CONNECT_SECONDS = 3.0
_TRIES = 2
"""With the time-outs, this takes less time than a transaction of the store may idle."""
_PAGE_KEYS = 1_000
_CHUNK_BYTES = 1024 * 1024
_LEAST_LIMIT_BYTES = 64 * 1024 * 1024
_PAUSE_SECONDS = 5.0
"""The pause after a failed removal, in which nothing is removed. A sweep removes it later."""
_OF_OURS = re.compile(r"\d{4}-\d{2}-\d{2}/[^/\\]+")
_GONE = frozenset({"NoSuchKey", "404", "NotFound"})


class BucketPayloadStore:
    """Payloads as objects by day, below the prefix of a bucket.

    Every verb takes a bounded time. It raises PayloadStoreUnreachable after a time-out or a
    refusal. The constructor raises SettingsError where the extra is not installed.
    """

    def __init__(self, bucket: Bucket, settings: Settings) -> None:
        try:
            import boto3  # noqa: PLC0415 - an optional extra
            from botocore import exceptions  # noqa: PLC0415 - an optional extra
        except ImportError as error:
            advice = f"({error}): pip install 'celery-taskdb[s3]'"
            raise SettingsError(f"TASKDB_PAYLOAD_URL needs the extra for S3 {advice}") from None
        self._boto3: Any = boto3
        self._refused = exceptions.ClientError
        self._away = exceptions.BotoCoreError
        self._bucket = bucket
        self._settings = settings
        self._limit = max(settings.payload_limit_bytes, _LEAST_LIMIT_BYTES)
        self._made: Any = None
        self._pid = 0
        self._removes_from = float("-inf")
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """Drop the client, since its connections belong to the parent process."""
        self._lock = threading.Lock()
        self._made = None

    def write(self, name: str, content: bytes) -> str:
        reference = f"{datetime.now(UTC):%Y-%m-%d}/{name}"
        place = self._place(reference)
        given = {**place, "ContentType": "application/json", **self._encryption()}
        self._ask(lambda: self._client().put_object(Body=content, **given), reference)
        return reference

    def read(self, reference: str) -> bytes:
        place = self._place(reference)
        for is_last in (False, True):
            try:
                return self._ask(lambda: self._stream(place, reference), reference)
            except PayloadStoreUnreachable:
                # The library does not retry a response that broke off halfway.
                if is_last:
                    raise
        raise AssertionError

    def remove(self, reference: str) -> None:
        place = self._place(reference)
        if time.monotonic() < self._removes_from:
            message = f"{self._bucket} gave no answer a moment ago: nothing is removed"
            raise PayloadStoreUnreachable(message)
        try:
            self._ask(lambda: self._client().delete_object(**place), reference)
        except PayloadStoreUnreachable:
            self._removes_from = time.monotonic() + _PAUSE_SECONDS
            raise

    def has(self, reference: str) -> bool:
        try:
            place = self._place(reference)
            self._ask(lambda: self._client().head_object(**place), reference)
        except PayloadMissing:
            return False
        return True

    def older_than(self, age: timedelta) -> Iterator[str]:
        before = datetime.now(UTC) - age
        begin = self._bucket.prefix
        after = begin
        while True:
            page = self._page(after)
            for one in page:
                reference = one["Key"].removeprefix(begin)
                if _OF_OURS.fullmatch(reference) is None:
                    continue
                if reference[:10] > f"{before:%Y-%m-%d}":
                    # Keys are in order of their days, so all that follow are younger.
                    return
                if one["LastModified"] < before:
                    yield reference
            if not page:
                return
            after = page[-1]["Key"]

    def check(self) -> None:
        given = {"Bucket": self._bucket.name, "Prefix": self._bucket.prefix, "MaxKeys": 1}
        self._ask(lambda: self._client().list_objects_v2(**given), "")

    def _page(self, after: str) -> list[Any]:
        given = {
            "Bucket": self._bucket.name,
            "Prefix": self._bucket.prefix,
            "StartAfter": after,
            "MaxKeys": _PAGE_KEYS,
        }
        found = self._ask(lambda: self._client().list_objects_v2(**given), "")
        return list(found.get("Contents", ()))

    def _stream(self, place: dict[str, str], reference: str) -> bytes:
        answer = self._client().get_object(**place)
        size = int(answer["ContentLength"])
        with closing(answer["Body"]) as body:
            if size > self._limit:
                raise PayloadTooLarge(reference, size, self._limit)
            content = bytearray()
            for chunk in body.iter_chunks(_CHUNK_BYTES):
                content += chunk
        return bytes(content)

    def _place(self, reference: str) -> dict[str, str]:
        """Return bucket and key of a reference. Raises PayloadMissing for an impossible one."""
        parts = reference.split("/")
        if "\x00" in reference or any(part in {"", ".", ".."} for part in parts):
            raise PayloadMissing(reference)
        return {"Bucket": self._bucket.name, "Key": f"{self._bucket.prefix}{reference}"}

    def _encryption(self) -> dict[str, str]:
        encryption, key = self._settings.payload_encryption, self._settings.payload_kms_key
        given = {"ServerSideEncryption": encryption, "SSEKMSKeyId": encryption and key}
        return {name: value for name, value in given.items() if value}

    def _ask(self, work: Callable[[], T], reference: str) -> T:
        try:
            return work()
        except self._refused as error:
            self._explain_refusal(error, reference)
        except self._away as error:
            self._raise_unreachable(f"{type(error).__name__}: {error}", error)

    def _explain_refusal(self, error: Any, reference: str) -> NoReturn:
        code = str(error.response.get("Error", {}).get("Code", ""))
        if code in _GONE and reference:
            raise PayloadMissing(reference) from None
        self._raise_unreachable(str(error), error)

    def _raise_unreachable(self, reason: str, error: Exception) -> NoReturn:
        raise PayloadStoreUnreachable(
            f"the payload store {self._bucket} gives no answer, or refuses ({reason}): check "
            "TASKDB_PAYLOAD_URL, the credentials and what they may do"
        ) from error

    def _client(self) -> Any:
        with self._lock:
            if self._made is None or self._pid != os.getpid():
                self._made, self._pid = self._make(), os.getpid()
            return self._made

    def _make(self) -> Any:
        from botocore.config import Config  # noqa: PLC0415 - an optional extra

        settings = self._settings
        own: dict[str, Any] = {}
        if settings.payload_endpoint:
            # Other servers than Amazon's find buckets by path, and few support all checksums.
            own = {
                "s3": {"addressing_style": "path"},
                "request_checksum_calculation": "when_required",
                "response_checksum_validation": "when_required",
            }
        config = Config(
            connect_timeout=_CONNECT_SECONDS,
            read_timeout=settings.payload_timeout_seconds,
            retries={"total_max_attempts": _TRIES, "mode": "standard"},
            user_agent_extra="taskdb",
            **own,
        )
        # Not the default session of the library, which belongs to the application.
        return self._boto3.session.Session().client(
            "s3",
            endpoint_url=settings.payload_endpoint or None,
            region_name=settings.payload_region or None,
            config=config,
        )

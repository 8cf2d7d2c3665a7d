"""The payload store that the settings name."""

from __future__ import annotations

from taskdb.settings.settings import Settings
from taskdb.store.payload.bucket import BucketPayloadStore
from taskdb.store.payload.payload import FolderPayloadStore, Payloads, PayloadStore


def payloads_of(settings: Settings) -> Payloads:
    """Return the payloads of these settings. Raises SettingsError without the extra `s3`."""
    return Payloads(
        payload_store_of(settings), settings.payload_inline_bytes, settings.payload_limit_bytes
    )


def payload_store_of(settings: Settings) -> PayloadStore:
    """Return the bucket store where the settings name a bucket, else the folder store."""
    bucket = settings.payload_bucket
    if bucket is None:
        return FolderPayloadStore(settings.payload_folder)
    return BucketPayloadStore(bucket, settings)

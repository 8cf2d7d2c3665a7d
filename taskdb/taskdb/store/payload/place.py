"""Where the settings want large payloads to lie."""

from __future__ import annotations

from taskdb.settings.settings import Settings
from taskdb.store.payload.bucket import BucketOptions, BucketPayloadStore
from taskdb.store.payload.payload import FolderPayloadStore, Payloads, PayloadStore


def payloads_of(settings: Settings) -> Payloads:
    """The payloads of these settings; opens nothing. Raises SettingsError without its extra."""
    return Payloads(
        payload_store_of(settings), settings.payload_inline_bytes, settings.payload_limit_bytes
    )


def payload_store_of(settings: Settings) -> PayloadStore:
    """The bucket, or the folder."""
    bucket = settings.payload_bucket
    if bucket is None:
        return FolderPayloadStore(settings.payload_folder)
    options = BucketOptions(
        endpoint=settings.payload_endpoint,
        region=settings.payload_region,
        encryption=settings.payload_encryption,
        kms_key=settings.payload_kms_key,
        timeout_seconds=settings.payload_timeout_seconds,
        limit_bytes=settings.payload_limit_bytes,
    )
    return BucketPayloadStore(bucket, options)

"""Settings of large inputs and results, which are stored outside their row."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import BaseModel, NonNegativeInt, PositiveFloat, PositiveInt, model_validator

from taskdb.redaction.url_mask import mask_url
from taskdb.settings.location import Bucket
from taskdb.settings.value import checked

KIBIBYTE = 1024
MEBIBYTE = 1024 * KIBIBYTE


def _refuse_credentials(url: str) -> None:
    if mask_url(url) != url:
        raise ValueError("has credentials: leave them out of the URL, AWS tools have their own")


class PayloadSettings(BaseModel, defer_build=True):
    """The folder or bucket of payloads, and how large a payload may be."""

    payload_dir: Path | None = None
    """Folder of large payloads. Default: `payloads` in the data folder."""
    payload_url: Annotated[str, checked(lambda url: url and Bucket.parse(url))] = ""
    """Bucket of large payloads instead of a folder: `s3://bucket/prefix`. The environment gives the
    credentials, as for all AWS tools. Empty: the folder."""
    payload_endpoint: Annotated[str, checked(_refuse_credentials)] = ""
    """URL of an S3 server that is not Amazon's. Empty: the default of AWS tools."""
    payload_region: str = ""
    """Region of the bucket. Empty: the default of AWS tools."""
    payload_encryption: Literal["", "AES256", "aws:kms", "aws:kms:dsse"] = ""
    """Encryption of payloads in the bucket. Empty: the default of the bucket."""
    payload_kms_key: str = ""
    """KMS key of that encryption. Empty: the key of the account."""
    payload_timeout_seconds: PositiveFloat = 10.0
    """Longest wait for a response of the bucket. A request is sent at most twice."""
    payload_inline_bytes: NonNegativeInt = 256 * KIBIBYTE
    """Larger inputs and results are stored outside the row, in bytes."""
    payload_limit_bytes: PositiveInt = 64 * MEBIBYTE
    """Larger inputs and results are refused, in bytes."""

    @model_validator(mode="after")
    def _payloads_have_one_place(self) -> Self:
        if self.payload_url and self.payload_dir is not None:
            message = "TASKDB_PAYLOAD_URL and TASKDB_PAYLOAD_DIR are both set: remove one of them"
            raise ValueError(message)
        return self

    @property
    def payload_bucket(self) -> Bucket | None:
        """The bucket of large payloads; None where they are in a folder."""
        return Bucket.parse(self.payload_url) if self.payload_url else None

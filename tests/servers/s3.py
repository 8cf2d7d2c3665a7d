"""Amazon S3 as moto serves it, in a process of its own."""

from collections.abc import Iterable
from typing import Any, ClassVar

from tests.servers.sns import Sns


class S3(Sns):
    """A server of S3; its objects are gone when it ends."""

    name: ClassVar[str] = "s3"

    def create_bucket(self, name: str) -> None:
        place = {"LocationConstraint": "eu-central-1"}
        self.client("s3").create_bucket(Bucket=name, CreateBucketConfiguration=place)

    def put(self, bucket: str, keys: Iterable[str]) -> None:
        """Objects that nobody of ours has written."""
        for key in keys:
            self.client("s3").put_object(Bucket=bucket, Key=key, Body=b"{}")

    def keys(self, bucket: str) -> list[str]:
        found = self.client("s3").list_objects_v2(Bucket=bucket).get("Contents", [])
        return [one["Key"] for one in found]

    def head(self, bucket: str, key: str) -> dict[str, Any]:
        found: dict[str, Any] = self.client("s3").head_object(Bucket=bucket, Key=key)
        return found

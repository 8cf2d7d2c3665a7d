"""Payloads in a bucket: the contract of a folder, in a bounded time, with errors of ours."""

import re
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from itertools import count
from typing import Any

import pytest
from sqlalchemy import text
from uuid_utils import uuid7

from taskdb.errors import (
    PayloadMissing,
    PayloadStoreUnreachable,
    PayloadTooLarge,
    SettingsError,
)
from taskdb.settings.location import Bucket
from taskdb.settings.settings import Settings
from taskdb.store.payload import bucket as module
from taskdb.store.payload.bucket import BucketPayloadStore
from taskdb.store.payload.payload import Payloads
from taskdb.store.payload.place import payload_store_of
from taskdb.store.retention.sweep import Leftovers
from taskdb.store.store import Store
from tests.servers.s3 import S3
from tests.servers.server import free_port
from tests.store.tasks import create

LATER = timedelta(seconds=-60)
"""Older than a minute from now: everything."""
_names = count(1)


@pytest.fixture(scope="module")
def server() -> Iterator[S3]:
    with closing(S3()) as server:
        server.start()
        yield server


@pytest.fixture(autouse=True)
def _credentials(server: S3, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def bucket(server: S3) -> Bucket:
    name = f"payloads-{next(_names)}"
    server.create_bucket(name)
    return Bucket(name, "of/taskdb/")


def opened(server: S3, bucket: Bucket, **options: Any) -> BucketPayloadStore:
    given = {f"payload_{name}": value for name, value in options.items()}
    return BucketPayloadStore(bucket, Settings.load({}, payload_endpoint=server.url, **given))


@pytest.fixture
def store(server: S3, bucket: Bucket) -> BucketPayloadStore:
    return opened(server, bucket)


def test_what_was_written_is_there_until_it_is_removed(
    server: S3, bucket: Bucket, store: BucketPayloadStore
) -> None:
    content = "é\N{PILE OF POO}".encode() * 500_000  # several chunks of a stream
    reference = store.write("name.json", content)
    assert re.fullmatch(r"\d{4}-\d{2}-\d{2}/name\.json", reference)
    assert server.keys(bucket.name) == [f"of/taskdb/{reference}"]
    assert store.read(reference) == content
    assert store.has(reference)
    store.remove(reference)
    store.remove(reference)
    assert not store.has(reference)
    with pytest.raises(PayloadMissing, match="TASKDB_PAYLOAD_URL"):
        store.read(reference)
    store.check()


def test_a_bucket_may_be_shared_with_others(server: S3, bucket: Bucket) -> None:
    whole = Bucket(bucket.name, "")
    mine, other = opened(server, bucket), opened(server, whole)
    reference = mine.write("a", b"mine")
    assert not other.has(reference)
    assert other.read(f"{bucket.prefix}{reference}") == b"mine"
    server.put(bucket.name, ["2020-01-01.txt", "of/taskdb/readme", "of/taskdbx/2020-01-01/a"])
    assert list(mine.older_than(LATER)) == [reference]
    assert list(other.older_than(LATER)) == []


@pytest.mark.parametrize(
    "reference", ["../a", "2026-01-01/../../a", "/a", "", ".", "a//b", "a\x00"]
)
def test_a_reference_never_leads_out_of_the_prefix(
    store: BucketPayloadStore, reference: str
) -> None:
    with pytest.raises(PayloadMissing):
        store.read(reference)
    assert not store.has(reference)


def test_old_ones_come_in_order_of_their_days_over_any_number_of_pages(
    server: S3, bucket: Bucket, store: BucketPayloadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_PAGE_KEYS", 2)
    names = ["2020-01-02/a", "2020-01-02/b", "2021-03-01/c", "2999-01-01/d", "9999-99-99/e"]
    server.put(bucket.name, [f"of/taskdb/{name}" for name in names])
    fresh = store.write("f", b"")
    assert list(store.older_than(LATER)) == [*names[:3], fresh]
    # Whatever a name says, the bucket knows when it was written.
    assert list(store.older_than(timedelta(days=1))) == []


def test_an_object_past_the_limit_is_not_taken_into_memory(
    store: BucketPayloadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    reference = store.write("a", b"x" * 11)
    monkeypatch.setattr(store, "_limit", 10)
    with pytest.raises(PayloadTooLarge, match="11 bytes"):
        store.read(reference)


def test_encryption_is_asked_for_with_each_object(server: S3, bucket: Bucket) -> None:
    plain = opened(server, bucket, encryption="AES256").write("a", b"")
    head = server.head(bucket.name, f"{bucket.prefix}{plain}")
    assert head["ServerSideEncryption"] == "AES256"
    keyed = opened(server, bucket, encryption="aws:kms", kms_key="alias/ours").write("b", b"")
    head = server.head(bucket.name, f"{bucket.prefix}{keyed}")
    assert (head["ServerSideEncryption"], head["SSEKMSKeyId"]) == ("aws:kms", "alias/ours")


VERBS: dict[str, Callable[[BucketPayloadStore], Any]] = {
    "write": lambda store: store.write("a", b"content"),
    "read": lambda store: store.read("2026-01-01/a"),
    "has": lambda store: store.has("2026-01-01/a"),
    "remove": lambda store: store.remove("2026-01-01/a"),
    "older_than": lambda store: list(store.older_than(LATER)),
    "check": lambda store: store.check(),
}


@pytest.mark.parametrize("verb", VERBS)
def test_a_bucket_that_is_not_there_is_no_payload_that_is_missing(server: S3, verb: str) -> None:
    store = opened(server, Bucket("nobodys-bucket", ""))
    if verb == "has":
        # A question for an object alone is answered without a word about the bucket.
        assert store.has("2026-01-01/a") is False
        return
    with pytest.raises(PayloadStoreUnreachable, match=r"s3://nobodys-bucket/.*NoSuchBucket"):
        VERBS[verb](store)


@pytest.mark.parametrize("verb", VERBS)
def test_a_server_that_is_away_is_told_of_in_words(bucket: Bucket, verb: str) -> None:
    endpoint = f"http://127.0.0.1:{free_port()}"
    settings = Settings.load({}, payload_endpoint=endpoint, payload_region="eu-central-1")
    with pytest.raises(PayloadStoreUnreachable, match="check TASKDB_PAYLOAD_URL"):
        VERBS[verb](BucketPayloadStore(bucket, settings))


def test_a_server_that_is_frozen_takes_a_bounded_time(bucket: Bucket) -> None:
    with closing(S3()) as frozen:
        frozen.start()
        frozen.create_bucket(bucket.name)
        store = opened(frozen, bucket, timeout_seconds=0.3)
        store.check()
        frozen.freeze()
        began = time.monotonic()
        with pytest.raises(PayloadStoreUnreachable, match="ReadTimeout"):
            store.remove("2026-01-01/a")
        assert time.monotonic() - began < 6
        # Whoever removes many is not held up by each of them.
        began = time.monotonic()
        with pytest.raises(PayloadStoreUnreachable, match="nothing is removed"):
            store.remove("2026-01-01/b")
        Payloads(store, 1, 1).discard("2026-01-01/c")
        assert time.monotonic() - began < 0.2
        frozen.thaw()
        store.write("a", b"content")


def test_without_credentials_it_says_so(
    server: S3, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    with pytest.raises(PayloadStoreUnreachable, match="NoCredentials"):
        opened(server, bucket).check()


def test_a_forked_process_makes_a_line_of_its_own(store: BucketPayloadStore) -> None:
    store.check()
    first = store._made
    store.after_fork()
    assert store._made is None
    store.check()
    assert store._made is not first


def test_orphans_of_a_bucket_are_swept_up_and_what_a_row_names_is_kept(
    store_url: str, store: BucketPayloadStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    payloads = Payloads(store, 10, 10_000)
    monkeypatch.setattr("taskdb.store.retention.sweep.PAYLOAD_KEPT", LATER)
    with Store(store_url, payloads=payloads).closing() as rows:
        task_id = create(rows)
        kept = payloads.pack("x" * 100, f"{task_id}-input", "the input").reference
        with rows.database.transaction() as connection:
            statement = text("UPDATE taskdb_task SET input_ref = :kept WHERE id = :id")
            connection.execute(statement, {"kept": kept, "id": task_id})
        orphan = payloads.pack("y" * 100, f"{uuid7()}-input", "the input").reference
        assert Leftovers(rows.database, rows.aside, payloads, None).payloads() == (1, False)
    assert kept and orphan
    assert store.has(kept) and not store.has(orphan)


# --- settings -------------------------------------------------------------------------------------


def test_the_settings_name_the_bucket() -> None:
    settings = Settings.load(
        {
            "TASKDB_PAYLOAD_URL": "s3://acme-tasks/production/payloads",
            "TASKDB_PAYLOAD_ENDPOINT": "http://127.0.0.1:9000",
            "TASKDB_PAYLOAD_ENCRYPTION": "aws:kms",
        }
    )
    store = payload_store_of(settings)
    assert isinstance(store, BucketPayloadStore)
    assert store._bucket == ("acme-tasks", "production/payloads/")
    assert store._settings.payload_encryption == "aws:kms"
    assert Bucket.parse("s3://acme-tasks") == Bucket.parse("s3://acme-tasks/") == ("acme-tasks", "")


@pytest.mark.parametrize("url", ["s3:/a", "s3://", "s3://A", "s3://ab?x", "http://a", "bucket"])
def test_a_place_that_is_no_bucket_is_refused(url: str) -> None:
    with pytest.raises(SettingsError, match=r"TASKDB_PAYLOAD_URL: .*write s3://bucket"):
        Settings.load({"TASKDB_PAYLOAD_URL": url})


def test_payloads_have_one_place() -> None:
    both = {"TASKDB_PAYLOAD_URL": "s3://bucket", "TASKDB_PAYLOAD_DIR": "/somewhere"}
    with pytest.raises(SettingsError, match="remove one of them"):
        Settings.load(both)


def test_the_day_of_a_reference_is_that_of_utc(store: BucketPayloadStore) -> None:
    days = {f"{datetime.now(UTC):%Y-%m-%d}"}
    reference = store.write("a", b"")
    assert reference[:10] in days | {f"{datetime.now(UTC):%Y-%m-%d}"}

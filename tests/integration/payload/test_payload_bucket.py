"""Large values through a bucket, with real workers, while the bucket comes and goes."""

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from tests.integration.worker_site import Site, embedded
from tests.servers.s3 import S3
from tests.waiting import wait_until

from taskdb.cli.check.probe import check_payloads
from taskdb.cli.database.doctor import diagnose
from taskdb.errors import PayloadStoreUnreachable

TEXT = "0123456789" * 1_000


@pytest.fixture
def s3(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3]:
    with closing(S3()) as server:
        server.start()
        server.create_bucket("payloads")
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        yield server


@pytest.fixture
def site(s3: S3, sqlite_template: Path, tmp_path: Path) -> Iterator[Site]:
    given = {
        "payload_url": "s3://payloads/site",
        "payload_endpoint": s3.url,
        "payload_timeout_seconds": 0.5,
    }
    with embedded(sqlite_template, tmp_path, **given) as site:
        yield site


def test_a_worker_waits_for_its_bucket_and_no_attempt_is_lost(site: Site, s3: S3) -> None:
    worker = site.start_worker("-c", "1")
    first = site.settled(site.submit("ends.large", {"text": TEXT}).id)
    assert first.result == TEXT[::-1]
    assert len(s3.keys("payloads")) == 2
    assert check_payloads(site.settings).level == "ok"

    # The result is there, and nowhere to write it.
    waiting = site.submit("ends.waits_large", {"text": TEXT}).id
    site.wait_for(waiting, "STARTED")
    site.wait_for_run(waiting)
    s3.freeze()
    site.let_go(waiting)
    worker.wait_for_output("payload_store.disconnected")
    assert check_payloads(site.settings).level == "error"
    assert "payload_store_away" in {one.name for one in diagnose(site.client)}
    with pytest.raises(PayloadStoreUnreachable):
        site.submit("ends.large", {"text": TEXT})
    assert sum(site.statuses().values()) == 2
    s3.thaw()
    entity = site.settled(waiting)
    assert (entity.status, entity.attempt, entity.result) == ("COMPLETED", 1, TEXT[::-1])
    assert len(site.runs(waiting)) == 1

    # The input is named by the row, and gone for good.
    lost = site.submit("ends.large", {"text": TEXT}, delay=1)
    (key,) = [key for key in s3.keys("payloads") if lost.id in key]
    s3.client("s3").delete_object(Bucket="payloads", Key=key)
    assert "payload_missing" in {one.name for one in diagnose(site.client)}
    beat = site.start_beat()
    assert site.settled(lost.id).status == "FAILED"
    error = site.client.get_task(lost.id).error
    assert error is not None and error.type == "taskdb.errors.PayloadMissing"
    wait_until(lambda: beat.is_running)

"""One trace from the caller to the last sub-task, through rows, messages and processes."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.integration.tracing import traced_tasks
from tests.integration.worker_site import REPOSITORY, Site, site_of
from tests.waiting import wait_until

from taskdb.tracing import headers_of

Span = dict[str, Any]


@pytest.fixture(params=["postgresql+redis", "embedded"])
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    given = {"task_modules": traced_tasks.__name__}
    with site_of(request.param, request, tmp_path_factory, **given) as site:
        site.env[traced_tasks.SPANS] = str(site.folder / "spans.jsonl")
        yield site


class Spans:
    """What every process has exported."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def all(self) -> list[Span]:
        lines = self._path.read_text().splitlines() if self._path.exists() else []
        return [json.loads(line) for line in lines]

    def named(self, name: str, count: int = 1) -> list[Span]:
        wait_until(
            lambda: sum(one["name"] == name for one in self.all()) >= count,
            describe=lambda: f"{count} spans {name}: {[one['name'] for one in self.all()]}",
        )
        found = [one for one in self.all() if one["name"] == name]
        assert len(found) == count, found
        return found

    def one(self, name: str) -> Span:
        return self.named(name)[0]


def test_a_trace_goes_from_the_caller_to_the_last_sub_task(site: Site) -> None:
    site.start_worker("-c", "2")
    site.start_beat()
    program = f"from {traced_tasks.__name__} import main; main()"
    submitting = site.processes.python("-c", program, env=site.env, cwd=REPOSITORY)
    assert submitting.wait() == 0, submitting.tail()
    ids = json.loads(submitting.output.splitlines()[-1])
    for task_id in ids:
        assert site.settled(task_id).status == "COMPLETED", site.moves(task_id)

    spans = Spans(site.folder / "spans.jsonl")
    request = spans.one("request")
    submit = spans.one("submit traced.twice")
    assert (submit["parent"], submit["kind"]) == (request["id"], "PRODUCER")
    first, second = sorted(
        spans.named("run traced.twice", 2), key=lambda one: one["attributes"]["taskdb.attempt"]
    )
    assert first["parent"] == second["parent"] == submit["id"]
    assert first["kind"] == "CONSUMER" and first["pid"] != submit["pid"]
    # The second attempt names the first, whose error leads there as well.
    assert (first["links"], second["links"]) == ([], [first["id"]])
    assert (first["status"], second["status"]) == ("ERROR", "UNSET")
    assert first["attributes"]["taskdb.status"] == "ERRORED"
    assert first["attributes"]["error.type"] == "ValueError"
    # What a span of the body says of its own error is the body's affair.
    ours = [one for one in spans.all() if one["name"] != "own work"]
    assert traced_tasks.SECRET not in json.dumps(ours)
    works = spans.named("own work", 2)
    assert {one["parent"] for one in works} == {first["id"], second["id"]}
    published = spans.named("publish traced.twice", 2)
    assert {one["parent"] for one in published} == {submit["id"]}

    # What a body splits off goes on from its run, the handler of the join from the submit.
    parts = [
        one for one in spans.named("run traced.part", 4) if "taskdb.parent_id" in one["attributes"]
    ]
    assert [one["parent"] for one in parts] == [second["id"]] * 2
    assert spans.one("run traced.joined")["parent"] == submit["id"]
    sequence = spans.one("submit traced.sequence")
    assert {one["parent"] for one in spans.named("run traced.step", 2)} == {sequence["id"]}
    assert {one["trace"] for one in spans.all()} == {request["trace"]}

    check_rows(site, request["trace"])


def check_rows(site: Site, trace: str) -> None:
    """Every row names the trace, and so does its message; what nobody traces has nothing."""
    rows = site.query("SELECT trace FROM taskdb_task")
    assert rows and all(row["trace"].startswith(f"00-{trace}-") for row in rows)
    untraced = site.submit("traced.part", {"value": 1}, delay=3_600)
    (row,) = site.query("SELECT trace FROM taskdb_task WHERE id = :id", id=untraced.id)
    assert row["trace"] is None
    headers = headers_of(f"00-{trace}-{'a' * 16}-01 vendor=1")
    assert headers == {"traceparent": f"00-{trace}-{'a' * 16}-01", "tracestate": "vendor=1"}

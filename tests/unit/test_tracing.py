"""Traces cost nothing where nobody takes them, and carry what W3C says where somebody does."""

import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import context as otel_context
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
from tests.store.tasks import create, draft, running

from taskdb import tracing
from taskdb.model.entity import TaskError
from taskdb.store.contract import EVERYONE
from taskdb.store.engine.session import DriverSession
from taskdb.store.store import Store

PARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def within(headers: dict[str, str]) -> Any:
    return otel_context.attach(TraceContextTextMapPropagator().extract(headers))


def test_without_a_provider_and_a_span_there_is_nothing() -> None:
    assert tracing.carried() is None
    assert not tracing.is_wanted()
    assert isinstance(tracing.span("a", "PRODUCER", {}), nullcontext)
    tracing.passed("a", "PRODUCER", {}, PARENT, (0, 1))
    tracing.failed(None, "Error", "message")
    assert tracing.headers_of(None) == {}


@pytest.mark.parametrize("state", ["", "vendor=1,other=2"])
def test_the_trace_of_a_caller_is_carried_without_any_provider(state: str) -> None:
    given = {"traceparent": PARENT} | ({"tracestate": state} if state else {})
    token = within(given)
    try:
        carried = tracing.carried()
    finally:
        otel_context.detach(token)
    assert carried == f"{PARENT} {state}".rstrip()
    assert tracing.headers_of(carried) == given


def test_a_trace_that_is_not_sampled_stays_so() -> None:
    token = within({"traceparent": f"{PARENT[:-1]}0"})
    try:
        assert tracing.carried() == f"{PARENT[:-1]}0"
    finally:
        otel_context.detach(token)


def test_a_stored_trace_is_the_parent_and_nonsense_is_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
    with tracing.span("run", "CONSUMER", {"a": 1, "b": None}, parent=PARENT, link=PARENT) as one:
        assert one.parent.span_id == int("b7ad6b7169203331", 16)
        assert dict(one.attributes) == {"a": 1}
        assert [link.context.span_id for link in one.links] == [one.parent.span_id]
        assert (tracing.carried() or "").startswith("00-0af7651916cd43dd8448eb211c80319c-")
    with tracing.span("run", "CONSUMER", {}, parent="nonsense", link="nonsense") as one:
        assert one.parent is None and one.links == ()


def test_the_error_of_a_body_passes_and_is_not_recorded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trace, "_TRACER_PROVIDER", TracerProvider())
    with (
        pytest.raises(ValueError, match="secret"),
        tracing.span("run", "CONSUMER", {}) as one,
    ):
        raise ValueError("secret")
    assert one.events == () and one.status.status_code.name == "UNSET"


def test_a_row_without_a_trace_is_inserted_by_the_statement_without_that_column(
    sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    run = DriverSession.run

    def heard(self: DriverSession, sql: str, parameters: Any) -> Any:
        said.append(sql)
        return run(self, sql, parameters)

    monkeypatch.setattr(DriverSession, "run", heard)
    with Store(sqlite_url).closing() as store:
        create(store)
        assert not any("trace" in sql for sql in said)
        traced = store.submissions.create([draft(trace=PARENT)], EVERYONE)[0].id
        assert any("trace" in sql for sql in said)
        assert store.publications.find([traced])[0].trace == PARENT
        claim = store.runs.claim(traced, token="t", worker="w", max_attempts=2)
        assert claim.trace == PARENT
        run_of = running(store)
        error = TaskError("ValueError", "oops", "", 1, PARENT)
        store.outcomes.fail(run_of.id, run_of.token, error)
        assert store.tasks.get(run_of.id, EVERYONE).error == error


def test_nothing_is_imported_for_traces_and_nothing_needs_the_extra(tmp_path: Path) -> None:
    code = (
        "import sys\n"
        "sys.modules['opentelemetry'] = None\n"
        "from taskdb import Registry, Settings, TaskDB, task\n"
        "registry = Registry()\n"
        "task('a', registry=registry)(lambda: None)\n"
        f"settings = Settings(data_dir={str(tmp_path)!r}, publish_budget_seconds=60)\n"
        "with TaskDB(settings, registry=registry) as taskdb:\n"
        "    print(taskdb.submit_task('a').status)\n"
        "import taskdb_worker.run.execution\n"
        "print([name for name in sys.modules if 'opentelemetry' in name])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.stdout.splitlines() == ["QUEUED", "['opentelemetry']"], done.stderr

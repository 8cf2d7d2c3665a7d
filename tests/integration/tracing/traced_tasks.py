"""Tasks of a site that takes traces: every process writes its spans to a file."""

import json
import os
import sys
from collections.abc import Sequence as Several
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from taskdb import (
    Retry,
    Sequence,
    Settings,
    Step,
    TaskContext,
    TaskDB,
    submit_sequence,
    submit_task,
    task,
)
from taskdb.client.default import set_default

SPANS = "TEST_SPANS_OF_TASKDB"
SECRET = "hunter2-hunter2"


class FileExporter(SpanExporter):
    """Appends a line for each span."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def export(self, spans: Several[ReadableSpan]) -> SpanExportResult:
        with self._path.open("a") as file:
            for span in spans:
                file.write(json.dumps(described(span)) + "\n")
        return SpanExportResult.SUCCESS


def described(span: ReadableSpan) -> dict[str, Any]:
    context = span.get_span_context()
    assert context is not None
    return {
        "name": span.name,
        "kind": span.kind.name,
        "trace": f"{context.trace_id:032x}",
        "id": f"{context.span_id:016x}",
        "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
        "links": [f"{link.context.span_id:016x}" for link in span.links],
        "status": span.status.status_code.name,
        "description": span.status.description,
        "attributes": dict(span.attributes or {}),
        "pid": os.getpid(),
        "seconds": ((span.end_time or 0) - (span.start_time or 0)) / 1e9,
    }


if SPANS in os.environ:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter(Path(os.environ[SPANS]))))
    trace.set_tracer_provider(provider)


@task("traced.twice", retry=Retry(max_attempts=2, backoff=0.05, jitter=0))
def twice(ctx: TaskContext) -> str:
    with trace.get_tracer("body").start_as_current_span("own work"):
        if ctx.attempt == 1:
            raise ValueError(f"password={SECRET}")
    items = [{"value": 1}, {"value": 2}]
    ctx.fan_out(items, type="traced.part", on_join=joined)
    return "handed over"


@task("traced.part")
def part(value: int) -> int:
    return value


@task("traced.joined")
def joined(ctx: TaskContext) -> int:
    return sum(int(one.result) for one in ctx.results())


@task("traced.step")
def step(input: Any) -> Any:
    return input


Sequence("traced.sequence", [Step(step, name="first"), Step(step, name="second")])


def main() -> None:
    """Submit within a span of the caller, and outside of any."""
    with TaskDB(Settings.load()) as taskdb:
        set_default(taskdb)
        with trace.get_tracer("caller").start_as_current_span("request"):
            ids = [submit_task("traced.twice").id, submit_sequence("traced.sequence", [1]).id]
            ids += [one.id for one in taskdb.submit_many("traced.part", [{"value": 3}] * 2)]
        set_default(None)
    sys.stdout.write(json.dumps(ids) + "\n")

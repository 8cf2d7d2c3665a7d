"""What a body can ask of its context beyond its own input."""

from typing import Any

import pytest

from taskdb import Registry, Sequence, TaskContext, task
from taskdb.testing import drain, rehearse, run_task


@pytest.fixture
def registry() -> Registry:
    registry = Registry()

    @task("first", registry=registry)
    def first(what: Any) -> str:
        return f"from {what}"

    @task("second", registry=registry)
    def second(ctx: TaskContext, input: Any) -> list[Any]:
        return [input, ctx.parent_input]

    @task("alone", registry=registry)
    def alone(ctx: TaskContext) -> Any:
        return ctx.parent_input

    Sequence("whole", [first, second], registry=registry)
    return registry


def test_a_step_sees_what_the_step_before_returned_and_what_the_whole_was_given(
    registry: Registry,
) -> None:
    with rehearse(registry=registry) as rehearsal:
        whole = rehearsal.taskdb.submit_sequence("whole", {"what": "Größe"})
        drain()
        assert whole.refresh().result == ["from Größe", {"what": "Größe"}]


def test_a_task_of_its_own_has_no_input_of_a_parent(registry: Registry) -> None:
    with rehearse(registry=registry):
        assert (done := run_task("alone")).result is None
        assert done.status == "COMPLETED"


def test_a_body_is_not_given_an_input_that_cannot_be_read(registry: Registry) -> None:
    with rehearse(registry=registry) as rehearsal:
        bad, good = (rehearsal.taskdb.submit_task("first", {"what": one}) for one in "ab")
        digits = '{"what": ' + "1" * 5_000 + "}"
        sql = "UPDATE taskdb_task SET input = :digits WHERE id = :id"
        rehearsal.taskdb.store.database.query(sql, {"digits": digits, "id": bad.id})
        drain()
        assert good.refresh().result == "from b"
        found = bad.refresh()
        assert found.status == "FAILED" and found.error is not None
        assert "the input of the row cannot be read" in found.error.message

"""A cache of step results makes reading faster and never changes an answer."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from redis import Redis
from tests.integration.submit_site import events, logged
from tests.servers import Redis as RedisServer

from taskdb.client.step_cache import MemoryStepCache, RedisStepCache, SafeStepCache, StepCache
from taskdb.client.submission.tree_draft import step_result
from taskdb.model.entity import TaskEntity
from taskdb.model.status import TaskStatus
from taskdb.store.payload.row_reader import RowReader

NOW = datetime(2030, 1, 1, tzinfo=UTC)
LARGE = {"rows": [1, 2, 3]}


class Payloads:
    """The payload store, and how often it was asked."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def read(self, reference: str) -> Any:
        self.asked.append(reference)
        return {**LARGE, "of": reference}


def step(payloads: Payloads, **values: Any) -> TaskEntity:
    given = {"attempt": 1, "result_ref": "one.json", "status": TaskStatus.COMPLETED, **values}
    reader: Any = RowReader(None, payloads, None, given["result_ref"])
    return TaskEntity(
        id="a-step",
        tenant="acme",
        type="step",
        created_at=NOW,
        updated_at=NOW,
        reader=reader,
        **given,
    )


@pytest.fixture(params=["memory", "redis"])
def cache(request: pytest.FixtureRequest) -> Any:
    if request.param == "memory":
        yield MemoryStepCache()
        return
    opened = RedisStepCache(request.getfixturevalue("redis_url"))
    yield opened
    opened.close()


def test_a_large_result_is_fetched_once(cache: StepCache) -> None:
    payloads = Payloads()
    said = [step_result(step(payloads), SafeStepCache(cache)).result for _ in range(3)]
    assert said == [{**LARGE, "of": "one.json"}] * 3
    assert payloads.asked == ["one.json"]


def test_a_result_of_another_run_is_not_the_answer(cache: StepCache) -> None:
    payloads = Payloads()
    step_result(step(payloads), SafeStepCache(cache))
    for values in ({"attempt": 2}, {"result_ref": "two.json"}):
        wanted = step(payloads, **values)
        found = step_result(wanted, SafeStepCache(cache)).result
        assert found["of"] == wanted.result_ref


def test_without_a_result_nothing_is_asked_and_nothing_kept() -> None:
    payloads, cache = Payloads(), MemoryStepCache()
    for values in ({"status": TaskStatus.FAILED}, {"result_ref": None, "inline_result": None}):
        assert step_result(step(payloads, **values), SafeStepCache(cache)).result is None
    assert payloads.asked == []
    assert cache.get("a-step", 1) is None


class Liar:
    """Answers the same whatever it is asked."""

    def __init__(self, text: str) -> None:
        self._text = text

    def get(self, task_id: str, attempt: int) -> str | None:
        return self._text

    def set(self, task_id: str, attempt: int, text: str) -> None:
        raise OSError


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[",
        "null",
        "[]",
        "7",
        '{"attempt":0,"reference":"one.json","result":7}',
        '{"attempt":1,"reference":"old.json","result":7}',
    ],
)
def test_a_cache_that_lies_changes_no_answer(text: str) -> None:
    with logged() as said:
        found = step_result(step(Payloads()), SafeStepCache(Liar(text))).result
    assert found == {**LARGE, "of": "one.json"}
    assert events(said, "step_cache.failed")


def test_a_cache_that_is_away_changes_no_answer(own_redis: RedisServer) -> None:
    cache = RedisStepCache(own_redis.url)
    payloads = Payloads()
    step_result(step(payloads), SafeStepCache(cache))
    own_redis.kill()
    with logged() as said:
        assert step_result(step(payloads), SafeStepCache(cache)).result["of"] == "one.json"
    cache.close()
    assert len(events(said, "step_cache.failed")) == 2


def test_redis_forgets_after_its_time(redis_url: str) -> None:
    with Redis.from_url(redis_url) as client:
        cache = RedisStepCache(client, ttl=timedelta(seconds=50), prefix="mine:")
        cache.set("a-step", 1, "1")
        assert cache.get("a-step", 1) == "1"
        assert 0 < client.ttl("mine:a-step:1") <= 50


def test_memory_forgets_what_was_not_used_longest() -> None:
    cache = MemoryStepCache(2)
    cache.set("a", 1, "1")
    cache.set("b", 1, "2")
    assert cache.get("a", 1) == "1"
    cache.set("c", 1, "3")
    assert [cache.get(name, 1) for name in "abc"] == ["1", None, "3"]
    with pytest.raises(ValueError, match="pass 1 or more"):
        MemoryStepCache(0)

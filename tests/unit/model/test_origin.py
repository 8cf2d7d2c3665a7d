"""Who submits: said once around many submits, by text or by a callable, and never another's."""

import asyncio
import threading
from collections.abc import Iterator
from contextvars import copy_context

import pytest
from structlog.testing import capture_logs

from taskdb import InvalidInput, Submitter, provide_submitter, submitting_as
from taskdb.client.submission.chosen_options import chosen_options
from taskdb.model.bounds import TEXT_BYTES
from taskdb.model.principal.origin import _providers, submitter_texts, submitting_as_nobody


@pytest.fixture(autouse=True)
def providers() -> Iterator[None]:
    """Every test begins without one, and leaves none."""
    before = list(_providers)
    _providers.clear()
    yield
    _providers[:] = before


def test_a_submit_that_names_nobody_takes_all_three_from_around_it() -> None:
    with submitting_as(request_id="r-1", created_by="ada", created_ip="10.0.0.1"):
        chosen = chosen_options({"created_by": None})

    assert (chosen.request_id, chosen.created_by, chosen.created_ip) == ("r-1", "ada", "10.0.0.1")
    assert chosen_options({}).request_id is None


def test_what_the_submit_says_wins_field_by_field() -> None:
    with submitting_as(request_id="r-1", created_by="ada"):
        chosen = chosen_options({"created_by": "grace"})

    assert (chosen.request_id, chosen.created_by) == ("r-1", "grace")


def test_an_inner_one_leaves_to_the_outer_what_it_does_not_say() -> None:
    with submitting_as(request_id="r-1", created_by="ada"):
        with submitting_as(created_by="grace"):
            assert submitter_texts() == {"request_id": "r-1", "created_by": "grace"}
        assert submitter_texts() == {"request_id": "r-1", "created_by": "ada"}


def test_a_callable_is_asked_by_each_submit_that_does_not_say_it() -> None:
    names = iter(["ada", "grace"])
    with submitting_as(created_by=lambda: next(names)):
        assert chosen_options({"created_by": "linus"}).created_by == "linus"
        assert chosen_options({}).created_by == "ada"
        assert chosen_options({}).created_by == "grace"


def test_a_callable_that_breaks_is_logged_and_breaks_no_submit() -> None:
    with submitting_as(request_id="r-1", created_by=lambda: str(1 / 0)), capture_logs() as logs:
        assert chosen_options({}).request_id == "r-1"
        assert chosen_options({}).created_by is None

    assert [(one["event"], one["what"]) for one in logs] == [("submitter.failed", "created_by")] * 2


def test_a_callable_that_answers_no_text_is_logged_and_left_out() -> None:
    with submitting_as(created_by=lambda: 42), capture_logs() as logs:  # type: ignore[arg-type, return-value]
        assert submitter_texts() == {}

    assert logs[0]["reason"] == "int is not text"


def test_what_is_neither_text_nor_callable_is_refused_with_every_fault() -> None:
    refused = pytest.raises(InvalidInput, match=r"request_id: 7 is neither .* created_by: b'ada'")
    with refused, submitting_as(request_id=7, created_by=b"ada"):  # type: ignore[arg-type]
        pass

    assert submitter_texts() == {}


def test_a_header_of_any_length_and_kind_makes_no_submit_fail() -> None:
    with submitting_as(request_id="x" * 40_000, created_by="a\x00b\ud800", created_ip=""):
        chosen = chosen_options({})

    assert chosen.request_id == "x" * TEXT_BYTES
    assert chosen.created_by == "a\N{REPLACEMENT CHARACTER}b?"
    assert chosen.created_ip is None


def test_a_provider_is_asked_for_what_is_not_said() -> None:
    asked = []

    def provider() -> Submitter | None:
        asked.append("it")
        return Submitter(request_id="r-9", created_by=lambda: "lazy")

    provide_submitter(provider)
    provide_submitter(provider)
    with submitting_as(request_id="r-1"):
        assert submitter_texts() == {"request_id": "r-1", "created_by": "lazy"}
    assert asked == ["it"]
    assert submitter_texts([]) == {}
    assert asked == ["it"]


def test_a_provider_that_does_not_know_or_breaks_is_passed_over() -> None:
    def broken() -> Submitter:
        raise RuntimeError("no request")

    provide_submitter(lambda: None)
    provide_submitter(broken)
    provide_submitter(lambda: Submitter(created_ip="10.0.0.2"))
    with capture_logs() as logs:
        assert submitter_texts() == {"created_ip": "10.0.0.2"}
    assert [one["event"] for one in logs] == ["submitter.failed"]


def test_nobody_is_nobody_whatever_is_said_around_it_or_provided() -> None:
    provide_submitter(lambda: Submitter(created_ip="10.0.0.2"))
    with submitting_as(created_by="ada"), submitting_as_nobody():
        assert submitter_texts() == {}
        with submitting_as(request_id="r-2"):
            assert submitter_texts() == {"request_id": "r-2"}


def test_threads_do_not_see_each_other_unless_they_are_given_the_context() -> None:
    found: dict[str, dict[str, str]] = {}

    def look(name: str) -> None:
        found[name] = submitter_texts()

    def work(name: str) -> None:
        with submitting_as(created_by=name):
            barrier.wait(10)
            look(name)

    barrier = threading.Barrier(3)
    with submitting_as(created_by="main"):
        threads = [threading.Thread(target=work, args=(name,)) for name in ("a", "b")]
        threads.append(threading.Thread(target=look, args=("plain",)))
        threads.append(threading.Thread(target=copy_context().run, args=(look, "given")))
        for thread in threads:
            thread.start()
        barrier.wait(10)
        for thread in threads:
            thread.join(10)

    assert found.pop("plain") in ({}, {"created_by": "main"})  # Python 3.14 may hand it down
    assert found == {
        "a": {"created_by": "a"},
        "b": {"created_by": "b"},
        "given": {"created_by": "main"},
    }


def test_asyncio_tasks_inherit_and_do_not_see_each_other() -> None:
    async def work(name: str) -> dict[str, str]:
        with submitting_as(created_by=name):
            await barrier.wait()
            return await asyncio.to_thread(submitter_texts)

    async def plain() -> dict[str, str]:
        await barrier.wait()
        return submitter_texts()

    async def main() -> list[dict[str, str]]:
        with submitting_as(created_by="main"):
            return list(await asyncio.gather(work("a"), work("b"), plain()))

    barrier = asyncio.Barrier(3)
    assert asyncio.run(main()) == [{"created_by": one} for one in ("a", "b", "main")]

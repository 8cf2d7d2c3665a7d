"""What a submit may ask for, checked whole before anything is written."""

import math
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, Field

from taskdb.client.caller.caller import Caller
from taskdb.client.submission.chosen_options import chosen_options
from taskdb.client.submission.drafting import Drafting
from taskdb.client.types import Types
from taskdb.errors import InvalidInput, PayloadTooLarge, UnknownTaskType
from taskdb.model.key import unique_key_of
from taskdb.settings.settings import Settings
from taskdb.store.contract import EVERYONE, Draft, Scope
from taskdb.store.payload.payload import FolderPayloadStore, Payloads
from taskdb.types.declaration import task
from taskdb.types.registry import Registry

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text("ab1", max_size=2),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("ab"), inner, max_size=3),
)


class Order(BaseModel):
    customer_id: int = Field(alias="customerId")
    note: str = ""


class Desk:
    """Drafts of two types, their payloads in a folder."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder / "payloads"
        self.settings = Settings(**settings)
        self.registry = Registry()
        task("plain", registry=self.registry)(lambda input: input)
        task("order", registry=self.registry, unique="customer_id", tags="shop", priority=2)(take)

    def drafts(
        self, type: str, *inputs: Any, scope: Scope = EVERYONE, **options: Any
    ) -> list[Draft]:
        payloads = Payloads(FolderPayloadStore(self.folder), 100, 1_000)
        drafting = Drafting(self.settings, Types(self.registry, []), payloads, Caller(scope))
        return drafting.drafts(type, inputs, chosen_options(options))

    @property
    def files(self) -> list[Path]:
        return [path for path in self.folder.rglob("*") if path.is_file()]


def take(input: Order) -> None: ...


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    return Desk(tmp_path)


@pytest.mark.parametrize(
    ("options", "path"),
    [
        ({"priorty": 3}, "priorty"),
        ({"priority": 10}, "priority"),
        ({"priority": 5.0}, "priority"),
        ({"priority": True}, "priority"),
        ({"priority": "5"}, "priority"),
        ({"run_at": datetime(2026, 1, 1)}, "run_at"),  # noqa: DTZ001 - that is what is refused
        ({"deadline": datetime(2026, 1, 1)}, "deadline"),  # noqa: DTZ001
        ({"run_at": "tomorrow"}, "run_at"),
        ({"deadline": 5}, "deadline"),
        ({"run_at": datetime.max.replace(tzinfo=timezone(-timedelta(hours=5)))}, "run_at"),
        ({"run_at": datetime.now(UTC), "delay": 5}, "delay"),
        ({"delay": -1}, "delay"),
        ({"delay": "soon"}, "delay"),
        ({"delay": math.nan}, "delay"),
        ({"delay": math.inf}, "delay"),
        ({"delay": timedelta.max}, "delay"),
        ({"on_conflict": "replace"}, "on_conflict"),
        ({"unique_key": ""}, "unique_key"),
        ({"unique_key": "x" * 1_001}, "unique_key"),
        ({"unique_key": 5}, "unique_key"),
        ({"name": "nul \x00"}, "name"),
        ({"tenant": "half \ud800"}, "tenant"),
        ({"queue": "q" * 256}, "queue"),
        ({"queue": "ü" * 128}, "queue"),
        ({"tags": "one"}, "tags"),
        ({"tags": 5}, "tags"),
        ({"tags": ["fine", 5]}, "tags.1"),
        ({"tags": ["nul \x00"]}, "tags.0"),
        ({"tags": [None]}, "tags.0"),
        ({"attributes": [1]}, "attributes"),
        ({"attributes": {"x": object()}}, "attributes"),
        ({"attributes": {"x": "nul \x00"}}, "attributes"),
        ({"attributes": {("a", "b"): 1}}, "attributes"),
    ],
)
def test_a_wrong_option_is_named_and_nothing_is_written(
    desk: Desk, options: dict[str, Any], path: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        desk.drafts("plain", "x" * 200, **options)
    assert [fault.path for fault in caught.value.faults] == [path]
    assert desk.files == []


def test_all_wrong_options_are_named_together(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as caught:
        desk.drafts("plain", 1, priority=11, delay=-1, on_conflict="x", tags=3, name="\x00")
    paths = {fault.path for fault in caught.value.faults}
    assert paths == {"priority", "delay", "on_conflict", "tags", "name"}


def test_none_means_the_default_for_every_option(desk: Desk) -> None:
    names = [
        *("tenant", "name", "unique_key", "on_conflict", "run_at", "delay", "deadline"),
        *("priority", "queue", "request_id", "created_by", "created_ip", "tags", "attributes"),
    ]
    [with_none] = desk.drafts("plain", 1, **dict.fromkeys(names))
    [without] = desk.drafts("plain", 1)
    assert _but_id(with_none) == _but_id(without)


def _but_id(draft: Draft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in Draft.__slots__ if name != "id"}


def test_the_options_of_the_type_hold_where_the_submit_says_nothing(desk: Desk) -> None:
    [draft] = desk.drafts("order", {"customerId": 1}, tags=("mine", "shop"))
    assert (draft.priority, draft.tags) == (2, ("shop", "mine"))
    [chosen] = desk.drafts("order", {"customerId": 1}, priority=0)
    assert chosen.priority == 0


def test_tags_from_a_generator_reach_every_draft(desk: Desk) -> None:
    drafts = desk.drafts("plain", 1, 2, 3, tags=(tag for tag in ("a", "b")))
    assert [draft.tags for draft in drafts] == [("a", "b")] * 3


def test_the_key_is_made_of_the_unique_fields_whatever_their_alias(desk: Desk) -> None:
    drafts = desk.drafts(
        "order", {"customerId": 1}, {"customerId": 2}, {"customer_id": 1, "note": "again"}
    )
    first, second, third = (draft.unique_key for draft in drafts)
    assert first == third and first != second


@given(json_values, json_values)
def test_keys_are_equal_exactly_when_the_values_are(one: Any, other: Any) -> None:
    assert (unique_key_of(one) == unique_key_of(other)) == (repr_of(one) == repr_of(other))


def repr_of(value: Any) -> str:
    """Equal for equal JSON: 1 and true differ, the order of keys does not matter."""
    if isinstance(value, dict):
        return f"{{{', '.join(f'{key!r}: {repr_of(value[key])}' for key in sorted(value))}}}"
    if isinstance(value, list):
        return f"[{', '.join(repr_of(member) for member in value)}]"
    return repr(value)


def test_of_many_inputs_every_wrong_one_is_named(desk: Desk) -> None:
    with pytest.raises(InvalidInput) as caught:
        desk.drafts("order", {"customerId": 1}, {"customerId": "x"}, {}, "x" * 200)
    assert [fault.path for fault in caught.value.faults] == ["1.customerId", "2.customerId", "3"]


@pytest.mark.parametrize("input", ["nul \x00", {"a": ["half \ud800"]}, math.nan, {"k\x00": 1}])
@pytest.mark.parametrize("type", ["plain", "elsewhere"])
def test_an_input_that_no_database_takes_is_invalid(tmp_path: Path, input: Any, type: str) -> None:
    desk = Desk(tmp_path, allow_unknown_types=True)
    with pytest.raises(InvalidInput, match="the input of"):
        desk.drafts(type, "x" * 200, input)
    assert desk.files == []


def test_a_payload_past_the_limit_takes_those_before_it_along(desk: Desk) -> None:
    with pytest.raises(PayloadTooLarge, match="1,002 bytes of JSON, the limit is 1,000"):
        desk.drafts("plain", "x" * 200, "x" * 500, "x" * 1_000)
    assert desk.files == []


def test_an_unknown_type_is_taken_only_where_the_settings_allow_it(tmp_path: Path) -> None:
    with pytest.raises(UnknownTaskType, match="did you mean 'plain'"):
        Desk(tmp_path).drafts("plane", 1)
    [draft] = Desk(tmp_path, allow_unknown_types=True).drafts("plane", (1, {2: "two"}))
    assert draft.input == [1, {"2": "two"}]


@pytest.mark.parametrize("name", ["", " ", "a#b", "nul \x00", None, 5, "x" * 1_001])
def test_not_every_text_may_be_an_unknown_type(tmp_path: Path, name: Any) -> None:
    with pytest.raises(UnknownTaskType):
        Desk(tmp_path, allow_unknown_types=True).drafts(name, 1)


def test_a_scope_of_one_tenant_is_the_tenant_of_its_submits(desk: Desk) -> None:
    [draft] = desk.drafts("plain", 1, scope=Scope(("acme",)))
    assert draft.tenant == "acme"


@pytest.mark.parametrize(("scope", "tenant"), [(("acme",), "other"), (("a", "b"), None)])
def test_a_tenant_out_of_the_scope_is_refused(
    desk: Desk, scope: tuple[str, ...], tenant: str | None
) -> None:
    with pytest.raises(InvalidInput, match="out of the scope"):
        desk.drafts("plain", 1, scope=Scope(scope), tenant=tenant)


def test_times_are_kept_in_utc(desk: Desk) -> None:
    moment = datetime(2026, 1, 1, 12, tzinfo=timezone(timedelta(hours=5)))
    [draft] = desk.drafts("plain", 1, run_at=moment, deadline=moment)
    assert draft.run_at == moment and draft.run_at.tzinfo is UTC
    assert draft.deadline_at == moment and draft.deadline_at.tzinfo is UTC

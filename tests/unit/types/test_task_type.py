"""Task types: every shape of a body, its input there and back, and what is refused at once."""

import asyncio
import functools
import math
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field, PlainSerializer, SecretStr, computed_field

from taskdb.errors import InvalidInput, TaskAlreadyRegistered, TaskModuleError, UnknownTaskType
from taskdb.model.json_text import decode, encode
from taskdb.model.retry import Retry
from taskdb.types.context import TaskContext
from taskdb.types.declaration import task
from taskdb.types.registry import Registry, import_task_modules
from taskdb.types.task_type import TaskType

if TYPE_CHECKING:
    from nowhere import OnlyForCheckers

CONTEXT = object()


class Colour(Enum):
    RED = "red"


class Address(BaseModel):
    street: str


class Person(BaseModel):
    name: str
    age: int = 3


class Everything(BaseModel):
    at: datetime
    day: date
    price: Decimal
    id: UUID
    colour: Colour
    home: Address
    others: list[Address]
    by_number: dict[int, str]
    pause: timedelta
    pair: tuple[int, str]
    words: set[str]


EVERYTHING = Everything(
    at=datetime(2026, 11, 20, 12, 30, 5, 123456, tzinfo=UTC),
    day=date(2026, 2, 28),
    price=Decimal("0.1000000000000000000001"),
    id=UUID(int=7),
    colour=Colour.RED,
    home=Address(street="Straße 1 \N{SNOWMAN}"),
    others=[Address(street="a"), Address(street="b")],
    by_number={1: "one"},
    pause=timedelta(days=1, microseconds=1),
    pair=(1, "x"),
    words={"only"},
)


class Strict(Everything):
    model_config = ConfigDict(strict=True)


class Aliased(BaseModel):
    customer_id: int = Field(alias="customerId")
    other: str = Field("", validation_alias="otherIn", serialization_alias="otherOut")


class Computing(BaseModel):
    model_config = ConfigDict(extra="forbid")
    a: int

    @computed_field  # type: ignore[prop-decorator]
    @property
    def doubled(self) -> int:
        return self.a * 2


def registered(body: Callable[..., Any], name: str = "t", **options: Any) -> TaskType:
    registry = Registry()
    assert task(name, registry=registry, **options)(body) is body
    return registry.get(name)


def ran(task_type: TaskType, given: Any = None) -> Any:
    """What the body returns, its input having gone through JSON as through the database."""
    return task_type.call(CONTEXT, decode(encode(task_type.dump(given), "it")))


# --- shapes of bodies -----------------------------------------------------------------------------


def with_context_and_model(ctx: TaskContext, input: Person) -> Any:
    return ctx, input


def with_model_of_another_name(ctx: TaskContext, person: Person) -> Any:
    return ctx, person


def with_context_and_dict(ctx: TaskContext, input: dict[str, int]) -> Any:
    return ctx, input


def with_context_of_another_name(context: TaskContext, input: Person) -> Any:
    return context, input


def untyped(ctx, input):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN201
    return ctx, input


def with_fields(ctx: TaskContext, name: str, *, age: int = 3) -> Any:
    return ctx, name, age


def with_fields_only(name: str, age: int = 3) -> Any:
    return name, age


def with_context_only(ctx: TaskContext) -> Any:
    return ctx


def with_nothing() -> str:
    return "done"


def with_list(input: list[int]) -> Any:
    return input


async def asynchronous(ctx: TaskContext, name: str) -> Any:
    await asyncio.sleep(0)
    return ctx, name


def bounded(size: Annotated[int, Field(gt=0)]) -> int:
    return size


def hinted_for_checkers(ctx: "OnlyForCheckers", input: "Person") -> Any:
    return ctx, input


@pytest.mark.parametrize(
    ("body", "input", "expected"),
    [
        (with_context_and_model, {"name": "Ada"}, (CONTEXT, Person(name="Ada"))),
        (with_context_and_model, Person(name="Ada", age=4), (CONTEXT, Person(name="Ada", age=4))),
        (with_model_of_another_name, {"name": "Ada"}, (CONTEXT, Person(name="Ada"))),
        (with_context_and_dict, {"a": 1}, (CONTEXT, {"a": 1})),
        (with_context_and_dict, None, (CONTEXT, {})),
        (with_context_of_another_name, {"name": "Ada"}, (CONTEXT, Person(name="Ada"))),
        (untyped, [1, {"x": None}], (CONTEXT, [1, {"x": None}])),
        (untyped, Person(name="Ada"), (CONTEXT, {"name": "Ada", "age": 3})),
        (with_fields, {"name": "Ada"}, (CONTEXT, "Ada", 3)),
        (with_fields, {"name": "Ada", "age": "4"}, (CONTEXT, "Ada", 4)),
        (with_fields, Person(name="Ada", age=9), (CONTEXT, "Ada", 9)),
        (with_fields_only, {"name": "Ada"}, ("Ada", 3)),
        (with_context_only, None, CONTEXT),
        (with_context_only, {}, CONTEXT),
        (with_nothing, None, "done"),
        (with_list, [1, "2"], [1, 2]),
        (hinted_for_checkers, {"name": "Ada"}, (CONTEXT, Person(name="Ada"))),
    ],
)
def test_a_body_is_called_as_its_signature_says(
    body: Callable[..., Any], input: Any, expected: Any
) -> None:
    assert ran(registered(body), input) == expected


def test_an_async_body_answers_a_coroutine_of_its_result() -> None:
    task_type = registered(asynchronous)
    assert task_type.is_async and not registered(with_fields).is_async
    assert asyncio.run(ran(task_type, {"name": "Ada"})) == (CONTEXT, "Ada")


def test_a_declared_model_gives_its_fields_as_parameters() -> None:
    task_type = registered(with_fields, input=Person)
    assert ran(task_type, {"name": "Ada", "age": 9}) == (CONTEXT, "Ada", 9)
    assert task_type.model is Person


def test_a_declared_model_goes_whole_into_a_single_parameter_that_is_no_field() -> None:
    task_type = registered(untyped, input=Person)
    assert ran(task_type, {"name": "Ada"}) == (CONTEXT, Person(name="Ada"))


def test_a_declared_type_that_is_no_model_is_checked_too() -> None:
    task_type = registered(untyped, input=list[int])
    assert ran(task_type, ["1", 2]) == (CONTEXT, [1, 2])
    with pytest.raises(InvalidInput, match=r"^the input of t is not valid: 1: Input should be"):
        task_type.dump([1, "x"])


def test_a_body_may_take_whatever_fields_its_model_has() -> None:
    def body(ctx: TaskContext, **fields: Any) -> Any:
        return fields

    assert ran(registered(body, input=Person), {"name": "Ada"}) == {"name": "Ada", "age": 3}


def test_a_partial_and_a_callable_object_are_bodies() -> None:
    class Sum:
        def __call__(self, ctx: TaskContext, a: int, b: int) -> int:
            return a + b

    def scaled(factor: int, a: int) -> int:
        return factor * a

    assert ran(registered(Sum()), {"a": "1", "b": 2}) == 3
    partial = functools.partial(scaled, 10)
    assert ran(registered(partial), {"a": 2}) == 20
    assert "scaled" in registered(partial).origin and "Sum" in registered(Sum()).origin


def test_parameters_may_have_the_names_of_a_models_methods() -> None:
    def body(json: int, copy: str, model_name: str) -> Any:
        return json, copy, model_name

    given = {"json": 1, "copy": "c", "model_name": "m"}
    assert ran(registered(body), given) == (1, "c", "m")


def test_constraints_beside_a_hint_hold() -> None:
    task_type = registered(bounded)
    assert ran(task_type, {"size": 1}) == 1
    with pytest.raises(InvalidInput, match="size: Input should be greater than 0"):
        task_type.dump({"size": 0})


def test_the_function_itself_stays_callable() -> None:
    registry = Registry()
    decorated = task("plus", registry=registry)(lambda a, b: a + b)
    assert decorated(1, 2) == 3


# --- inputs there and back ------------------------------------------------------------------------


@pytest.mark.parametrize("model", [Everything, Strict])
def test_rich_values_come_back_through_json_as_they_were(model: type[Everything]) -> None:
    value = model(**EVERYTHING.model_dump())
    task_type = registered(untyped, input=model)
    assert ran(task_type, value) == (CONTEXT, value)
    # And from what a web view hands over: JSON values, also to a strict model.
    assert ran(task_type, decode(value.model_dump_json())) == (CONTEXT, value)


def test_an_aliased_field_is_taken_by_alias_or_name_and_comes_back() -> None:
    task_type = registered(untyped, input=Aliased)
    expected = Aliased(customerId=7, otherIn="x")
    for form in ({"customerId": 7, "otherIn": "x"}, {"customer_id": 7, "other": "x"}, expected):
        assert ran(task_type, form) == (CONTEXT, expected)


def test_what_a_model_computes_is_not_an_input() -> None:
    task_type = registered(untyped, input=Computing)
    assert task_type.dump(Computing(a=2)) == {"a": 2}
    assert ran(task_type, {"a": 2}) == (CONTEXT, Computing(a=2))


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers()
        | st.floats(allow_nan=False, allow_infinity=False)
        # What PostgreSQL cannot store is refused later, by who encodes.
        | st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\x00")),
        lambda inner: st.lists(inner) | st.dictionaries(st.text("abc"), inner),
    )
)
def test_any_json_value_goes_through_an_untyped_body(value: Any) -> None:
    task_type = registered(untyped)
    expected = {} if value is None else value
    assert ran(task_type, value) == (CONTEXT, expected)


@pytest.mark.parametrize("value", [object(), {"a": object()}, b"\xff", [print]])
def test_what_is_no_json_is_an_invalid_input(value: Any) -> None:
    with pytest.raises(InvalidInput, match="the input of t is not valid: is not JSON"):
        registered(untyped).dump(value)


def test_an_input_that_contains_itself_is_invalid() -> None:
    loop: list[Any] = []
    loop.append(loop)
    with pytest.raises(InvalidInput):
        registered(untyped).dump(loop)


def test_a_model_that_was_changed_into_nonsense_is_refused_before_it_is_stored() -> None:
    person = Person(name="Ada")
    person.age = "old"  # type: ignore[assignment]
    with pytest.raises(InvalidInput, match="age"):
        registered(untyped, input=Person).dump(person)


def test_what_the_worker_could_not_read_again_is_refused_at_once() -> None:
    def body(size: Annotated[int, PlainSerializer(lambda size: f"{size} cm")]) -> int:
        return size

    with pytest.raises(InvalidInput, match="size: does not survive JSON"):
        registered(body).dump({"size": 3})


def test_invalid_input_names_every_fault_with_its_path() -> None:
    given = {"name": 1, "friends": [{"street": "x"}, {"street": 2}, {}], "more": True}

    class Guest(BaseModel):
        model_config = ConfigDict(extra="forbid")
        name: str
        age: int
        friends: list[Address]

    with pytest.raises(InvalidInput) as caught:
        registered(untyped, name="feast.invite", input=Guest).dump(given)
    paths = {fault.path for fault in caught.value.faults}
    assert paths == {"name", "age", "friends.1.street", "friends.2.street", "more"}
    assert str(caught.value).startswith("the input of feast.invite is not valid: ")
    assert all(path in str(caught.value) for path in paths)


def test_a_field_that_the_body_does_not_take_is_refused() -> None:
    with pytest.raises(InvalidInput, match="nome: Extra inputs are not permitted"):
        registered(with_fields).dump({"name": "x", "nome": "y"})


@pytest.mark.parametrize("given", [None, "text", 3, []])
def test_what_is_no_object_is_refused_where_fields_are_wanted(given: Any) -> None:
    with pytest.raises(InvalidInput):
        registered(with_fields).dump(given)


# --- unique fields --------------------------------------------------------------------------------


def test_the_unique_values_are_those_of_the_fields_whatever_their_alias() -> None:
    task_type = registered(untyped, input=Aliased, unique="customer_id")
    keys = [task_type.unique_values(task_type.dump({"customerId": n})) for n in (1, 2)]
    assert keys == [{"customer_id": 1}, {"customer_id": 2}]


def test_unique_fields_of_an_untyped_input_need_an_object() -> None:
    task_type = registered(untyped, unique=["a", "b"])
    assert task_type.unique_values({"a": 1}) == {"a": 1, "b": None}
    with pytest.raises(InvalidInput, match="has no fields, and a, b must be unique"):
        task_type.unique_values([1])


def test_unique_must_name_fields_of_the_input() -> None:
    with pytest.raises(ValueError, match=r"unique=\['nmae'\] are not fields .*'age', 'name'"):
        registered(with_fields, unique=("name", "nmae"))


# --- wrong options --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": ""}, "cannot name a task type"),
        ({"name": " "}, "cannot name a task type"),
        ({"name": "a#b"}, "cannot name a task type"),
        ({"name": "a\nb"}, "cannot name a task type"),
        ({"name": 3}, "cannot name a task type"),
        ({"priority": 10}, "priority 10 is out of range"),
        ({"priority": -1}, "priority -1 is out of range"),
        ({"priority": "high"}, "priority 'high' is out of range"),
        ({"priority": True}, "priority True is out of range"),
        ({"retry": 3}, "pass Retry"),
        ({"queue": ""}, "cannot name a queue"),
        ({"queue": 1}, "cannot name a queue"),
        ({"tags": [1]}, "tags=.*pass text"),
        ({"unique": [None]}, "unique=.*pass text"),
        ({"timeout": 0}, "timeout=0 must be longer than zero"),
        ({"timeout": timedelta(seconds=-1)}, "must be longer than zero"),
        ({"timeout": "soon"}, "timeout='soon' is not a duration"),
        ({"soft_timeout": math.nan}, "soft_timeout=nan is not between 0 and"),
        ({"soft_timeout": math.inf}, "soft_timeout=inf is not between 0 and"),
        ({"timeout": 5, "soft_timeout": 5}, "must be shorter than timeout"),
    ],
)
def test_wrong_options_are_refused_when_the_type_is_declared(
    options: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        registered(with_nothing, **options)


def test_an_unknown_option_is_a_type_error() -> None:
    with pytest.raises(TypeError, match="retires"):
        registered(with_nothing, retires=3)


def test_timeouts_are_durations_and_seconds_will_do() -> None:
    task_type = registered(with_nothing, timeout=90, soft_timeout=timedelta(minutes=1))
    assert task_type.timeout == timedelta(seconds=90)
    assert task_type.soft_timeout == timedelta(seconds=60)


def test_one_tag_and_one_unique_field_need_no_list() -> None:
    task_type = registered(with_fields, tags="nightly", unique="name", retry=Retry())
    assert (task_type.tags, task_type.unique) == (("nightly",), ("name",))


def body_of_any_fields(*args: Any) -> None: ...


def body_without_a_field(ctx: TaskContext, name: str) -> None: ...


def body_of_unknown_fields(name: str, age: int, size: int) -> None: ...


def body_by_place(name: str, age: int, /) -> None: ...


def body_with_underscore(_hidden: int) -> None: ...


def body_of_checkers(size: "OnlyForCheckers") -> None: ...


@pytest.mark.parametrize(
    ("body", "options", "message"),
    [
        ("text", {}, "needs a function"),
        (body_of_any_fields, {}, r"parameter \*args.* cannot be a field"),
        (body_by_place, {}, "cannot be a field"),
        (body_by_place, {"input": Person}, "cannot be positional-only: name, age"),
        (body_of_unknown_fields, {"input": Person}, "the input has no field for size"),
        (with_fields_only, {"input": Address}, "has no parameter for street.*for name"),
        (with_fields_only, {"input": list[int]}, "needs a model"),
        (body_with_underscore, {}, "the input has no field for _hidden"),
        (body_of_checkers, {}, "the hint of parameter size cannot be resolved.*OnlyForCheckers"),
    ],
)
def test_a_body_that_could_never_be_called_is_refused_when_it_is_declared(
    body: Any, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(TypeError, match=message):
        registered(body, **options)


# --- the registry ---------------------------------------------------------------------------------


def test_a_name_taken_by_another_body_names_both() -> None:
    registry = Registry()
    task("sum", registry=registry)(with_fields)
    with pytest.raises(TaskAlreadyRegistered) as caught:
        task("sum", registry=registry)(with_fields_only)
    assert caught.value.first.endswith("test_task_type.with_fields")
    assert caught.value.second.endswith("test_task_type.with_fields_only")
    assert caught.value.first in str(caught.value) and caught.value.second in str(caught.value)
    assert registry.get("sum").body is with_fields


def test_the_same_body_declared_again_replaces_itself() -> None:
    registry = Registry()
    for priority in (1, 2):
        task("sum", registry=registry, priority=priority)(with_fields)
    assert registry.get("sum").priority == 2 and len(registry) == 1


def test_names_may_be_any_text() -> None:
    registry = Registry()
    for name in ("größe.ändern", "販売.集計", "task with spaces", "\N{SNOWMAN}"):
        task(name, registry=registry)(with_nothing)
        assert registry.get(name).name == name and name in registry
    assert [one.name for one in registry] == sorted(one.name for one in registry)


def test_an_unknown_name_gets_a_guess_and_the_list() -> None:
    registry = Registry()
    task("customers.import", registry=registry)(with_nothing)
    with pytest.raises(UnknownTaskType, match=r"did you mean 'customers\.import'") as caught:
        registry.get("customer.import")
    assert caught.value.known == ("customers.import",)
    assert registry.find("customer.import") is None


# --- discovery ------------------------------------------------------------------------------------


@dataclass
class Modules:
    """Modules on the path of this process, named for this test only."""

    folder: Path
    names: list[str]

    def write(self, name: str, text: str) -> str:
        (self.folder / f"{name}.py").write_text(text)
        self.names.append(name)
        return name


@pytest.fixture
def modules(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Modules]:
    monkeypatch.syspath_prepend(tmp_path)
    found = Modules(tmp_path, [])
    yield found
    for name in found.names:
        sys.modules.pop(name, None)


def test_every_module_of_the_settings_is_imported_once(modules: Modules) -> None:
    text = "import sys\nsys.imported = getattr(sys, 'imported', []) + [__name__]\n"
    names = [modules.write(name, text) for name in ("discover_one", "discover_two")]
    try:
        import_task_modules(names)
        import_task_modules(names)
        assert sys.imported == names  # type: ignore[attr-defined]
    finally:
        del sys.imported  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module_anywhere", "ModuleNotFoundError"),
        ("raise RuntimeError('broken on purpose')", "RuntimeError: broken on purpose"),
        ("import sys; sys.exit(3)", "SystemExit: 3"),
        ("def (", "SyntaxError"),
    ],
)
def test_a_module_that_raises_is_named_with_the_reason(
    modules: Modules, text: str, reason: str
) -> None:
    name = modules.write("discover_broken", text)
    with pytest.raises(TaskModuleError, match="TASKDB_TASK_MODULES") as caught:
        import_task_modules([name])
    assert caught.value.module == name and reason in caught.value.reason


def test_a_missing_module_is_named() -> None:
    with pytest.raises(TaskModuleError, match="no_such_module_of_tasks"):
        import_task_modules(["no_such_module_of_tasks"])


def test_a_double_name_found_by_discovery_is_told_as_such(modules: Modules) -> None:
    text = "from taskdb import task\n@task('discover.double')\ndef body(): ...\n"
    names = [modules.write(name, text) for name in ("discover_first", "discover_second")]
    with pytest.raises(TaskAlreadyRegistered, match=r"discover_first\.body and by discover_second"):
        import_task_modules(names)


def test_a_literal_hint_is_checked() -> None:
    def body(mode: Literal["fast", "slow"]) -> str:
        return mode

    with pytest.raises(InvalidInput, match="mode"):
        registered(body).dump({"mode": "medium"})


def test_a_secret_is_no_input() -> None:
    class Login(BaseModel):
        password: SecretStr

    class Nested(BaseModel):
        logins: list[Login]

    def one(input: Login) -> None: ...

    def two(ctx: object, user: str, token: SecretStr | None = None) -> None: ...

    def three(input: Nested) -> None: ...

    for body, place in ((one, "password"), (two, "token"), (three, "Login.password")):
        with pytest.raises(TypeError, match=f"{place} is a secret"):
            task("login", registry=Registry())(body)


def _yields(ctx: TaskContext) -> Iterator[int]:
    yield 1


async def _yields_later(ctx: TaskContext) -> AsyncIterator[int]:
    yield 1


class _Yielding:
    def __call__(self, ctx: TaskContext) -> Iterator[int]:
        yield 1


@pytest.mark.parametrize(
    "body",
    [
        _yields,
        _yields_later,
        functools.partial(_yields),
        functools.partial(_yields_later),
        _Yielding(),
    ],
    ids=["generator", "async generator", "partial", "async partial", "object"],
)
def test_a_generator_cannot_be_a_body(body: Any) -> None:
    with pytest.raises(TypeError, match=r"its body is a generator.*return a list"):
        task("yields", registry=Registry())(body)

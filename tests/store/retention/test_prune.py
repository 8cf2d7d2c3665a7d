"""Pruning: what is over for long enough goes, whole trees at a time; all else stays."""

import itertools
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from taskdb.errors import TaskIsPruned, TaskNotFound
from taskdb.model.clock import FixedClock
from taskdb.model.entity import TaskRole
from taskdb.model.fan_out import FanOutSpec
from taskdb.model.retention import Retention
from taskdb.model.status import TaskStatus as S
from taskdb.store.contract import EVERYONE
from taskdb.store.payload.payload import FolderPayloadStore, Payload, Payloads
from taskdb.store.retention import prune as module
from taskdb.store.retention.archive import Archive
from taskdb.store.retention.prune import Pruned, PruneRounds
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.upkeep import StoreUpkeep
from tests.cases import each
from tests.store import trees
from tests.store.tasks import DONE, HOUR, claim, create, draft, in_status, running, write

DAY = timedelta(days=1)
LONG = 60.0
OVER = ("COMPLETED", "FAILED", "CANCELED")


@pytest.fixture
def clock() -> FixedClock:
    return FixedClock(datetime(2026, 1, 1, tzinfo=UTC))


@pytest.fixture
def payloads(tmp_path: Path) -> Payloads:
    return Payloads(FolderPayloadStore(tmp_path / "payloads"), 100, 10_000)


@pytest.fixture
def store(store_url: str, clock: FixedClock, payloads: Payloads) -> Iterator[Store]:
    with Store(store_url, clock=clock, payloads=payloads).closing() as opened:
        yield opened


def pruning_of(store: Store, *rules: dict[str, str], archive: Archive | None = None) -> PruneRounds:
    return StoreUpkeep(store).prune_rounds(Retention.parse(rules), archive)


def prune(store: Store, *rules: dict[str, str], archive: Archive | None = None) -> Pruned:
    pruning = pruning_of(store, *rules, archive=archive)
    pruned = pruning.run(LONG)
    assert pruning.is_round_over
    return pruned


def ended(store: Store, status: S = S.COMPLETED, **values: Any) -> str:
    return in_status(store, status, **values).id


def left(store: Store, table: str = "taskdb_task") -> int:
    return int(write(store, f"SELECT COUNT(*) AS n FROM {table}")[0]["n"])


def family(store: Store, parts: int, **values: Any) -> str:
    """A fan-out that is over, whose parts are over."""
    spec = FanOutSpec(part_type="part")
    parent = draft(**values)
    store.submissions.create_fan_out(parent, (draft() for _ in range(parts)), spec, EVERYONE)
    end_all(store)
    return parent.id


def end_all(store: Store) -> None:
    now = store.database.dialect.now
    write(store, f"UPDATE taskdb_task SET status = 'COMPLETED', waits_for = NULL, ended_at = {now}")


@each("status", S, alone=True)
def test_what_is_over_goes_after_its_time_and_all_else_never(
    store: Store, clock: FixedClock, status: S
) -> None:
    in_status(store, status)
    keep = {"COMPLETED": 30, "CANCELED": 30, "FAILED": 90}.get(status, 30_000) * DAY
    clock.advance(keep - HOUR)
    assert prune(store).rows == 0
    clock.advance(2 * HOUR)
    assert prune(store).rows == (1 if status in OVER else 0)
    assert left(store) == (0 if status in OVER else 1)
    assert (left(store, "taskdb_event") == 0) == (status in OVER)


def test_the_end_counts_and_not_the_beginning(store: Store, clock: FixedClock) -> None:
    run = running(store)
    clock.advance(40 * DAY)
    store.outcomes.complete(run.id, run.token, DONE)
    assert prune(store).rows == 0
    clock.advance(30 * DAY)
    assert prune(store).rows == 1


def test_the_first_rule_that_fits_decides(store: Store, clock: FixedClock) -> None:
    mail, kept, other = (
        ended(store, type="mail.send"),
        ended(store, type="mail.send", tenant="kept"),
        ended(store),
    )
    clock.advance(2 * HOUR)
    rules = ({"tenant": "kept", "keep": "never"}, {"type": "mail.*", "keep": "1h"})
    assert pruning_of(store, *rules).due() == {S.COMPLETED: 1}
    assert prune(store, *rules) == Pruned(1, 1)
    with pytest.raises(TaskNotFound):
        store.tasks.get(mail, EVERYONE)
    clock.advance(90 * DAY)
    assert prune(store, *rules) == Pruned(1, 1)
    with pytest.raises(TaskNotFound):
        store.tasks.get(other, EVERYONE)
    assert store.tasks.get(kept, EVERYONE).status is S.COMPLETED


def test_nothing_goes_where_everything_is_kept(store: Store, clock: FixedClock) -> None:
    ended(store)
    clock.advance(1_000 * DAY)
    assert prune(store, {"keep": "never"}) == Pruned()


def test_a_unique_key_is_free_again(store: Store, clock: FixedClock) -> None:
    first = ended(store, unique_key="k")
    clock.advance(31 * DAY)
    prune(store)
    assert create(store, unique_key="k") != first


def test_a_tree_goes_as_a_whole_in_batches(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 3)
    monkeypatch.setattr(module, "_LOOK", 4)
    outer = family(store, 4)
    middle = write(store, "SELECT id FROM taskdb_task WHERE parent_id = :id", id=outer)[1]["id"]
    store.submissions.create(
        [draft(parent_id=str(middle), position=n, role=TaskRole.PART) for n in range(5)], EVERYONE
    )
    end_all(store)
    alone = [ended(store) for _ in range(4)]
    clock.advance(31 * DAY)
    young = ended(store)
    assert prune(store) == Pruned(1 + len(alone), 1 + 4 + 5 + len(alone))
    assert [str(row["id"]) for row in write(store, "SELECT id FROM taskdb_task")] == [young]
    assert left(store, "taskdb_event") == len(store.tasks.history(young, EVERYONE))


def test_a_run_without_time_goes_on_where_it_was(
    store: Store, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_BATCH", 2)
    family(store, 5)
    ended(store)
    clock.advance(31 * DAY)
    pruning, ticks = pruning_of(store), iter(range(10_000))
    # Of pruning alone: connections have clocks of their own.
    monkeypatch.setattr(module, "time", SimpleNamespace(monotonic=lambda: float(next(ticks))))
    runs = []
    while not pruning.is_round_over:
        runs.append(pruning.run(3.5))
    monkeypatch.undo()
    assert len(runs) > 2 and all(run.rows <= 4 for run in runs)
    assert sum(runs, Pruned()) == Pruned(2, 7)
    assert pruning.run(LONG) == Pruned() and pruning.is_round_over


def test_a_round_after_a_round_finds_what_has_become_due(store: Store, clock: FixedClock) -> None:
    pruning = pruning_of(store)
    for _ in range(2):
        ended(store)
        clock.advance(31 * DAY)
        assert pruning.run(LONG) == Pruned(1, 1)


def test_what_was_retried_after_it_was_found_stays(store: Store, clock: FixedClock) -> None:
    retried, parent = ended(store, S.FAILED), family(store, 3)
    write(store, "UPDATE taskdb_task SET status = 'FAILED' WHERE id = :id", id=parent)
    clock.advance(91 * DAY)
    pruning = pruning_of(store)
    pruning._look_further()
    assert set(pruning._due) == {retried, parent}
    store.interventions.retry(retried, EVERYONE)
    store.interventions.retry(parent, EVERYONE)
    assert pruning.run(LONG) == Pruned()
    assert left(store) == 5


def test_what_someone_else_has_locked_is_left_to_the_next_round(
    postgresql_url: str, clock: FixedClock
) -> None:
    with Store(postgresql_url, clock=clock).closing() as store:
        locked, free = ended(store), ended(store)
        clock.advance(31 * DAY)
        with store.units.open() as unit:
            unit.lock(locked)
            assert prune(store) == Pruned(1, 1)
        assert store.tasks.get(locked, EVERYONE).status is S.COMPLETED
        with pytest.raises(TaskNotFound):
            store.tasks.get(free, EVERYONE)
        assert prune(store) == Pruned(1, 1)


def test_a_tree_with_an_open_sub_task_is_kept(store: Store, clock: FixedClock) -> None:
    parent = family(store, 3)
    part = write(store, "SELECT id FROM taskdb_task WHERE parent_id = :id", id=parent)[0]["id"]
    write(store, "UPDATE taskdb_task SET status = 'QUEUED' WHERE id = :id", id=str(part))
    clock.advance(31 * DAY)
    assert prune(store) == Pruned()
    assert left(store) == 4


def fan_out_with_bad_part(store: Store) -> str:
    root = trees.fan_out(store, 4)
    for number, part in enumerate(trees.part_ids(store, root)):
        trees.end(store, part, well=number > 0)
    return root


def chunks_with_bad_item(store: Store) -> str:
    root = trees.fan_out(store, 4, chunk_size=2)
    for number, part in enumerate(trees.part_ids(store, root)):
        trees.end(store, part, well=number > 0)
    return root


def fan_out_with_bad_handler(store: Store) -> str:
    root = trees.fan_out(store, 3, on_join=trees.TOLD)
    trees.end_all(store, trees.part_ids(store, root))
    trees.end(store, trees.handler(store, root, "on_join").id, well=False)
    return root


def sequence_with_bad_step(store: Store) -> str:
    root = trees.sequence(store, trees.step("a"), trees.step("b"), trees.step("c"))
    trees.end(store, trees.newest_step(store, root).id)
    trees.end(store, trees.newest_step(store, root).id, well=False)
    return root


def sequence_of_fan_outs(store: Store) -> str:
    """A sub-fan-out of which a part FAILED, with a sound step before it."""
    spec = FanOutSpec(part_type="part")
    root = trees.sequence(store, trees.step("a"), trees.step("b", fan_out=spec))
    trees.end(store, trees.newest_step(store, root).id, [1, 2, 3])
    inner = trees.newest_step(store, root).id
    for number, part in enumerate(trees.part_ids(store, inner)):
        trees.end(store, part, well=number > 0)
    return root


class SmallArchive(Archive):
    """Has room for one batch."""

    def append(self, tasks: Iterable[Mapping[str, Any]], at: datetime) -> None:
        if list(self._folder.glob("*")):
            raise OSError("no room")
        super().append(tasks, at)


BAD_TREES = [
    fan_out_with_bad_part,
    chunks_with_bad_item,
    fan_out_with_bad_handler,
    sequence_with_bad_step,
    sequence_of_fan_outs,
]


@pytest.mark.parametrize("make", BAD_TREES)
@pytest.mark.parametrize("rows", [1, 2])
def test_a_tree_of_which_some_is_pruned_never_runs_again(
    store: Store,
    clock: FixedClock,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    make: Callable[[Store], str],
    rows: int,
) -> None:
    monkeypatch.setattr(module, "_BATCH", rows)
    root = make(store)
    write(store, "UPDATE taskdb_task SET unique_key = 'k' WHERE id = :id", id=root)
    spec = store.tasks.get(root, EVERYONE).spec
    number = left(store)
    assert store.tasks.get(root, EVERYONE).status is S.FAILED
    clock.advance(91 * DAY)
    with pytest.raises(OSError, match="no room"):
        prune(store, archive=SmallArchive(tmp_path / "archive"))
    assert left(store) in range(1, number)
    rest = [str(one["id"]) for one in write(store, "SELECT id FROM taskdb_task")]
    for one, force in itertools.product(rest, [False, True]):
        with pytest.raises(TaskIsPruned, match="submit the work again") as refused:
            store.interventions.retry(one, EVERYONE, force=force)
        assert (refused.value.task_id, refused.value.root_id) == (one, root)
    for one in store.bulk.retry(
        Filter(with_sub_tasks=True, status=(S.FAILED, S.COMPLETED)), EVERYONE
    ):
        assert one == (0, [])
    assert store.tasks.get(root, EVERYONE).status is S.FAILED
    (fresh,) = store.submissions.create([draft(type="root", unique_key="k")], EVERYONE)
    assert fresh.id not in rest
    assert prune(store, archive=Archive(tmp_path / "archive")).tasks == 1
    assert [str(one["id"]) for one in write(store, "SELECT id FROM taskdb_task")] == [fresh.id]
    archived = {line["id"]: line for line in lines(tmp_path / "archive")}
    assert len(archived) == number
    assert archived[root]["spec"] == spec


# --- the archive ----------------------------------------------------------------------------------


def lines(folder: Path) -> list[dict[str, Any]]:
    return [
        json.loads(line)
        for file in sorted(folder.iterdir())
        for line in file.read_text(encoding="utf8").splitlines()
    ]


def test_each_task_is_a_line_of_its_day_with_its_payloads_and_history(
    store: Store, clock: FixedClock, payloads: Payloads, tmp_path: Path
) -> None:
    task_id = create(store, tags=("a",))
    large = payloads.pack("x" * 200, f"{task_id}-result-1", "it")
    assert claim(store, task_id)
    store.outcomes.complete(task_id, "token-1", large)
    parent = family(store, 2)
    clock.advance(31 * DAY)
    archive = Archive(tmp_path / "archive")
    assert prune(store, archive=archive) == Pruned(2, 4)
    (file,) = (tmp_path / "archive").iterdir()
    assert file.name == "tasks-2026-02-01.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    found = {line["id"]: line for line in lines(tmp_path / "archive")}
    line = found[task_id]
    assert (line["input"], line["result"], line["tags"]) == ({"a": 1, "b": 2}, "x" * 200, ["a"])
    assert line["created_at"] == "2026-01-01T00:00:00+00:00"
    history = [(event["from_status"], event["to_status"]) for event in line["history"]]
    assert history == [(None, "CREATED"), ("CREATED", "STARTED"), ("STARTED", "COMPLETED")]
    assert len([one for one in found.values() if one["parent_id"] == parent]) == 2
    assert not list((tmp_path / "payloads").glob("*/*"))
    clock.advance(DAY)
    ended(store)
    clock.advance(31 * DAY)
    prune(store, archive=archive)
    assert len(list((tmp_path / "archive").iterdir())) == 2


def test_what_cannot_be_archived_is_not_deleted(
    store: Store, clock: FixedClock, tmp_path: Path
) -> None:
    ended(store)
    clock.advance(31 * DAY)
    (tmp_path / "archive").write_text("no folder")
    with pytest.raises(OSError, match="archive"):
        prune(store, archive=Archive(tmp_path / "archive"))
    assert (left(store), left(store, "taskdb_event")) == (1, 3)


def test_a_crash_behind_the_archive_repeats_lines_and_loses_none(
    store: Store, clock: FixedClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task_id = ended(store)
    clock.advance(31 * DAY)
    archive, append = Archive(tmp_path), Archive.append

    def crash(*values: Any) -> None:
        append(*values)
        raise KeyboardInterrupt

    monkeypatch.setattr(Archive, "append", crash)
    with pytest.raises(KeyboardInterrupt):
        prune(store, archive=archive)
    monkeypatch.undo()
    (file,) = tmp_path.glob("*.jsonl")
    with file.open("a") as torn:
        torn.write('{"id": "half')
    assert prune(store, archive=archive) == Pruned(1, 1)
    written = file.read_text().splitlines()
    assert [json.loads(written[place])["id"] for place in (0, 2)] == [task_id, task_id]


def test_a_lost_payload_keeps_nothing_from_being_pruned(
    store: Store, clock: FixedClock, tmp_path: Path
) -> None:
    run = running(store)
    store.outcomes.complete(run.id, run.token, Payload(None, None, "2026-01-01/gone"))
    clock.advance(31 * DAY)
    assert prune(store, archive=Archive(tmp_path / "archive")) == Pruned(1, 1)
    (line,) = lines(tmp_path / "archive")
    assert (line["result"], line["result_ref"]) == (None, "2026-01-01/gone")

"""When the alerts page, and when they let people sleep."""

import pytest
from tests.repository.alert_rules import Labels, firing, labeled

HERE = labeled(instance="beat-1")
WELL = {
    "taskdb_reporter": {HERE: 1.0},
    "taskdb_workers": {labeled(state="live"): 4.0, labeled(state="stale"): 0.0},
    "taskdb_beats": {HERE: 2.0},
}


def moves(failed: int, completed: int, type: str = "report") -> dict[str, dict[Labels, float]]:
    return {
        "taskdb_task_moves_total": {
            labeled(type=type, queue="taskdb", status="FAILED"): float(failed),
            labeled(type=type, queue="taskdb", status="COMPLETED"): float(completed),
        }
    }


def test_nothing_fires_where_all_is_well() -> None:
    assert firing({**WELL, **moves(0, 1_000)}) == {}


@pytest.mark.parametrize(("failed", "completed"), [(1, 0), (1, 3), (4, 0), (5, 1_000)])
def test_a_failure_or_a_few_at_night_page_nobody(failed: int, completed: int) -> None:
    assert firing({**WELL, **moves(failed, completed)}) == {}


@pytest.mark.parametrize(("failed", "completed"), [(5, 0), (5, 40), (200, 1_000)])
def test_many_failures_of_a_type_page(failed: int, completed: int) -> None:
    fired = firing({**WELL, **moves(failed, completed)})
    assert fired == {
        "TaskDBTasksFail": {labeled(type="report"): pytest.approx(failed / (failed + completed))}
    }


def test_failures_of_one_type_do_not_page_for_another() -> None:
    quiet, busy = moves(1, 0, "quiet"), moves(50, 50, "busy")
    both = {name: {**quiet[name], **busy[name]} for name in quiet}
    assert set(firing({**WELL, **both})["TaskDBTasksFail"]) == {labeled(type="busy")}


@pytest.mark.parametrize(
    ("name", "labels", "few", "many"),
    [
        ("taskdb_crashes_total", {"type": "report", "queue": "q"}, 1, 9),
        ("taskdb_workers", {"state": "stale"}, 1, 3),
    ],
)
def test_one_run_or_one_worker_that_dies_pages_nobody(
    name: str, labels: dict[str, str], few: int, many: int
) -> None:
    rescued = {"taskdb_rescues_total": {labeled(type="report", queue="q"): 0.0}}
    samples = {**WELL, **rescued}
    for number, expected in ((few, 0), (many, 1)):
        given = {**samples, name: {**samples.get(name, {}), labeled(**labels): float(number)}}
        assert len(firing(given)) == expected


@pytest.mark.parametrize(
    ("alert", "samples"),
    [
        (
            "TaskDBDeadRows",
            {
                "taskdb_table_dead_rows": {labeled(table="taskdb_task"): 400_000.0},
                "taskdb_table_dead_share": {labeled(table="taskdb_task"): 0.4},
            },
        ),
        ("TaskDBDefaultPartition", {"taskdb_default_partition_rows": {HERE: 3.0}}),
        ("TaskDBVacuumHeldBack", {"taskdb_vacuum_held_back_seconds": {HERE: 4_000.0}}),
        (
            "TaskDBDiskLow",
            {
                "taskdb_disk_free_bytes": {labeled(instance="b", place="payloads"): 5e9},
                "taskdb_disk_bytes": {labeled(instance="b", place="payloads"): 1e11},
            },
        ),
        ("TaskDBOneBeat", {"taskdb_beats": {HERE: 1.0}}),
    ],
)
def test_what_upkeep_cannot_mend_pages(alert: str, samples: dict[str, dict[Labels, float]]) -> None:
    assert set(firing({**WELL, **samples})) == {alert}


@pytest.mark.parametrize(
    "samples",
    [
        # Many, of a table that has many more.
        {
            "taskdb_table_dead_rows": {labeled(table="taskdb_task"): 400_000.0},
            "taskdb_table_dead_share": {labeled(table="taskdb_task"): 0.1},
        },
        # A large share of a small table.
        {
            "taskdb_table_dead_rows": {labeled(table="taskdb_slot"): 900.0},
            "taskdb_table_dead_share": {labeled(table="taskdb_slot"): 0.9},
        },
        {
            "taskdb_disk_free_bytes": {labeled(instance="b", place="payloads"): 5e10},
            "taskdb_disk_bytes": {labeled(instance="b", place="payloads"): 1e11},
        },
    ],
)
def test_what_autovacuum_and_space_allow_pages_nobody(
    samples: dict[str, dict[Labels, float]],
) -> None:
    assert firing({**WELL, **samples}) == {}

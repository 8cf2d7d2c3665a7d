"""The matrix is whole, its selections are fair, and its runner runs."""

import json
from collections import Counter
from pathlib import Path

import pytest
from tests.chaos.__main__ import main
from tests.chaos.cell import (
    THOUSAND,
    Broker,
    Fault,
    Loop,
    Moment,
    Victim,
    absence,
    absences,
    every_cell,
    selection,
)

pytestmark = pytest.mark.long


def test_every_combination_is_a_cell_or_has_a_reason_not_to_be() -> None:
    on_redis = [cell for cell in every_cell() if cell.broker is Broker.REDIS]
    left_out = [place for places in absences().values() for place in places]
    # The cell of a thousand stands beside that of the mix, and a row is poison for each loop.
    there = {(cell.victim, cell.fault, cell.moment) for cell in on_redis}
    assert len(there) + len(left_out) == len(Victim) * len(Fault) * len(Moment)
    assert {cell.loop for cell in on_redis} == {None, *Loop}
    assert len(set(every_cell())) == len(every_cell())


def test_a_fault_that_every_victim_has_is_absent_nowhere_without_a_reason() -> None:
    for victim in set(Victim) - {Victim.ROW}:
        own = [fault for fault in Fault if absence(victim, fault, Moment.QUEUED) is None]
        assert Fault.STOP in own
        assert len(own) >= 2


@pytest.mark.parametrize("seed", range(5))
def test_a_selection_has_each_victim_with_each_fault_each_moment_and_each_broker(seed: int) -> None:
    chosen = selection(seed, 60)
    assert len(set(chosen)) == 60
    assert THOUSAND in chosen
    assert {cell.moment for cell in chosen} == set(Moment)
    assert {cell.broker for cell in chosen} == set(Broker)
    pairs = {(cell.victim, cell.fault) for cell in chosen}
    assert pairs == {(cell.victim, cell.fault) for cell in every_cell()}
    assert chosen == selection(seed, 60)
    assert chosen != selection(seed + 1, 60)


def test_a_killed_worker_loses_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--only", "whole worker,kill -9,claimed", "--broker", "redis", "--json"]
    code = main([*words, "--lanes", "1"])
    told = capsys.readouterr()
    (cell,) = json.loads(told.out)
    assert code == 0, told.err
    assert (cell["lost"], cell["lies"], cell["restarts"], cell["error"]) == ([], [], 0, "")
    assert cell["rows"] > 30
    assert 0 < cell["detect_seconds"] < cell["recover_seconds"] < 30


def test_a_worker_whose_group_is_told_to_stop_counts_no_crash(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--only", "whole worker,SIGTERM,in the body", "--broker", "redis", "--json"]
    code = main([*words, "--lanes", "1"])
    told = capsys.readouterr()
    (cell,) = json.loads(told.out)
    assert code == 0, told.err
    assert (cell["lost"], cell["lies"], cell["restarts"], cell["error"]) == ([], [], 0, "")


def test_a_row_that_no_relay_can_publish_loses_nothing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    words = ["--only", "row,poison,relay", "--json", "--lanes", "1"]
    code = main(words)
    told = capsys.readouterr()
    (cell,) = json.loads(told.out)
    assert code == 0, told.err
    assert (cell["lost"], cell["lies"], cell["restarts"], cell["error"]) == ([], [], 0, "")
    assert cell["rows"] > 30


@pytest.mark.parametrize("fault", ["failover to read-only", "a lock on the row"])
@pytest.mark.parametrize("moment", ["after the body"])
def test_an_outcome_that_the_database_refuses_loses_nothing(
    capsys: pytest.CaptureFixture[str], fault: str, moment: str
) -> None:
    code = main(["--only", f"database,{fault},{moment}", "--json", "--lanes", "1"])
    told = capsys.readouterr()
    (cell,) = json.loads(told.out)
    assert code == 0, told.err
    assert (cell["lost"], cell["lies"], cell["restarts"], cell["error"]) == ([], [], 0, "")
    assert cell["duplicate_bodies"] == 0


def test_the_page_tells_what_there_is() -> None:
    page = (Path(__file__).parents[2] / "docs" / "reliability.md").read_text()
    counts = Counter(cell.broker for cell in every_cell())
    assert f"{len(every_cell())} cells" in page
    assert f"{counts[Broker.RABBITMQ]} of them on RabbitMQ" in page
    for reason in absences():
        assert reason in page


@pytest.mark.parametrize("moment", ["queued"])
def test_a_restore_into_a_new_cluster_loses_nothing_and_every_event_is_read_once(
    capsys: pytest.CaptureFixture[str], moment: str
) -> None:
    words = f"database,restore into a new cluster,{moment}"
    code = main(["--only", words, "--json", "--lanes", "1"])
    told = capsys.readouterr()
    (cell,) = json.loads(told.out)
    assert code == 0, told.err
    assert (cell["lost"], cell["lies"], cell["restarts"], cell["error"]) == ([], [], 0, "")

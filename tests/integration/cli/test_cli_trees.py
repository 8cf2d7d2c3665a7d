"""Fan-outs and sequences on the command line: creating, showing, following and retrying them."""

import json
import signal
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from tests.cases import each
from tests.integration.cli.test_cli import on_terminal
from tests.integration.cli_site import Site, cli
from tests.processes import Processes
from tests.waiting import wait_until

from taskdb.cli.task.tree import NODE_LIMIT, PART_LIMIT
from taskdb.model.status import TaskStatus

__all__ = ["cli"]

MODULE = "tests.integration.cli.cli_tree_tasks"


@pytest.fixture
def trees(cli: Site, monkeypatch: pytest.MonkeyPatch) -> Site:
    """A site on parents of every kind."""
    monkeypatch.setenv("TASKDB_TASK_MODULES", MODULE)
    cli.environment["TASKDB_TASK_MODULES"] = MODULE
    return cli


def created(site: Site, *words: str) -> dict[str, Any]:
    ran = site(*words, "--json")
    assert ran.code == 0, ran.err
    document: dict[str, Any] = ran.document
    return document


def run_all(site: Site, parent_id: str) -> None:
    """Run every sub-task that waits, until none does."""

    def waiting() -> list[str]:
        with site.client() as taskdb:
            found = taskdb.list_tasks(parent_id=parent_id, status=("CREATED", "QUEUED"))
            return [one.id for one in found if one.held_by is None]

    while ids := waiting():
        for task_id in ids:
            site("run-task", task_id)


def inputs(site: Site, parent_id: str) -> list[Any]:
    with site.client() as taskdb:
        return [one.input for one in taskdb.trees.sub_tasks(parent_id)]


# --- create-fan-out -------------------------------------------------------------------------------


def test_items_come_as_a_json_list_or_from_a_file_in_each_format(
    trees: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    lines = trees.folder / "names.txt"
    lines.write_text("Zoë\n\n佐藤 5\n", encoding="utf-8")
    rows = trees.folder / "rows.csv"
    rows.write_text('\ufeffname,city\r\n"Ada\nL.",Köln\r\n', encoding="utf-8")
    values = trees.folder / "values.ndjson"
    values.write_text('{"a": 1}\n[2]\n', encoding="utf-8")
    for words, expected in (
        (["--items", '[1, "a", 0.5, {"b": []}]'], [1, "a", 0.5, {"b": []}]),
        (["--items-file", str(lines)], ["Zoë", "佐藤 5"]),
        (["--items-file", str(rows)], [{"name": "Ada\nL.", "city": "Köln"}]),
        (["--items-file", str(values)], [{"a": 1}, [2]]),
        (["--items-file", str(values), "--items-format", "lines"], ['{"a": 1}', "[2]"]),
    ):
        parent = created(trees, "create-fan-out", "part", *words)
        assert parent["kind"] == "FAN_OUT"
        assert inputs(trees, parent["id"]) == expected
    monkeypatch.setattr("sys.stdin", StringIO("x\ny\n"))
    piped = created(trees, "create-fan-out", "part", "--items-file", "-")
    assert inputs(trees, piped["id"]) == ["x", "y"]
    assert created(trees, "create-fan-out", "part", "--items", "[]")["status"] == "COMPLETED"


def test_every_option_of_a_fan_out_reaches_its_row(trees: Site) -> None:
    parent = created(
        trees, "create-fan-out", "part", "--items", "[1, 2, 3]", "--join", "fail_fast",
        "--tolerate", "5%", "--max-concurrency", "2", "--timeout", "1h", "--on-join", "count",
        "--tenant", "acme", "--name", "mails", "--unique-key", "k", "--priority", "7",
        "--queue", "slow", "--tag", "t",
    )  # fmt: skip
    spec = parent["spec"]["fan_out"]
    assert {name: spec[name] for name in ("join", "tolerate", "max_concurrency", "timeout")} == {
        "join": "fail_fast", "tolerate": 0.05, "max_concurrency": 2, "timeout": 3600.0,
    }  # fmt: skip
    assert spec["on_join"]["type"] == "count"
    told = ("tenant", "name", "unique_key", "priority", "queue", "tags")
    assert [parent[one] for one in told] == ["acme", "mails", "k", 7, "slow", ["t"]]
    chunked = created(trees, "create-fan-out", "part", "--items", "[1]", "--chunk-size", "5",
                      "--tolerate", "1")  # fmt: skip
    assert chunked["spec"]["fan_out"]["chunk_size"] == 5
    assert chunked["spec"]["fan_out"]["tolerate"] == 1


@each(
    "words, said",
    [
        (["part"], "give the items"),
        (["part", "--items", "[1]", "--items-file", "x"], "give the items"),
        (["part", "--items", '{"a": 1}'], "not a list"),
        (["part", "--items", "nonsense"], "not JSON"),
        (["part", "--items-file", "missing.csv"], "missing.csv"),
        (["part", "--items-file", "bad.ndjson"], "line 3"),
        (["part", "--items-file", "bad.csv"], "line 2"),
        (["part", "--items", "[1]", "--join", "fail_fats"], "did you mean 'fail_fast'"),
        (["part", "--items", "[1]", "--tolerate", "many"], "--tolerate"),
        (["part", "--items", "[1]", "--timeout", "soon"], "--timeout"),
        (["part", "--items", "[1]", "--on-join", "cuont"], "'count'"),
        (["prat", "--items", "[1]"], "'part'"),
        (["split", "--items", '[{"items": [1]}, {"items": 5}]'], "items"),
    ],
)
def test_a_wrong_fan_out_is_wrong_usage_and_creates_nothing(
    trees: Site, words: list[str], said: str
) -> None:
    (trees.folder / "bad.ndjson").write_text("1\n2\n{\n")
    (trees.folder / "bad.csv").write_text("a,b\n1\n")
    ran = trees("create-fan-out", *words)
    assert (ran.code, ran.out) == (2, "")
    assert ran.err.startswith("error: ") and said in ran.err
    assert trees("list", "--with-sub-tasks").out == ""


# --- show -----------------------------------------------------------------------------------------


def test_a_fan_out_is_shown_with_a_bar_counts_and_its_first_bad_parts(trees: Site) -> None:
    items = json.dumps(["bad"] * 7 + [1, 2, 3])
    parent = created(trees, "create-fan-out", "part", "--items", items, "--tolerate", "7",
                     "--max-concurrency", "8", "--on-join", "count")  # fmt: skip
    shown = trees("show", parent["id"]).out
    assert "  0% ------------------------------ 0/10  8 waiting, 2 held" in shown
    run_all(trees, parent["id"])
    shown = trees("show", parent["code"]).out
    tree = shown[shown.index("FAN_OUT part") :].splitlines()
    assert tree[0].startswith("FAN_OUT part  COMPLETED")
    assert tree[1] == "  100% #########!!!!!!!!!!!!!!!!!!!!! 10/10  3 succeeded, 7 failed"
    assert [line.split("  ")[1:3] for line in tree[2:7]] == [
        [f"part {number} part", "FAILED"] for number in range(5)
    ]
    assert tree[2].endswith("ValueError: no [red]luck[/red] with bad")
    assert tree[7].startswith("  … and 2 more bad parts (`taskdb list --parent ")
    assert tree[8].startswith("  on_join (handler) count  COMPLETED")
    below = trees("show", parent["id"], "--json").document["tree"]
    assert below["counts"] == {
        "total": 10, "done": 10, "succeeded": 3, "failed": 7, "canceled": 0, "running": 0,
        "waiting": 0, "held": 0, "halted": 0,
    }  # fmt: skip
    assert [one["position"] for one in below["shown_parts"]] == [0, 1, 2, 3, 4]
    assert below["shown_parts"][0]["error"]["type"] == "ValueError"
    assert [one["name"] for one in below["handlers"]] == ["on_join"]


def test_a_tree_is_read_from_postgresql_as_well(
    trees: Site, postgresql_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TASKDB_DATABASE_URL", postgresql_url)
    words = ("--payload", '[{"items": [1]}, {"items": [2]}]')
    made = created(trees, "create-sequence", "shop.close", *words)
    begin = trees("list", "--parent", made["id"], "--role", "step", "--json").document
    assert trees("run-task", begin["id"]).code == 0
    below = trees("show", made["id"], "--json").document["tree"]
    assert [one["name"] for one in below["steps"]] == ["begin", "sort"]
    assert below["steps"][1]["counts"]["waiting"] == 2
    assert "0/2  2 waiting" in trees("show", made["code"]).out


def test_a_sub_task_names_its_parent(trees: Site) -> None:
    parent = created(trees, "create-fan-out", "part", "--items", "[1]", "--name", "the parent")
    part = trees("list", "--parent", parent["code"], "--json").document
    assert part["parent_id"] == parent["id"]
    shown = trees("show", part["id"]).out
    assert f"parent     {parent['code']}  PROCESSING  part  the parent  (FAN_OUT)" in shown
    described = trees("show", part["id"], "--json").document
    assert described["parent"]["code"] == parent["code"]
    assert "tree" not in described


def test_a_sequence_is_shown_step_by_step_with_what_is_nested_in_it(trees: Site) -> None:
    payload = '[{"items": [1, "bad"]}, {"items": [3]}]'
    (trees.folder / "payload.json").write_text(payload)
    made = created(trees, "create-sequence", "shop.close", "--payload", "@payload.json")
    run_all(trees, made["id"])
    lines = tree_of(trees, made["id"])
    assert [line.split("  ")[:2] for line in lines[1:2]] == [["", "1 begin"]]
    assert lines[2].startswith("  2 sort  PROCESSING")
    assert lines[-1] == "  3 add  not yet"
    sort = trees("list", "--parent", made["id"], "--kind", "FAN_OUT", "--json").document
    run_all(trees, sort["id"])
    with trees.client() as taskdb:
        nested = [one.id for one in taskdb.trees.sub_tasks(sort["id"])]
    for task_id in nested:
        run_all(trees, task_id)
    below = trees("show", made["id"], "--json").document["tree"]
    split = below["steps"][1]["shown_parts"]
    assert [one["status"] for one in split] == ["FAILED", "COMPLETED"]
    assert split[0]["shown_parts"][0]["error"]["message"].endswith("with bad")
    assert (below["status"], below["coming"]) == ("FAILED", ["add"])
    assert "    part 0 split  FAILED" in "\n".join(tree_of(trees, made["id"]))
    # The part, its parent, the step and the sequence have failed: one cause, one alarm.
    trees("doctor", "--fix")
    (alarm,) = trees("alarm", "list", "--json").lines
    assert (alarm["source"], alarm["type"], alarm["count"]) == ("failed", "part", 1)


def tree_of(site: Site, task_id: str) -> list[str]:
    shown = site("show", task_id).out
    return shown[shown.index("\nSEQUENCE ") + 1 :].splitlines()


def test_handlers_of_a_type_are_shown_below_its_task(trees: Site) -> None:
    task_id = trees.submit("add", 1)
    trees("run-task", task_id)
    shown = trees("show", task_id).out
    assert "TASK add  FINISHED" in shown and "  (handler) add.told  " in shown


def test_a_tree_stays_small_however_many_parts_there_are(trees: Site) -> None:
    with trees.client() as taskdb:
        taskdb.types.discover()
        parent = taskdb.submit_fan_out("part", range(3_000), join="all_settled")
        taskdb.cancel_task(parent.id)
    ran = trees("show", parent.id)
    assert "3,000 canceled" in ran.out
    assert len(ran.out.splitlines()) < NODE_LIMIT
    below = trees("show", parent.id, "--json").document["tree"]
    assert below["counts"]["total"] == 3_000
    assert len(below["shown_parts"]) <= 2 * PART_LIMIT


# --- types, retry ---------------------------------------------------------------------------------


def test_sequences_are_listed_with_the_types(trees: Site) -> None:
    # Other tests of this process may have made sequences of their own.
    listing = " ".join(trees("types").out.split())
    assert "SEQUENCE STEPS" in listing and "shop.close begin > sort > add on_success" in listing
    found = [one for one in trees("types", "--json").lines if one["kind"] == "SEQUENCE"]
    described = {one["name"]: one for one in found}
    assert {"once", "shop.close"} <= described.keys()
    assert described["shop.close"]["steps"][1] == {
        "name": "sort",
        "type": "split",
        "kind": "FAN_OUT",
    }
    one = trees("types", "shop.close").out
    assert "2           sort   split  FAN_OUT" in one
    assert trees("types", "shop.clsoe").code == 2


def test_the_same_payload_of_a_unique_sequence_is_the_same_task_and_force_runs_it_anew(
    trees: Site,
) -> None:
    words = ("create-sequence", "once", "--payload", '{"day": 1}')
    first = created(trees, *words)
    run_all(trees, first["id"])
    run_all(trees, trees("list", "--parent", first["id"], "--json").lines[0]["id"])
    assert created(trees, *words)["id"] == first["id"]
    wait_until(lambda: trees.status(first["id"]) is TaskStatus.COMPLETED)
    refused = trees("retry", first["id"])
    assert refused.code == 6 and "--force" in refused.err
    assert trees("retry", "--force", "--kind", "SEQUENCE").code == 2
    again = trees("retry", first["id"], "--force", "--json")
    assert again.document["status"] == "PROCESSING"
    assert trees("create-sequence", "onec").code == 2
    assert trees("create-sequence", "once", "--payload", "{").code == 2


def test_a_wrong_parent_is_wrong_usage(trees: Site) -> None:
    assert trees("list", "--parent", "nonsense").code == 2
    assert trees("list", "--kind", "PARENT").code == 2


# --- with a worker --------------------------------------------------------------------------------


def test_waiting_shows_moving_bars_and_ends_with_the_tree(
    trees: Site, processes: Processes, tmp_path: Path
) -> None:
    dev = trees.start("dev", "-c", "1")
    environment = {**trees.environment, "TERM": "xterm-256color"}
    items = ["create-fan-out", "part", "--items", "[1, 2, 3]", "--on-join", "count", "--wait"]
    fan_out = on_terminal(processes, *items, env=environment, cwd=trees.folder)
    assert fan_out.wait(40) == 0, dev.tail()
    assert '"results": 3' in fan_out.output and "3 succeeded" in fan_out.output
    assert "\x1b[32m━" in fan_out.output
    failed = trees("create-fan-out", "part", "--items", '["bad"]', "--wait", "--json")
    assert (failed.code, failed.document["tree"]["counts"]["failed"]) == (1, 1)
    dev.signal(signal.SIGTERM)
    assert dev.wait(40) == 0

"""The row is trusted, the message is not: what somebody can do who writes to the broker."""

import gzip
import json
import zlib
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
from celery import Celery
from tests.integration.celery.hostile import (
    BROKERS,
    MODULES,
    admin_ran,
    began,
    count,
    has_run,
    noted,
    parked,
    raw,
    row,
    send,
    site_with_strangers,
    still_works,
)
from tests.integration.worker_site import Site, site_of
from tests.waiting import wait_until

from taskdb import Registry
from taskdb.celery.publish.publisher import CHUNK_HEADER, FINALIZE, end_of
from taskdb.cli.check.probe import probe


@pytest.fixture(scope="module", params=BROKERS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    with site_with_strangers(request, tmp_path_factory) as site:
        yield site


# --- another body ---------------------------------------------------------------------------------


def test_a_message_of_another_type_runs_no_body_with_the_input_of_a_row(site: Site) -> None:
    task_id = parked(site)
    before = row(site, task_id)
    for headers in ({}, {CHUNK_HEADER: 1}, {"group": task_id}, {"taskdb_claim": {"granted": True}}):
        send(site, "admin.exec", task_id, headers=headers)
        send(site, "admin.exec", str(uuid4()), embed={"id": task_id, **headers})
    still_works(site)
    assert not admin_ran(site)
    assert row(site, task_id) == before


def test_a_message_of_another_type_runs_no_items_of_a_chunk(site: Site) -> None:
    inputs = [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    parent = site.client.submit_fan_out("public.greet", inputs, chunk_size=3, queue="parked")
    part = next(one.id for one in site.client.trees.sub_tasks(parent.id))
    site.wait_for(part, "QUEUED")
    before = row(site, part)
    for items in (1, 3, 10**9):
        send(site, "admin.exec", str(before["chunk"]), headers={CHUNK_HEADER: items})
    still_works(site)
    assert not admin_ran(site)
    assert row(site, part) == before


def test_a_message_of_another_type_runs_no_step(site: Site) -> None:
    parent = site.client.submit_sequence("public.greets", {"name": "x"})
    (step,) = site.client.trees.family(parent.id)
    site.wait_for(step.id, "QUEUED")
    before = row(site, step.id), row(site, parent.id)
    for task_id in (step.id, parent.id):
        send(site, "admin.exec", task_id)
        send(site, "public.greet", parent.id)
    still_works(site)
    assert not admin_ran(site)
    assert (row(site, step.id), row(site, parent.id)) == before


def test_no_message_calls_a_body_with_arguments_of_its_own(site: Site) -> None:
    called = {"task": "admin.exec", "args": [], "kwargs": {}, "options": {}, "subtask_type": None}
    for name in ("celery.map", "celery.starmap", "celery.chunks"):
        many = [[{}, {}]] if name != "celery.chunks" else [[[{}, {}]]]
        args = [called, many, 1][: 3 if name == "celery.chunks" else 2]
        send(site, name, str(uuid4()), kwargs={"task": called, "it": many})
        send(site, name, str(uuid4()), args=args)
    still_works(site)
    assert not admin_ran(site)


def test_no_message_sends_the_result_of_a_row_anywhere(site: Site) -> None:
    done = site.submit("public.greet", {"name": "secret"})
    site.settled(done.id)
    loot = {
        "task": "x",
        "args": [],
        "kwargs": {},
        "options": {"queue": "loot"},
        "subtask_type": None,
    }
    send(
        site, "celery.chord_unlock", str(uuid4()),
        args=[str(uuid4()), loot], kwargs={"result": [[[done.id, None], None]], "interval": 0},
    )  # fmt: skip
    still_works(site)
    assert count(site, "loot") == 0


def test_arguments_and_attributes_of_a_message_say_nothing(site: Site) -> None:
    """It claims the task that its headers name, by a token of the worker, once."""
    foreign = parked(site)
    before = row(site, foreign)
    mine = parked(site)
    forged = {
        "id": foreign, "taskdb_token": "t" * 32, "taskdb_ended": True, "taskdb_attempt": 7,
        "called_directly": True, "is_eager": True, CHUNK_HEADER: 5,
    }  # fmt: skip
    headers = {name: value for name, value in forged.items() if name not in {"id", CHUNK_HEADER}}
    send(site, "public.greet", mine, args=[1], kwargs={"input": {}}, headers=headers, embed=forged)
    assert site.settled(mine).result == "hello you"
    still_works(site)
    assert has_run(site, mine) == 1
    assert row(site, foreign) == before


# --- the end of a row -----------------------------------------------------------------------------

PAST, FAR = "2001-01-01T00:00:00+00:00", "9999-12-31T23:59:59+00:00"
HEADERS: dict[str, dict[str, Any]] = {
    "expired": {"expires": PAST},
    "expires in seconds": {"expires": 1},
    "expires as rubbish": {"expires": "soon"},
    "expires as a list": {"expires": [1]},
    "an ETA that is far": {"eta": FAR},
    "an ETA that is none": {"eta": "later"},
    "an ETA that is beyond": {"eta": "9999-12-31T23:59:59-23:59"},
    "a short limit": {"timelimit": [0.001, 0.001]},
    "limits that are none": {"timelimit": "x"},
    "retries": {"retries": 10**9},
    "a shadow": {"shadow": "admin.exec"},
    "stamps": {"stamped_headers": ["a"], "stamps": {"a": ["b"]}},
    "a protocol of others": {"lang": 7, "meth": "x", "origin": []},
    "nesting": {"replaced_task_nesting": 10**6, "root_id": {}, "parent_id": 5},
    "results": {"ignore_result": False, "reply_to": "loot"},
    "reprs": {"argsrepr": "\x1b[31m", "kwargsrepr": "x" * 10_000},
    "names of methods": {"update": 1, "get": 2, "clear": 3, "__dict__": {}, "_protected": 1},
    "a group": {"group": "01936e4b-7c00-7000-8000-0123456789ab", "group_index": "x"},
    "a count that is none": {CHUNK_HEADER: True},
}


def test_what_a_message_says_beside_its_id_changes_nothing(site: Site) -> None:
    """Each message has one strange header."""
    task_ids = {name: parked(site) for name in HEADERS}
    for name, headers in HEADERS.items():
        send(site, "public.greet", task_ids[name], headers=headers)
    for name, task_id in task_ids.items():
        found = site.settled(task_id)
        assert (found.status, found.attempt, found.result) == ("COMPLETED", 1, "hello you"), name
        assert has_run(site, task_id) == 1, name


def test_a_forged_limit_neither_shortens_nor_prolongs_a_body(site: Site) -> None:
    task_id = parked(site, "public.waits")
    send(site, "public.waits", task_id, headers={"timelimit": [0.2, 0.1]})
    began(site, task_id)
    wait_until(lambda: site.celery is not None)
    still = site.submit("public.greet", {"name": "y"}, queue="parked")
    site.wait_for(still.id, "QUEUED")
    with pytest.raises(AssertionError):
        wait_until(lambda: row(site, task_id)["status"] != "STARTED", 1.5)
    site.let_go(task_id)
    assert site.settled(task_id).result == "went"


def test_nothing_that_a_message_names_is_called_afterwards(site: Site) -> None:
    plain = {
        "task": "plain.notes", "args": [], "kwargs": {}, "options": {"queue": "taskdb"},
        "subtask_type": None, "immutable": True,
    }  # fmt: skip
    task_id = parked(site)
    embed = {"callbacks": [plain], "errbacks": [plain], "chain": [plain], "chord": plain}
    group = {"group": str(uuid4())}
    send(site, "public.greet", task_id, embed=embed, headers=group)
    send(site, "admin.exec", task_id, embed=embed, headers=group)
    assert site.settled(task_id).status == "COMPLETED"
    still_works(site)
    assert not noted(site)
    assert not admin_ran(site)


def test_messages_of_an_unknown_type_fail_no_task(site: Site) -> None:
    mine, before_id = parked(site), parked(site)
    before = row(site, before_id)
    for _ in range(12):
        send(site, "nobody.knows", before_id)
        # A worker of another queue does not have the type at all.
        send(site, "public.greet", before_id, queue="elsewhere")
        send(site, "public.greet", before_id, queue="elsewhere", headers={CHUNK_HEADER: 1})
    send(site, "public.greet", mine)
    assert site.settled(mine).status == "COMPLETED"
    site.workers[1].wait_for_output("public.greet")
    still_works(site)
    assert row(site, before_id) == before


def test_forged_ends_of_a_parent_end_nothing(site: Site) -> None:
    parent = site.client.submit_fan_out("public.greet", [{"name": "a"}] * 2, queue="parked")
    other = parked(site)
    parts = [one.id for one in site.client.trees.sub_tasks(parent.id)]
    for part in parts:
        site.wait_for(part, "QUEUED")
    before = [row(site, one) for one in (parent.id, other, *parts)]
    for given in (parent.id, other, parts[0], "x", "", 7, None, [1], {"a": 1}, str(uuid4())):
        for message_id in (str(uuid4()), end_of(parent.id)):
            send(site, FINALIZE, message_id, args=[given], headers={"parent_id": given})
    send(site, FINALIZE, end_of(parent.id), args=[parent.id], headers={"parent_id": parent.id})
    still_works(site)
    assert [row(site, one) for one in (parent.id, other, *parts)] == before
    # What is over stays as it is.
    whole = site.client.submit_fan_out("public.greet", [{"name": "a"}] * 2)
    site.settled(whole.id)
    ended = row(site, whole.id)
    for _ in range(3):
        send(site, FINALIZE, end_of(whole.id), args=[whole.id], headers={"parent_id": whole.id})
    still_works(site)
    assert row(site, whole.id) == ended


def test_a_part_whose_message_names_another_parent_ends_its_own(site: Site) -> None:
    whole = site.client.submit_fan_out("public.greet", [{"name": "a"}], queue="parked")
    other = site.client.submit_fan_out("public.greet", [{"name": "a"}], queue="parked")
    (part,) = site.client.trees.sub_tasks(whole.id)
    site.wait_for(part.id, "QUEUED")
    before = row(site, other.id)
    # The message that ends the parent goes where the part was to run.
    site.query("UPDATE taskdb_task SET queue = 'taskdb' WHERE CAST(id AS TEXT) = :id", id=part.id)
    send(site, "public.greet", part.id, headers={"group": other.id, "parent_id": other.id})
    assert site.settled(whole.id).status == "COMPLETED"
    assert row(site, other.id) == before


# --- plain Celery tasks ---------------------------------------------------------------------------

UNFIT: dict[str, dict[str, Any]] = {
    "limits as text": {"timelimit": "x"},
    "one limit": {"timelimit": 5},
    "limits as objects": {"timelimit": [{}, {}]},
    "limits below nothing": {"timelimit": [-1, -1]},
    "stamps as a number": {"stamped_headers": ["a"], "stamps": 5},
    "stamps without names": {"stamped_headers": [{}], "stamps": {}},
    "an id that is no text": {"id": {"a": 1}},
}


def test_a_plain_message_that_no_pool_can_take_costs_no_process(site: Site) -> None:
    for name, headers in UNFIT.items():
        for _ in range(2):
            send(site, "plain.notes", str(uuid4()), headers=headers)
            old = {"task": "plain.notes", "id": "x", "args": [], "kwargs": {}, **headers}
            raw(site, "", json.dumps(old), headers={})
        assert site.workers[0].is_running, name
    still_works(site)
    assert site.workers[0].is_running


# --- content --------------------------------------------------------------------------------------

_PICKLE = b"cos\nsystem\n(S'touch /tmp/taskdb-was-unpickled'\ntR."
CONTENT: dict[str, dict[str, Any]] = {
    "a pickle": {"body": _PICKLE, "content_type": "application/x-python-serialize"},
    "a pickle of another name": {"body": _PICKLE, "content_type": "pickle"},
    "YAML": {"body": b"!!python/object/apply:os.getpid []", "content_type": "application/x-yaml"},
    "msgpack": {"body": b"\x93\x90\x80\x80", "content_type": "application/x-msgpack"},
    "data": {"body": b"x", "content_type": "application/data"},
    "no type": {"body": b"[[], {}, {}]", "content_type": ""},
}


def test_a_message_that_is_not_json_is_not_read(site: Site) -> None:
    before = {}
    for name, given in CONTENT.items():
        task_id = parked(site)
        before[name] = row(site, task_id)
        headers = {"id": task_id, "task": "public.greet", "lang": "py"}
        raw(site, "", headers=headers, **{"content_encoding": "binary", **given})
    still_works(site)
    assert {name: row(site, one["id"]) for name, one in before.items()} == before


def test_a_compressed_message_stays_small(site: Site) -> None:
    task_id = parked(site)
    before = row(site, task_id)
    layer = zlib.compress(b"[" * (300 * 1024 * 1024), 9)
    assert len(layer) < 1024 * 1024
    (worker, _) = site.workers
    for name, body in (("application/x-gzip", layer), ("application/x-lzma", gzip.compress(b""))):
        headers = {"id": task_id, "task": "public.greet", "compression": name}
        raw(site, "", body, headers=headers)
        raw(site, "", body, headers={**headers, "task": "plain.notes"})
    still_works(site)
    assert peak_of(worker.pid) < 250 * 1024, "KiB"
    assert row(site, task_id) == before


def peak_of(pid: int) -> int:
    """The largest resident size that a process has had, in KiB."""
    with open(f"/proc/{pid}/status") as file:  # noqa: PTH123 - no file of a disk
        return next(int(line.split()[1]) for line in file if line.startswith("VmHWM"))


@pytest.mark.parametrize("name", ["public.greet", FINALIZE])
def test_a_message_of_the_first_protocol_runs_no_task_type(site: Site, name: str) -> None:
    task_id = parked(site)
    before = row(site, task_id)
    body = {"task": name, "id": task_id, "args": [task_id], "kwargs": {}, "retries": 0}
    raw(site, "", json.dumps(body), headers={})
    raw(site, "", json.dumps(body), headers={"id": task_id})
    still_works(site)
    assert row(site, task_id) == before


# --- remote control -------------------------------------------------------------------------------


@pytest.fixture
def stranger(site: Site) -> Iterator[Celery]:
    """A plain Celery app on the broker, as Flower is one: it has no database."""
    with Celery("stranger", broker=site.settings.message_url, set_as_current=False) as app:
        yield app


def test_a_revocation_by_message_cancels_no_row_and_ends_no_body(
    site: Site, stranger: Celery
) -> None:
    waiting = parked(site)
    running = site.submit("public.waits").id
    began(site, running)
    before = row(site, waiting), row(site, running)
    for _ in range(2):
        stranger.control.revoke([waiting, running], terminate=True, signal="SIGKILL")
        stranger.control.terminate([waiting, running])
        stranger.control.revoke(waiting)
        stranger.control.revoke_by_stamped_headers({"a": ["b"]}, terminate=True)
    assert len(stranger.control.inspect(timeout=1).ping()) == 2
    assert (row(site, waiting), row(site, running)) == before
    site.let_go(running)
    assert site.settled(running).result == "went"
    send(site, "public.greet", waiting)
    assert site.settled(waiting).status == "COMPLETED"


def test_a_revocation_by_an_app_of_ours_cancels_the_row_and_ends_its_body_at_once(
    site: Site, stranger: Celery
) -> None:
    running = site.submit("public.waits").id
    began(site, running)
    site.celery.control.revoke(running, terminate=True)
    found = site.settled(running)
    assert found.status == "CANCELED"
    assert found.error is not None and found.error.type == "TaskRevoked"


def test_remote_control_changes_no_limit_of_a_task_type(site: Site, stranger: Celery) -> None:
    answers = stranger.control.time_limit("public.waits", soft=0.1, hard=0.2, reply=True, timeout=2)
    assert "its own declaration" in str(answers)
    running = site.submit("public.waits").id
    began(site, running)
    with pytest.raises(AssertionError):
        wait_until(lambda: row(site, running)["status"] != "STARTED", 1.5)
    site.let_go(running)
    assert site.settled(running).result == "went"


def test_remote_control_tells_no_secret_of_the_settings(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> None:
    mark = "Zq7Marker9x"
    celery = {
        "broker_transport_options": {"sentinel_kwargs": {"password": f"{mark}1"}},
        "redis_password": f"{mark}2",
        "several": [f"redis://:{mark}3@h", {"token": f"{mark}4"}],
    }
    given = {"task_modules": MODULES, "celery": json.dumps(celery), "message_keys": mark * 4}
    with site_of("postgresql+redis", request, tmp_path_factory, **given) as site:
        site.start_worker("-c", "1", "-Q", "taskdb", via="run_worker")
        with Celery("stranger", broker=site.settings.message_url, set_as_current=False) as app:
            for command, words in (
                ("stats", {}),
                ("conf", {}),
                ("dump_conf", {"with_defaults": True}),
                ("report", {}),
            ):
                (answer,) = app.control.broadcast(command, words, reply=True, timeout=5, limit=1)
                (told,) = answer.values()
                assert "error" not in told
                assert len(str(told)) > 500
                assert mark not in str(told)
                assert "visibility_timeout" in str(told)


def test_cancel_check_and_doctor_need_no_remote_control(
    request: pytest.FixtureRequest,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # This process has types of other tests, which the worker does not run.
    monkeypatch.setattr("taskdb.cli.check.probe.default_registry", Registry())
    settings = {"task_modules": MODULES, "celery": '{"worker_enable_remote_control": false}'}
    with site_of("postgresql+redis", request, tmp_path_factory, **settings) as site:
        worker = site.start_worker("-c", "1", "-Q", "taskdb,parked", via="run_worker")
        site.start_beat()
        running = site.submit("public.waits").id
        began(site, running)
        site.client.cancel_task(running)
        assert site.settled(running).status == "CANCELED"
        still_works(site)
        with Celery("stranger", broker=site.settings.message_url, set_as_current=False) as app:
            assert app.control.inspect(timeout=0.5).ping() is None
            app.control.shutdown()
        still_works(site)
        assert worker.is_running
        found = {one.subject: one.level for one in probe(site.settings)}
        assert found["workers"] == found["broker"] == "ok"

"""Messages of alarms reach real receivers, though these are away, slow or refuse."""

import json
import re
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import redis
import structlog
from tests.integration.outgoing.alarm_site import PASSWORD, SECRET, alarm_site, webhook
from tests.servers import Answer, MailServer, Receiver, Redis, Sns
from tests.waiting import wait_until

from taskdb import InvalidInput, Settings, verify_webhook
from taskdb.errors import AlarmNotFound, DeliveryFailed, SettingsError
from taskdb.model.alarm.channel import Channel, ChannelKind
from taskdb.outgoing.signing import new_secret

DOCS = Path(__file__).parents[3] / "docs" / "reference" / "alarm-envelope.md"
SAID = f"no {PASSWORD} for ann, tried https://ann:{PASSWORD}@bank.example/pay?token=tok-123456"
SECRETS = (PASSWORD, "tok-123456")


@pytest.fixture
def mail() -> Iterator[MailServer]:
    with MailServer() as server:
        yield server


def blocks() -> list[Any]:
    found = re.findall(r"```json\n(.*?)```", DOCS.read_text(), re.DOTALL)
    return [json.loads(one) for one in found]


def test_a_mail_tells_people_what_failed_and_no_secret(store_url: str, mail: MailServer) -> None:
    with alarm_site(store_url, {"mail": mail.url}, alarm_with_input=True) as site:
        task_id = site.fail(SAID)
        site.folder.fold()
        site.deliver()
        (one,) = mail.taken

        assert one.recipients == ("ops@example.com",)
        assert one.message["subject"] == "[error] sum: ValueError"
        assert "no [redacted] for ann" in one.text
        assert "Where: shop/card.py in charge" in one.text
        assert f"Tasks: {task_id}" in one.text
        assert 'File "/srv/shop/orders.py", line 41, in pay' in one.text
        assert not [secret for secret in SECRETS if secret.encode() in one.raw]
        assert site.waiting() == {}
        site.deliver()
        assert len(mail.received) == 1


def test_a_webhook_gets_the_envelope_of_the_docs_signed_and_redacted(
    sqlite_url: str, receiver: Receiver
) -> None:
    example, schema = blocks()
    jsonschema.validate(example, schema)
    with alarm_site(sqlite_url, {"hook": webhook(receiver.url)}, alarm_with_input=True) as site:
        task_id = site.fail(SAID)
        site.folder.fold()
        site.deliver()
        (one,) = receiver.taken
        task = site.taskdb.get_task(task_id)

        assert verify_webhook(SECRET, one.headers, one.body)
        jsonschema.validate(one.json, schema)
        assert not [secret for secret in SECRETS if secret.encode() in one.body]
        assert {name: one.json[name] for name in ("action", "table", "pk", "sk", "tenantCode")} == {
            "action": "sfn-alarm", "table": "task", "pk": task.pk, "sk": task.sk,
            "tenantCode": "acme",
        }  # fmt: skip
        content = one.json["content"]
        assert one.json["id"] == task.key
        assert content["errorMessage"].startswith("no [redacted] for ann")
        assert content["input"] == {"user": "ann", "password": "[redacted]"}
        assert (content["count"], content["total"], content["taskIds"]) == (1, 1, [task_id])


def test_a_channel_that_is_away_slow_or_refuses_loses_nothing_and_delays_no_other(
    store_url: str, receiver: Receiver, mail: MailServer
) -> None:
    channels = {"hook": webhook(receiver.url), "mail": mail.url}
    with alarm_site(store_url, channels, alarm_window_seconds=0.001) as site:
        held = threading.Event()

        def slow(_request: Any) -> Answer:
            held.set()
            receiver.hold(20)
            return Answer(status=503)

        receiver.answer = slow
        site.tell("first")
        site.deliverer.run_once()
        assert held.wait(10)
        wait_until(lambda: len(mail.taken) == 1, describe="the mail, while the webhook hangs")
        receiver.stop()
        site.deliverer.settle()
        assert list(site.waiting()) == ["hook"]

        # Away: refused, and counted.
        site.make_due()
        site.deliver()
        assert "no answer" in (site.waiting()["hook"] or "")
        mail.stop()
        site.tell("second")
        site.make_due()
        site.deliver()
        assert sorted(site.waiting()) == ["hook", "mail"]
        assert "submitting email" in (site.waiting()["mail"] or "")

        # Back, and full of errors.
        receiver.start()
        mail.start()
        receiver.answer = lambda _: Answer(status=500)
        mail.answer = lambda _: "451 later"
        site.make_due()
        site.deliver()
        assert "answered 500" in (site.waiting()["hook"] or "")
        receiver.answer = lambda _: Answer()
        mail.answer = lambda _: "250 taken"
        for _ in range(2):
            site.make_due()
            site.deliver()
        assert site.waiting() == {}
        totals = [one.json["content"]["total"] for one in receiver.taken]
        ids = {one.headers["webhook-id"] for one in receiver.taken}
        assert totals[-2:] == [1, 2], "in order"
        assert len(ids) == 2
        assert [("1 more" in one.text) or "once" in one.text for one in mail.taken] != []
        assert len(mail.taken) == 2


def test_a_topic_a_redis_channel_and_the_log_get_the_envelope(
    sqlite_url: str,
    sns_server: Sns,
    redis_server: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name, value in sns_server.environment.items():
        monkeypatch.setenv(name, value)
    arn, queue = sns_server.create_topic("alarms")
    channels = {"topic": arn, "redis": {"redis": "alarms"}, "log": "log"}
    url = redis_server.url_of(1)
    with (
        alarm_site(sqlite_url, channels, redis_channel_url=url) as site,
        redis.Redis.from_url(url) as listener,
        listener.pubsub(ignore_subscribe_messages=True) as heard,
        structlog.testing.capture_logs() as lines,
    ):
        heard.psubscribe("alarms:*")
        wait_until(lambda: listener.pubsub_numpat() == 1)
        site.tell()
        site.deliver()
        assert site.waiting() == {}
        (message,) = wait_until(lambda: sns_server.read(queue), 20)
        assert json.loads(message["Body"])["action"] == "sfn-alarm"
        assert message["MessageAttributes"]["severity"]["StringValue"] == "error"
        published = wait_until(lambda: heard.get_message(timeout=1))
        assert json.loads(published["data"])["content"]["errorType"] == "ValueError"
        assert [line["severity"] for line in lines if line["event"] == "notification.logged"]


def test_the_secrets_of_channels_stay_in_the_settings(
    sqlite_url: str, blackhole: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    token = "T0K3NT0K3N/B4DB4DB4D/s3cr3ts3cr3ts3cr3ts3cr3t"
    channels = {
        "slack": f"slack://{token}/#alarms",
        "mail": f"mailto://user:{PASSWORD}@127.0.0.1:9?from=t@example.com&to=a@example.com&mode=insecure",
        "hook": webhook("http://127.0.0.1:9/hook"),
        "broken": f"pover://{PASSWORD}",
    }
    with (
        alarm_site(sqlite_url, channels, outbound_total_seconds=0.5) as site,
        structlog.testing.capture_logs() as lines,
    ):
        site.tell()
        site.deliver()
        waiting = site.waiting()
        assert sorted(waiting) == sorted(channels)
        rows = [
            str(dict(row))
            for table in ("taskdb_alarm", "taskdb_delivery", "taskdb_alarm_route")
            for row in site.taskdb.store.database.query(f"SELECT * FROM {table}", {})
        ]
        told = "\n".join([*rows, str(lines), repr(site.taskdb.settings), str(waiting)])
        told += repr(site.taskdb.settings.alarm_channels) + capsys.readouterr().out
        for secret in (PASSWORD, *token.split("/"), SECRET, SECRET.removeprefix("whsec_")):
            assert secret not in told
        with pytest.raises(DeliveryFailed) as refused:
            site.taskdb.alarms.test_channel("mail")
        assert PASSWORD not in str(refused.value)


@pytest.mark.parametrize(
    ("channels", "reason"),
    [
        ("{", "not JSON"),
        ("[]", "an object such as"),
        ('{"a b": "log"}', "names no channel"),
        ('{"a": "hunter2"}', "not an Apprise URL"),
        ('{"a": "https://hunter2/x"}', "for a signed webhook"),
        ('{"a": {"webhook": "https://hunter2"}}', "a webhook is signed"),
        ('{"a": {"webhook": "https://x", "sns": "y"}}', "an object with one of"),
        ('{"a": {"sns": "hunter2", "color": 1}}', "unknown color"),
        ('{"a": {"webhook": 1, "secret": "x"}}', "are texts"),
        ('{"a": {"webhook": "https://x", "secret": 5}}', "are texts"),
        ('{"a": {"log": "", "tenants": 5}}', "tenants are texts"),
        ('{"a": {"log": "", "tenants": [5]}}', "tenants are texts"),
        ('{"a": {"log": "", "tenants": ["\\u0000"]}}', "tenants are texts"),
        ('{"a": {"log": "", "tenant": "acme"}}', "unknown tenant"),
    ],
)
def test_a_wrong_channel_is_refused_and_not_repeated(channels: str, reason: str) -> None:
    with pytest.raises(SettingsError, match=re.escape(reason)) as refused:
        Settings.load({"TASKDB_ALARM_CHANNELS": channels})
    assert "hunter2" not in str(refused.value)


@pytest.mark.parametrize(
    ("routes", "reason"),
    [
        ('{"to": "ops"}', "a list of routes"),
        ('[{"to": []}]', "route 1: it has no channels"),
        ('[{"to": "opps"}]', "did you mean 'ops'"),
        ('[{"to": "ops", "severty": "error"}]', "did you mean 'severity'"),
        ('[{"to": "ops", "severity": "bad"}]', "none of info, warning, error, critical"),
        ('[{"to": "ops", "type": "*.x"}]', "a * at its end"),
        ('[{"to": "ops", "tenant": 7}]', "tenant must be text"),
    ],
)
def test_a_wrong_route_is_refused(routes: str, reason: str) -> None:
    given = {"TASKDB_ALARM_CHANNELS": '{"ops": "log"}', "TASKDB_ALARM_ROUTES": routes}
    with pytest.raises(SettingsError, match=re.escape(reason)):
        Settings.load(given)


def test_other_words_about_alarms_are_checked_too() -> None:
    good = Settings.load(
        {
            "TASKDB_ALARM_CHANNELS": '{"t": "arn:aws:sns:eu-central-1:123456789012:a"}',
            "TASKDB_ALARM_SOURCES": "failed, halted",
            "TASKDB_ALARM_BACKLOG_SECONDS": '{"queue:mail": 60, "*": 5}',
        }
    )
    assert good.alarm_channels == (Channel("t", ChannelKind.SNS, good.alarm_channels[0].target),)
    assert good.alarm_rules.sources == {"failed", "halted"}
    assert Settings.load({"TASKDB_ALARM_SOURCES": "none"}).alarm_sources == ()
    for name, value in (("SOURCES", "failde"), ("BACKLOG_SECONDS", '{"mail": 5}')):
        with pytest.raises(SettingsError, match="TASKDB_ALARM_"):
            Settings.load({f"TASKDB_ALARM_{name}": value})


def test_while_the_secret_of_a_channel_is_exchanged_both_sign(
    sqlite_url: str, receiver: Receiver
) -> None:
    secrets = [new_secret(), new_secret()]
    with alarm_site(sqlite_url, {"hook": {"webhook": receiver.url, "secret": secrets}}) as site:
        site.tell()
        site.deliver()
    (one,) = receiver.taken
    assert one.headers["webhook-signature"].count("v1,") == 2
    assert all(verify_webhook(secret, one.headers, one.body) for secret in secrets)
    assert not verify_webhook(new_secret(), one.headers, one.body)


CHANNELS = {
    "ops": "log",
    "acme": {"log": "", "tenants": ["acme"]},
    "shared": {"log": "", "tenants": ["acme", "other"]},
    "other": {"log": "", "tenants": "other"},
}


def test_the_client_of_a_tenant_may_do_what_concerns_its_tenant(sqlite_url: str) -> None:
    with alarm_site(sqlite_url, CHANNELS, alarm_group_by_tenant=True) as site:
        site.tell(tenant="acme")
        own, other = site.taskdb.for_tenant("acme"), site.taskdb.for_tenant("other")
        (one,) = own.alarms.list()
        assert other.alarms.list() == []
        assert own.alarms.resolve(one.id, by="ann").acted_by == "ann"
        assert own.alarms.list() == []
        assert [each.id for each in own.alarms.list(state="resolved")] == [one.id]
        assert own.alarms.add_route("acme", tenant="acme")
        assert [(route.owner, route.tenant) for route in own.alarms.routes()] == [("acme", "acme")]
        assert other.alarms.routes() == []
        for refuse in (
            lambda: own.alarms.add_route("acme", tenant="other"),
            lambda: own.alarms.add_route("acme"),
            lambda: own.alarms.add_route("acme", tenant=7),  # type: ignore[arg-type]
            lambda: own.alarms.test_channel("acme"),
            own.alarms.declare,
            lambda: site.taskdb.alarms.add_route("nowhere"),
            lambda: site.taskdb.alarms.test_channel("nowhere"),
            lambda: own.alarms.list(state="opne"),
            lambda: own.alarms.list(limit=0),
            lambda: own.alarms.snooze(one.id, -5),
            lambda: own.alarms.snooze(one.id, 10**12),
        ):
            with pytest.raises(InvalidInput):
                refuse()


def test_a_tenant_names_its_own_channels_and_a_foreign_name_looks_like_a_wrong_one(
    sqlite_url: str,
) -> None:
    with alarm_site(sqlite_url, CHANNELS) as site:
        own = site.taskdb.for_tenant("acme")
        said = set()
        for name in ("ops", "other", "nope"):
            with pytest.raises(InvalidInput) as refused:
                own.alarms.add_route([name], tenant="acme")
            said.add(str(refused.value).replace(repr(name), "NAME"))
        (message,) = said
        assert message.endswith(
            "no channel is named NAME. TASKDB_ALARM_CHANNELS allows: acme, shared"
        )
        both = site.taskdb.for_tenant("acme", "other")
        with pytest.raises(InvalidInput, match=r"allows: acme, shared$"):
            both.alarms.add_route("other", tenant="acme")
        with pytest.raises(InvalidInput, match=r"allows: none$"):
            site.taskdb.for_tenant("").alarms.add_route("ops", tenant="")
        assert site.taskdb.alarms.routes() == []
        assert own.alarms.add_route(["acme", "shared"], tenant="acme")
        assert site.taskdb.alarms.add_route(["ops", "other"], tenant="acme")


def test_what_the_operator_has_set_up_is_changed_by_the_operator_alone(sqlite_url: str) -> None:
    with alarm_site(sqlite_url, CHANNELS) as site:
        own = site.taskdb.for_tenant("acme")
        theirs = site.taskdb.alarms.add_route("ops", tenant="acme")
        assert own.alarms.routes() == []
        assert own.alarms.remove_route(theirs) is False
        mine = own.alarms.add_route("acme", tenant="acme")
        assert site.taskdb.for_tenant("other").alarms.remove_route(mine) is False
        assert {route.id for route in site.taskdb.alarms.routes()} == {theirs, mine}
        assert own.alarms.remove_route(mine)
        assert site.taskdb.alarms.remove_route(theirs)


def test_a_tenant_sees_no_channel_and_no_error_of_the_operator(sqlite_url: str) -> None:
    channels = {**CHANNELS, "ops": webhook("http://127.0.0.1:9/")}
    with alarm_site(sqlite_url, channels, alarm_group_by_tenant=True) as site:
        own = site.taskdb.for_tenant("acme")
        own.alarms.add_route("acme", tenant="acme")
        site.tell(tenant="acme")
        site.tell(tenant="other")
        site.deliver()
        (one,) = own.alarms.list()
        (foreign,) = site.taskdb.for_tenant("other").alarms.list()
        assert one.channels == own.alarms.get(one.id).channels == ("acme",)
        assert site.taskdb.alarms.get(one.id).channels == ("ops", "acme")
        assert [each.channel for each in own.alarms.deliveries(one.id)] == ["acme"]
        assert len(site.taskdb.alarms.undelivered()) == 2
        assert own.alarms.undelivered() == []
        assert own.alarms.list(undelivered=True) == []
        assert own.alarms.errors([one.id, foreign.id]) == {}
        assert set(site.taskdb.alarms.errors([one.id, foreign.id])) == {one.id, foreign.id}
        for act in (
            own.alarms.get,
            own.alarms.deliveries,
            own.alarms.acknowledge,
            own.alarms.resolve,
            lambda reference: own.alarms.snooze(reference, 60),
        ):
            for reference in (foreign.id, foreign.fingerprint):
                with pytest.raises(AlarmNotFound):
                    act(reference)
        assert own.alarms.list(tenant="other") == []
        assert own.alarms.resolve(one.fingerprint).channels == ("acme",)


def test_a_tenant_reads_no_note_of_the_operator(sqlite_url: str) -> None:
    with alarm_site(sqlite_url, CHANNELS, alarm_group_by_tenant=True) as site:
        site.tell(tenant="acme")
        own = site.taskdb.for_tenant("acme")
        (one,) = site.taskdb.alarms.list()
        site.taskdb.alarms.acknowledge(one.id, by="ann", note="the contract of acme ends")
        for seen in (own.alarms.get(one.id), *own.alarms.list()):
            assert (seen.state, seen.acted_by, seen.note) == ("acknowledged", None, None)
        assert site.taskdb.alarms.get(one.id).note == "the contract of acme ends"
        told = own.alarms.acknowledge(one.id, by="bob", note="we are at it")
        assert (told.acted_for, told.acted_by, told.note) == ("acme", "bob", "we are at it")
        assert site.taskdb.alarms.get(one.id).note == "we are at it"
        assert own.alarms.snooze(one.id, 60, by="bob").acted_by == "bob"
        assert site.taskdb.alarms.resolve(one.id, by="ann", note="bankrupt").acted_for is None
        assert own.alarms.get(one.id).note is None


def test_an_alarm_of_all_tenants_together_is_the_operators(sqlite_url: str) -> None:
    with alarm_site(sqlite_url, CHANNELS) as site:
        own = site.taskdb.for_tenant("acme")
        own.alarms.add_route("acme", tenant="acme")
        site.tell(tenant="acme")
        (one,) = site.taskdb.alarms.list()
        assert (one.tenant, one.channels) == (None, ("ops",))
        assert own.alarms.list() == own.alarms.list(tenant="acme") == []
        assert own.alarms.errors([one.id]) == {}
        for act in (own.alarms.get, own.alarms.acknowledge, own.alarms.resolve):
            for reference in (one.id, one.fingerprint):
                with pytest.raises(AlarmNotFound):
                    act(reference)
        assert site.taskdb.alarms.get(one.id).state == "open"


def test_a_channel_of_tenants_gets_no_alarm_without_a_route(sqlite_url: str) -> None:
    with alarm_site(sqlite_url, CHANNELS, alarm_group_by_tenant=True) as site:
        site.tell(tenant="acme")
        assert [one.channels for one in site.taskdb.alarms.list()] == [("ops",)]

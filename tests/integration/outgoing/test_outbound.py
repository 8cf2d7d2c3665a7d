"""Messages on their way out, to real receivers that are slow, down, rude and wrong."""

import datetime as dt
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from ipaddress import ip_network
from pathlib import Path

import pytest
import redis
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from tests.servers import Answer, Blackhole, Receiver, Redis, Sns
from tests.waiting import wait_until

from taskdb import Settings, verify_webhook
from taskdb.errors import DeliveryFailed, SettingsError, TargetRefused
from taskdb.model.message import Message
from taskdb.outgoing.contract import Limits
from taskdb.outgoing.redis_channel import channels
from taskdb.outgoing.signing import new_secret
from taskdb.outgoing.target import Guard, Resolve
from taskdb.outgoing.transports import open_redis_channel, open_sns, open_webhook
from taskdb.outgoing.webhook import Webhook

SECRET = new_secret()
ANY = (range(1, 65_536),)
LIMITS = Limits(connect_seconds=1, total_seconds=1, answer_bytes=1_000)
PATIENT = Limits(connect_seconds=20, total_seconds=20)
MESSAGE = Message(
    "event-1",
    {"action": "task-status", "name": "Ünal"},
    tenant="acme",
    type="mail.send",
    task_id="0190-aa",
    attributes={"action": "task-status", "status": "FAILED"},
)


@pytest.fixture
def webhook(receiver: Receiver) -> Iterator[Webhook]:
    with closing(Webhook(receiver.url, [SECRET], guard_of(), LIMITS)) as made:
        yield made


def test_a_message_arrives_signed_and_whole(receiver: Receiver, webhook: Webhook) -> None:
    webhook.send(MESSAGE)
    webhook.send(MESSAGE)

    first = receiver.received[0]
    assert verify_webhook(SECRET, first.headers, first.body)
    assert first.headers["webhook-id"] == "event-1"
    assert first.json == MESSAGE.envelope
    assert first.path == "/hook"
    assert first.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert first.headers["content-type"] == "application/json"
    assert len(receiver.taken) == 2


def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, webhook: Webhook, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    webhook.send(MESSAGE)
    assert len(receiver.taken) == 1


def test_a_redirect_is_not_followed(receiver: Receiver, webhook: Webhook) -> None:
    receiver.answer = lambda _: Answer(302, {"location": f"http://127.0.0.1:{receiver.port}/inner"})
    with pytest.raises(DeliveryFailed, match="redirects are not followed") as failed:
        webhook.send(MESSAGE)
    assert not failed.value.is_final
    assert [one.path for one in receiver.received] == ["/hook"]


@pytest.mark.parametrize(
    ("status", "headers", "expected"),
    [
        (500, {"retry-after": "9"}, (False, None)),
        (404, {}, (False, None)),
        (410, {}, (True, None)),
        (429, {"retry-after": "7"}, (False, dt.timedelta(seconds=7))),
        (503, {"retry-after": "99999999"}, (False, dt.timedelta(days=1))),
        (503, {"retry-after": "soon"}, (False, None)),
        (503, {"retry-after": "Wed, 21 Oct 2035 07:28:00 +99999999999999999999"}, (False, None)),
        (429, {"retry-after": "Wed, 21 Oct 99999999999999999999 07:28:00 GMT"}, (False, None)),
        (503, {"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, (False, dt.timedelta())),
        (503, {}, (False, None)),
    ],
)
def test_an_answer_that_is_no_yes_says_whether_and_when_again(
    receiver: Receiver,
    webhook: Webhook,
    status: int,
    headers: dict[str, str],
    expected: tuple[bool, dt.timedelta | None],
) -> None:
    receiver.answer = lambda _: Answer(status, headers, b"the password is hunter2")
    with pytest.raises(DeliveryFailed, match=str(status)) as failed:
        webhook.send(MESSAGE)
    assert (failed.value.is_final, failed.value.retry_after) == expected
    assert "hunter2" not in str(failed.value)


@pytest.mark.parametrize(
    "answer", [b"SSH-2.0-hunter2\r\n", b"HTTP/1.1 500 no\r\nx: hunter2\x0b\r\n\r\n"]
)
def test_an_answer_that_is_not_http_is_not_repeated(answer: bytes) -> None:
    def greet() -> None:
        connection, _ = listener.accept()
        with connection:
            connection.recv(65_536)
            connection.sendall(answer)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"http://127.0.0.1:{listener.getsockname()[1]}/"
        greeting = threading.Thread(target=greet)
        greeting.start()
        with (
            closing(Webhook(url, [SECRET], guard_of(), PATIENT)) as webhook,
            pytest.raises(DeliveryFailed, match="does not speak HTTP") as failed,
        ):
            webhook.send(MESSAGE)
        greeting.join()
    assert "hunter2" not in str(failed.value)


def test_a_receiver_that_is_down_is_told_again_once_it_is_back(
    receiver: Receiver, webhook: Webhook
) -> None:
    webhook.send(MESSAGE)
    receiver.stop()
    with pytest.raises(DeliveryFailed, match="no answer"):
        webhook.send(MESSAGE)
    receiver.start()
    webhook.send(MESSAGE)
    assert len(receiver.taken) == 2


def test_silence_ends_in_time(blackhole: Blackhole) -> None:
    url = f"http://127.0.0.1:{blackhole.port}/"
    with closing(Webhook(url, [SECRET], guard_of(), LIMITS)) as webhook:
        began = time.monotonic()
        with pytest.raises(DeliveryFailed):
            webhook.send(MESSAGE)
        assert time.monotonic() - began < 5


def test_a_drip_ends_in_time_and_a_yes_before_it_counts(
    receiver: Receiver, webhook: Webhook
) -> None:
    receiver.answer = lambda _: Answer(200, body=b"x" * 900, drip=True)
    began = time.monotonic()
    webhook.send(MESSAGE)
    assert time.monotonic() - began < 5


def test_a_long_answer_is_not_read_to_its_end(receiver: Receiver, webhook: Webhook) -> None:
    receiver.answer = lambda _: Answer(200, body=b"x" * 50_000_000)
    began = time.monotonic()
    webhook.send(MESSAGE)
    receiver.answer = lambda _: Answer()
    webhook.send(MESSAGE)
    assert len(receiver.taken) == 2
    assert time.monotonic() - began < 5


def test_a_name_is_resolved_once_and_what_it_gave_is_connected_to(receiver: Receiver) -> None:
    """The second answer, which a rebinding attacker would give, is never asked for."""
    answers = [["127.0.0.1"], ["127.0.0.2"]]
    guard = guard_of(lambda host, port: answers.pop(0), "127.0.0.1")
    url = f"http://receiver.test:{receiver.port}/hook"
    with closing(Webhook(url, [SECRET], guard, LIMITS)) as webhook:
        webhook.send(MESSAGE)
        webhook.send(MESSAGE)  # over the line that is open
        assert answers == [["127.0.0.2"]]
        assert receiver.received[0].headers["host"] == f"receiver.test:{receiver.port}"
        webhook.close()
        with pytest.raises(DeliveryFailed, match="not on the public internet") as refused:
            webhook.send(MESSAGE)
        assert "127.0.0" not in str(refused.value)
    assert len(receiver.received) == 2


def test_the_next_address_is_tried_where_one_does_not_answer(receiver: Receiver) -> None:
    guard = guard_of(lambda host, port: ["127.0.0.3", "127.0.0.1"])
    url = f"http://receiver.test:{receiver.port}/hook"
    with closing(Webhook(url, [SECRET], guard, LIMITS)) as webhook:
        webhook.send(MESSAGE)
    assert len(receiver.taken) == 1


def test_a_resolver_that_hangs_costs_no_more_than_a_connection() -> None:
    hangs = threading.Event()

    def resolve(host: str, port: int) -> list[str]:
        hangs.wait(20)
        return []

    limits = Limits(connect_seconds=0.2, total_seconds=1)
    with closing(
        Webhook("https://hangs.test/", [SECRET], Guard(resolve=resolve), limits)
    ) as webhook:
        with pytest.raises(DeliveryFailed, match="no answer in time"):
            webhook.send(MESSAGE)
        hangs.set()


def test_tls_is_verified_by_the_name(tmp_path: Path) -> None:
    authority, server_side = certificates(tmp_path, "receiver.test")
    guard = guard_of(lambda host, port: ["127.0.0.1"])
    with Receiver(server_side) as receiver:
        good = f"https://receiver.test:{receiver.port}/hook"
        with closing(Webhook(good, [SECRET], guard, PATIENT, authority)) as webhook:
            webhook.send(MESSAGE)
        other = f"https://other.test:{receiver.port}/hook"
        with (
            closing(Webhook(other, [SECRET], guard, PATIENT, authority)) as webhook,
            pytest.raises(DeliveryFailed, match=r"(?i)certificate"),
        ):
            webhook.send(MESSAGE)
        with (
            closing(Webhook(good, [SECRET], guard, PATIENT)) as webhook,
            pytest.raises(DeliveryFailed, match=r"(?i)certificate"),
        ):
            webhook.send(MESSAGE)
        assert len(receiver.received) == 1


def test_the_inside_is_closed_unless_a_setting_opens_it(receiver: Receiver) -> None:
    given = {"TASKDB_OUTBOUND_PORTS": f"443,{receiver.port}", "TASKDB_OUTBOUND_HTTP": "true"}
    with (
        closing(open_webhook(Settings.load(given), receiver.url, [SECRET])) as closed,
        pytest.raises(DeliveryFailed, match="TASKDB_OUTBOUND_PRIVATE"),
    ):
        closed.send(MESSAGE)
    given["TASKDB_OUTBOUND_PRIVATE"] = "127.0.0.0/8"
    with closing(open_webhook(Settings.load(given), receiver.url, [SECRET])) as opened:
        opened.send(MESSAGE)
    assert len(receiver.received) == 1


def test_https_and_port_443_are_the_only_way_out_unless_settings_open_another(
    receiver: Receiver,
) -> None:
    private = {"TASKDB_OUTBOUND_PRIVATE": "127.0.0.0/8"}
    for url, given, reason in (
        (receiver.url, {}, "TASKDB_OUTBOUND_HTTP"),
        (receiver.url, {"TASKDB_OUTBOUND_PORTS": "1-65535"}, "TASKDB_OUTBOUND_HTTP"),
        (receiver.url, {"TASKDB_OUTBOUND_HTTP": "true"}, "TASKDB_OUTBOUND_PORTS"),
        (f"https://127.0.0.1:{receiver.port}/", {}, "TASKDB_OUTBOUND_PORTS"),
    ):
        with pytest.raises(TargetRefused, match=reason):
            open_webhook(Settings.load({**private, **given}), url, [SECRET])
    assert receiver.received == []


@pytest.mark.parametrize(
    "ports", ["0", "65536", "443,x", "9-8", "-1", "1-", "443;80", "٤٤٣", "1.5"]
)
def test_a_wrong_port_in_the_settings_is_refused(ports: str) -> None:
    with pytest.raises(SettingsError, match="8000-8999"):
        Settings.load({"TASKDB_OUTBOUND_PORTS": ports})


def test_a_secret_that_signs_nothing_is_refused_in_words() -> None:
    with pytest.raises(TargetRefused, match="openssl rand") as refused:
        open_webhook(Settings.load({}), "https://93.184.215.14/", ["hunter2"])
    assert "hunter2" not in str(refused.value)


def test_ports_may_be_a_number_or_a_list_where_settings_are_python() -> None:
    assert Settings.load({}, outbound_ports=8443).outbound_ports == ("8443",)
    assert Settings.load({}, outbound_ports=[443, "8000-8999"]).outbound_ports == (
        "443",
        "8000-8999",
    )
    with pytest.raises(SettingsError, match="8000-8999"):
        Settings.load({}, outbound_ports=5.5)


def test_redis_gets_each_message_on_three_channels(redis_url: str) -> None:
    settings = Settings.load({"TASKDB_BROKER_URL": redis_url})
    with redis.Redis.from_url(redis_url) as client, client.pubsub() as listener:
        listener.psubscribe("taskdb:*")
        assert listener.get_message(timeout=5)
        with closing(open_redis_channel(settings, "taskdb")) as channel:
            channel.send(MESSAGE)
        heard = [wait_until(lambda: listener.get_message(timeout=1)) for _ in range(3)]
    assert {one["channel"].decode() for one in heard} == {
        "taskdb:tenant:acme",
        "taskdb:type:acme:mail.send",
        "taskdb:task:acme:0190-aa",
    }
    assert {one["data"] for one in heard} == {MESSAGE.body}


def test_channels_of_two_never_have_the_same_name() -> None:
    names = ["", "a", "a:b", "b", "a%3Ab", "*", "a*", "ä"]
    made = [
        channel
        for tenant in names
        for type_ in names
        for channel in channels("p", Message("1", {}, tenant, type_, "t"))[1:2]
    ]
    assert len(set(made)) == len(names) ** 2
    assert not any("*" in channel for channel in made)


def test_redis_that_is_away_is_an_error_that_keeps_the_password(own_redis: Redis) -> None:
    url = own_redis.url
    settings = Settings.load({"TASKDB_REDIS_CHANNEL_URL": url}, outbound_total_seconds=1)
    with closing(open_redis_channel(settings, "taskdb")) as channel:
        own_redis.stop()
        with pytest.raises(DeliveryFailed, match="ConnectionError"):
            channel.send(MESSAGE)
        own_redis.start()
        channel.send(MESSAGE)
        own_redis.freeze()
        with pytest.raises(DeliveryFailed, match="TimeoutError"):
            channel.send(MESSAGE)
    with pytest.raises(TargetRefused, match="TASKDB_REDIS_CHANNEL_URL"):
        open_redis_channel(Settings.load({}), "taskdb")
    with pytest.raises(TargetRefused, match="first word"):
        open_redis_channel(settings, "a:b")


def test_sns_publishes_with_what_can_be_filtered_by(
    sns_server: Sns, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in sns_server.environment.items():
        monkeypatch.setenv(name, value)
    for topic in ("plain", "ordered.fifo"):
        arn, queue = sns_server.create_topic(topic)
        with closing(open_sns(Settings.load({}), arn)) as sns:
            sns.send(MESSAGE)
        (taken,) = wait_until(lambda queue=queue: sns_server.read(queue))
        assert taken["Body"].encode() == MESSAGE.body
        attributes = {k: v["StringValue"] for k, v in taken["MessageAttributes"].items()}
        assert attributes == {
            "tenant": "acme",
            "type": "mail.send",
            "action": "task-status",
            "status": "FAILED",
        }
    absent = arn.replace("ordered", "absent")
    with closing(open_sns(Settings.load({}), absent)) as sns, pytest.raises(DeliveryFailed):
        sns.send(MESSAGE)


@pytest.mark.parametrize(
    "arn",
    [
        "",
        "arn:aws:sqs:eu-central-1:123456789012:x",
        "arn:aws:sns:evil.example/:123456789012:x",
        "arn:aws:sns:eu-central-1:1:x",
    ],
)
def test_only_the_name_of_a_topic_is_a_target_of_sns(arn: str) -> None:
    with pytest.raises(TargetRefused, match="ARN"):
        open_sns(Settings.load({}), arn)


def guard_of(resolve: Resolve | None = None, network: str = "127.0.0.0/8") -> Guard:
    """A guard that lets messages go to receivers of this machine."""
    return Guard((ip_network(network),), ANY, allows_http=True, resolve=resolve)


def certificates(folder: Path, name: str) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """What a client trusts, and what a server of this name shows."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate_file, key_file = folder / "certificate.pem", folder / "key.pem"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    server_side = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server_side.load_cert_chain(certificate_file, key_file)
    return ssl.create_default_context(cafile=str(certificate_file)), server_side

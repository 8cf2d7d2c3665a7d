"""The servers start, answer, freeze, and come back on the same port with their data."""

import socket
import time
from pathlib import Path

import amqp
import psycopg
import pytest
import redis

from tests.processes import Processes
from tests.servers import Blackhole, PostgreSQL, RabbitMQ, Redis, TcpProxy
from tests.servers.server import HOST, listens
from tests.waiting import wait_until


def connect(server: PostgreSQL, database: str = "postgres") -> psycopg.Connection[tuple[int]]:
    url = server.url_of(database).replace("+psycopg", "")
    return psycopg.connect(url, autocommit=True, connect_timeout=2)


class TestPostgreSQL:
    def test_each_test_gets_a_database_of_its_own(self, postgresql_url: str) -> None:
        with psycopg.connect(postgresql_url.replace("+psycopg", "")) as connection:
            connection.execute("CREATE TABLE only_here (n int)")
            row = connection.execute("SELECT current_database()").fetchone()
        assert row == (postgresql_url.rsplit("/", 1)[1],)

    def test_it_is_version_18(self, postgresql_server: PostgreSQL) -> None:
        with connect(postgresql_server) as connection:
            assert connection.info.server_version // 10_000 == 18

    def test_it_keeps_its_port_and_data_over_a_stop_and_a_kill(
        self, own_postgresql: PostgreSQL
    ) -> None:
        with connect(own_postgresql) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 7 AS n")
        own_postgresql.stop()
        with pytest.raises(psycopg.OperationalError):
            connect(own_postgresql)
        own_postgresql.start()
        own_postgresql.kill()
        own_postgresql.start()
        with connect(own_postgresql) as connection:
            assert connection.execute("SELECT n FROM kept").fetchone() == (7,)

    def test_frozen_it_does_not_answer_and_thawed_it_does(self, own_postgresql: PostgreSQL) -> None:
        own_postgresql.freeze()
        with pytest.raises(psycopg.errors.ConnectionTimeout):
            connect(own_postgresql)
        own_postgresql.thaw()
        connect(own_postgresql).close()

    def test_it_names_who_is_still_connected(self, postgresql_server: PostgreSQL) -> None:
        with connect(postgresql_server, "template1") as connection:
            connection.execute("SET application_name TO forgetful")
            (line,) = postgresql_server.connections_to("template1")
        assert "forgetful" in line


class TestRedis:
    def test_each_test_gets_an_empty_database(self, redis_url: str) -> None:
        with redis.Redis.from_url(redis_url) as client:
            assert client.dbsize() == 0
            client.set("left", "behind")

    def test_it_keeps_its_port_and_data_over_a_stop_and_a_kill(self, own_redis: Redis) -> None:
        with redis.Redis.from_url(own_redis.url) as client:
            client.set("kept", "7")
            own_redis.stop()
            own_redis.start()
            own_redis.kill()
            with pytest.raises(redis.ConnectionError):
                client.ping()
            own_redis.start()
            assert client.get("kept") == b"7"

    def test_frozen_it_does_not_answer_and_thawed_it_does(self, own_redis: Redis) -> None:
        with redis.Redis.from_url(own_redis.url, socket_timeout=0.2, retry=None) as client:
            own_redis.freeze()
            with pytest.raises(redis.TimeoutError):
                client.ping()
            own_redis.thaw()
            assert client.ping()


class TestServer:
    def test_it_dies_with_a_killed_owner(self, processes: Processes) -> None:
        program = (
            "import time; from tests.servers import Redis; redis = Redis(); redis.start();"
            " print('ready', redis.port, flush=True); time.sleep(600)"
        )
        owner = processes.python("-c", program, cwd=Path(__file__).parents[2])
        owner.wait_for_output("ready")
        port = int(owner.output.split()[1])
        assert listens(port)
        owner.kill()
        wait_until(lambda: not listens(port), describe="the server to die with its owner")


class TestRabbitMQ:
    def test_each_test_gets_a_virtual_host_of_its_own(self, rabbitmq_url: str) -> None:
        host, vhost = rabbitmq_url.rpartition("@")[2].split("/")
        with amqp.Connection(host, virtual_host=vhost) as connection:
            connection.channel().queue_declare("only-here")

    def test_it_keeps_its_port_and_data_over_a_stop_and_a_freeze(
        self, own_rabbitmq: RabbitMQ
    ) -> None:
        host = f"{HOST}:{own_rabbitmq.port}"
        with amqp.Connection(host, confirm_publish=True) as connection:
            channel = connection.channel()
            channel.queue_declare("kept", durable=True, auto_delete=False)
            channel.basic_publish(amqp.Message("7", delivery_mode=2), routing_key="kept")
        own_rabbitmq.stop()
        with pytest.raises(ConnectionRefusedError):
            amqp.Connection(host).connect()
        own_rabbitmq.start()
        own_rabbitmq.freeze()
        with pytest.raises(TimeoutError):
            amqp.Connection(host, connect_timeout=1, read_timeout=1).connect()
        own_rabbitmq.thaw()
        with amqp.Connection(host) as connection:
            assert connection.channel().basic_get("kept", no_ack=True).body == "7"


class TestBlackhole:
    def test_it_takes_the_call_and_never_answers(self, blackhole: Blackhole) -> None:
        with socket.create_connection((blackhole.host, blackhole.port), timeout=1) as line:
            line.sendall(b"hello?")
            line.settimeout(0.2)
            with pytest.raises(TimeoutError):
                line.recv(1)

    def test_not_accepting_it_lets_even_the_connecting_hang(self) -> None:
        with Blackhole(accepting=False) as hole, pytest.raises(TimeoutError):
            socket.create_connection((hole.host, hole.port), timeout=0.3)


class TestTcpProxy:
    def test_it_forwards_large_answers_whole(self, redis_server: Redis) -> None:
        with TcpProxy(redis_server.port) as proxy, redis.Redis(port=proxy.port) as client:
            client.set("large", b"x" * 5_000_000)
            assert client.strlen("large") == 5_000_000
            assert client.get("large") == b"x" * 5_000_000

    def test_cut_resets_the_open_lines_and_takes_new_ones(self, redis_server: Redis) -> None:
        with TcpProxy(redis_server.port) as proxy:
            with socket.create_connection((proxy.host, proxy.port), timeout=2) as line:
                line.sendall(b"PING\r\n")
                assert line.recv(7) == b"+PONG\r\n"
                proxy.cut()
                assert proxy.lines == 0
                with pytest.raises(ConnectionResetError):
                    line.recv(1)
            with redis.Redis(port=proxy.port) as client:
                assert client.ping()

    def test_frozen_it_holds_back_and_thawed_it_delivers(self, redis_server: Redis) -> None:
        with (
            TcpProxy(redis_server.port) as proxy,
            socket.create_connection((proxy.host, proxy.port), timeout=2) as line,
        ):
            proxy.freeze()
            line.sendall(b"PING\r\n")
            line.settimeout(0.2)
            with pytest.raises(TimeoutError):
                line.recv(1)
            proxy.thaw()
            line.settimeout(2)
            assert line.recv(7) == b"+PONG\r\n"

    def test_a_frozen_line_can_be_cut(self, redis_server: Redis) -> None:
        with (
            TcpProxy(redis_server.port) as proxy,
            socket.create_connection((proxy.host, proxy.port), timeout=2) as line,
        ):
            proxy.freeze()
            line.sendall(b"PING\r\n")
            begin = time.monotonic()
            proxy.cut()
            assert time.monotonic() - begin < 1

    def test_refusing_it_keeps_open_lines_until_restored(self, redis_server: Redis) -> None:
        with (
            TcpProxy(redis_server.port) as proxy,
            redis.Redis(port=proxy.port, retry=None) as client,
        ):
            assert client.ping()
            proxy.refuse()
            assert client.ping()
            with pytest.raises(ConnectionRefusedError):
                socket.create_connection((proxy.host, proxy.port), timeout=1)
            proxy.restore()
            socket.create_connection((proxy.host, proxy.port), timeout=1).close()

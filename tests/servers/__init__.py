"""Real servers for the tests, and two ways to break the line to them."""

from tests.servers.blackhole import Blackhole
from tests.servers.postgresql import PostgreSQL
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.redis import Redis
from tests.servers.server import Server, ServerMissingError
from tests.servers.tcp_proxy import TcpProxy

__all__ = [
    "Blackhole",
    "PostgreSQL",
    "RabbitMQ",
    "Redis",
    "Server",
    "ServerMissingError",
    "TcpProxy",
]

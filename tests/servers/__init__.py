"""Real servers for the tests, and two ways to break the line to them."""

from tests.servers.blackhole import Blackhole
from tests.servers.mail import Mail, MailServer
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSQL
from tests.servers.rabbitmq import RabbitMQ
from tests.servers.receiver import Answer, Received, Receiver
from tests.servers.redis import Redis
from tests.servers.server import Server, ServerMissingError
from tests.servers.sns import Sns
from tests.servers.tcp_proxy import TcpProxy

__all__ = [
    "Answer",
    "Blackhole",
    "Mail",
    "MailServer",
    "PgBouncer",
    "PostgreSQL",
    "RabbitMQ",
    "Received",
    "Receiver",
    "Redis",
    "Server",
    "ServerMissingError",
    "Sns",
    "TcpProxy",
]

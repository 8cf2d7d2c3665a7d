"""Redis channels: only current subscribers receive a message; Redis does not store it."""

from __future__ import annotations

from urllib.parse import quote

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from taskdb.errors import DeliveryFailed
from taskdb.model.message import Message
from taskdb.outgoing.contract import Limits


class RedisChannel:
    """Publishes each message to the channels of its tenant, its type and its task."""

    def __init__(self, url: str, prefix: str, limits: Limits) -> None:
        self._prefix = prefix
        self._redis = Redis.from_url(
            url,
            socket_timeout=limits.total_seconds,
            socket_connect_timeout=limits.connect_seconds,
            # The caller retries in order, with its own pauses.
            retry=Retry(NoBackoff(), 0),
        )

    def send(self, message: Message) -> None:
        try:
            pipeline = self._redis.pipeline(transaction=False)
            for channel in channels(self._prefix, message):
                pipeline.publish(channel, message.body)
            pipeline.execute()
        except (RedisError, OSError) as error:
            # The text of the error may contain the URL with its password.
            raise DeliveryFailed(f"Redis did not take it ({type(error).__name__})") from None

    def close(self) -> None:
        self._redis.close()


def channels(prefix: str, message: Message) -> list[str]:
    """Return the channels of a message.

    Words are percent-encoded, including colons and the wild cards of patterns. So two tenants,
    types or tasks never share a name, and no name matches another's pattern by chance.
    """
    tenant, type_ = _word(message.tenant), _word(message.type)
    return [
        f"{prefix}:tenant:{tenant}",
        f"{prefix}:type:{tenant}:{type_}",
        f"{prefix}:task:{tenant}:{_word(message.task_id)}",
    ]


def _word(text: str) -> str:
    return quote(text, safe="", errors="surrogatepass")

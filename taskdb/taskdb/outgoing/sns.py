"""Amazon SNS: publishes to a topic, with the credentials and the endpoint that boto3 finds."""

from __future__ import annotations

from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import BotoCoreError, ClientError

from taskdb.errors import DeliveryFailed
from taskdb.model.message import Message
from taskdb.outgoing.contract import Limits


class Sns:
    """Publishes to one topic, named by its ARN. Subscribers can filter by message attributes."""

    def __init__(self, arn: str, limits: Limits) -> None:
        self._arn = arn
        self._is_ordered = arn.endswith(".fifo")
        config = Config(
            connect_timeout=limits.connect_seconds,
            read_timeout=limits.total_seconds,
            # The caller retries in order, with its own pauses.
            retries={"total_max_attempts": 1},
        )
        self._client = boto3.client("sns", region_name=arn.split(":")[3], config=config)

    def send(self, message: Message) -> None:
        try:
            self._client.publish(
                TopicArn=self._arn,
                Message=message.body.decode(),
                MessageAttributes=_attributes(message),
                **self._order(message),
            )
        except ClientError as error:
            code = error.response.get("Error", {}).get("Code", "an error")
            raise DeliveryFailed(f"SNS answered {code}") from None
        except BotoCoreError as error:
            raise DeliveryFailed(f"SNS did not take it ({type(error).__name__})") from None

    def close(self) -> None:
        self._client.close()

    def _order(self, message: Message) -> dict[str, str]:
        """A FIFO topic keeps the order of each task, and drops ids of the last minutes."""
        if not self._is_ordered:
            return {}
        return {
            "MessageGroupId": message.task_id or message.id,
            "MessageDeduplicationId": message.id,
        }


def _attributes(message: Message) -> dict[str, Any]:
    words = {"tenant": message.tenant, "type": message.type, **message.attributes}
    return {
        name: {"DataType": "String", "StringValue": value} for name, value in words.items() if value
    }

"""Amazon SNS and SQS as moto serves them, in a process of their own."""

import os
import sys
from typing import Any, ClassVar

import boto3

from tests.servers.server import HOST, Server, listens

_CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "eu-central-1",
}


class Sns(Server):
    """A server of SNS; what is published to a topic can be read from its queue."""

    name: ClassVar[str] = "sns"

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    @property
    def environment(self) -> dict[str, str]:
        """What leads boto3 here."""
        return {**_CREDENTIALS, "AWS_ENDPOINT_URL": self.url, "NO_PROXY": HOST}

    def start(self) -> None:
        command = [sys.executable, "-m", "moto.server", "-H", HOST, "-p", str(self.port)]
        self._launch(command, environ={**os.environ, **_CREDENTIALS})
        self._wait_until_it_answers()

    def client(self, service: str) -> Any:
        return boto3.client(
            service,
            endpoint_url=self.url,
            region_name="eu-central-1",
            aws_access_key_id="testing",
            aws_secret_access_key="testing",
        )

    def create_topic(self, name: str) -> tuple[str, str]:
        """A topic and a queue that has all that is published to it: ARN and URL."""
        ordered = {"FifoTopic": "true"} if name.endswith(".fifo") else {}
        queued = {"FifoQueue": "true"} if name.endswith(".fifo") else {}
        sns, sqs = self.client("sns"), self.client("sqs")
        arn = sns.create_topic(Name=name, Attributes=ordered)["TopicArn"]
        queue = sqs.create_queue(QueueName=name, Attributes=queued)["QueueUrl"]
        found = sqs.get_queue_attributes(QueueUrl=queue, AttributeNames=["QueueArn"])
        endpoint = found["Attributes"]["QueueArn"]
        sns.subscribe(
            TopicArn=arn,
            Protocol="sqs",
            Endpoint=endpoint,
            Attributes={"RawMessageDelivery": "true"},
        )
        return arn, queue

    def read(self, queue: str) -> list[dict[str, Any]]:
        """Take what has arrived in a queue."""
        taken = self.client("sqs").receive_message(
            QueueUrl=queue, MaxNumberOfMessages=10, MessageAttributeNames=["All"]
        )
        return list(taken.get("Messages", []))

    def _answers(self) -> bool:
        return listens(self.port)

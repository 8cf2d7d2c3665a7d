"""A receiver of mail: a real SMTP server of this process that answers as a test tells it."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from types import TracebackType
from typing import Any, Self, cast

from aiosmtpd.controller import Controller

from tests.servers.server import HOST, free_port


@dataclass(frozen=True)
class Mail:
    """One mail, as it came."""

    sender: str
    recipients: tuple[str, ...]
    raw: bytes

    @property
    def message(self) -> EmailMessage:
        return cast("EmailMessage", message_from_bytes(self.raw, policy=policy.default))

    @property
    def text(self) -> str:
        body = self.message.get_body(("plain",))
        assert body is not None
        return str(body.get_content())


class MailServer:
    """Keeps its port over ``stop`` and ``start``; use it as a context manager."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answer: Callable[[Mail], str] = lambda _: "250 taken"
        self.received: list[Mail] = []
        self.taken: list[Mail] = []
        self._controller: Controller | None = None
        self._ending = threading.Event()

    @property
    def url(self) -> str:
        """For Apprise."""
        return (
            f"mailto://{HOST}:{self.port}?from=taskdb@example.com&to=ops@example.com&mode=insecure"
        )

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self) -> None:
        assert self._controller is None, "the mail server runs already"
        self._ending.clear()
        self._controller = Controller(self, hostname=HOST, port=self.port)
        self._controller.start()

    def stop(self) -> None:
        controller, self._controller = self._controller, None
        if controller is not None:
            self._ending.set()
            controller.stop()

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:  # noqa: N802 - its name there
        """What aiosmtpd calls with each mail."""
        mail = Mail(envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content)
        self.received.append(mail)
        answer = self.answer(mail)
        if answer.startswith("2"):
            self.taken.append(mail)
        return answer

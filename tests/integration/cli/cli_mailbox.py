"""A mail server on this machine that keeps what it gets."""

import mailbox
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path

import pytest
from tests.processes import Processes
from tests.servers.server import free_port, listens
from tests.waiting import wait_until


@dataclass(frozen=True)
class Mailbox:
    """Where to send, and what came."""

    url: str
    folder: Path

    def mails(self) -> list[EmailMessage]:
        parser = BytesParser(policy=policy.default)
        found = mailbox.Maildir(self.folder, create=False)
        return [parser.parsebytes(one.as_bytes()) for one in found]  # type: ignore[misc]


@pytest.fixture
def smtp(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> Mailbox:
    """An SMTP server that keeps mails in a folder."""
    folder = tmp_path_factory.mktemp("mail") / "box"
    port = free_port()
    address = f"127.0.0.1:{port}"
    keeping = ("-c", "aiosmtpd.handlers.Mailbox", folder)
    server = processes.python("-m", "aiosmtpd", "--nosetuid", "--listen", address, *keeping)

    wait_until(lambda: listens(port), describe=server.tail)
    return Mailbox(f"smtp://{address}", folder)

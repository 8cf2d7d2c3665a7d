"""One mail over SMTP. `SMTP_URL` of the worker says where: smtp://user:password@host:port.

`smtps://` speaks TLS from the first byte; with `smtp://` it is used where the server offers it.
"""

import os
import smtplib
import ssl
from email.message import EmailMessage
from pathlib import Path
from urllib.parse import unquote, urlsplit

TIMEOUT_SECONDS = 20
SENDER = "taskdb@localhost"


def send_mail(
    *, to: str, subject: str, text: str, name: str, attachment: Path | None = None
) -> None:
    """Send a mail; raises OSError or smtplib.SMTPException, after which a retry is worth it.

    A task may run twice, and so may its mail go out: `name` (the id of the task) makes its
    Message-ID, by which a mailbox knows the second as the first.
    """
    message = EmailMessage()
    message["From"] = os.environ.get("SMTP_SENDER", SENDER)
    message["To"] = to
    message["Subject"] = subject
    message["Message-ID"] = f"<{name}@taskdb>"
    message.set_content(text)
    if attachment is not None:
        message.add_attachment(
            attachment.read_text(encoding="utf-8"), subtype="csv", filename=attachment.name
        )
    with opened(os.environ.get("SMTP_URL", "smtp://localhost:25")) as server:
        server.send_message(message)


def opened(url: str) -> smtplib.SMTP:
    """A line to the server, signed in where the URL names a user."""
    parts = urlsplit(url)
    host, context = parts.hostname or "localhost", ssl.create_default_context()
    if parts.scheme == "smtps":
        server: smtplib.SMTP = smtplib.SMTP_SSL(
            host, parts.port or 465, timeout=TIMEOUT_SECONDS, context=context
        )
    else:
        server = smtplib.SMTP(host, parts.port or 25, timeout=TIMEOUT_SECONDS)
        server.ehlo()
        if server.has_extn("starttls"):
            server.starttls(context=context)
    if parts.username:
        server.login(unquote(parts.username), unquote(parts.password or ""))
    return server

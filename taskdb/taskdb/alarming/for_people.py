"""Messages for people, through Apprise: mail, Slack, Teams, PagerDuty and some hundred more."""

# Apprise has types for a part of it only.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import logging
import re
from io import StringIO

import apprise

from taskdb.alarming.contract import Words
from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.sensitive_text import HIDDEN

_TYPES = {
    "info": apprise.NotifyType.INFO,
    "warning": apprise.NotifyType.WARNING,
    "error": apprise.NotifyType.FAILURE,
    "critical": apprise.NotifyType.FAILURE,
}
_LEAST_SECRET = 4
"""A shorter part of a URL would be found in too many words."""
_REASON_CHARACTERS = 300
_STAMP = re.compile(r"^[\d\- :,.]*-?\s*(?:\w+ - )?")


class ForPeople:
    """Sends title and text to one Apprise URL."""

    def __init__(self, url: str, seconds: float) -> None:
        """Raises TargetRefused for what is no URL of Apprise's, without repeating it."""
        self._secrets = _parts(url)
        self._service = apprise.Apprise()
        if not self._service.add(_with_timeouts(url, seconds)):
            scheme = url.partition("://")[0]
            raise TargetRefused(f"Apprise cannot use this {scheme}:// URL: see its page there")

    def send(self, message_id: str, words: Words) -> None:  # noqa: ARG002 - people need no id
        severity = words["envelope"]["content"]["severity"]
        with apprise.LogCapture(level=logging.WARNING, fmt="%(message)s") as said:
            try:
                taken = self._service.notify(
                    title=words["title"],
                    body=words["text"],
                    notify_type=_TYPES[severity],
                    body_format=apprise.NotifyFormat.TEXT,
                )
            except Exception as error:  # noqa: BLE001 - any of a hundred libraries'
                raise DeliveryFailed(self._told(f"{type(error).__name__}: {error}")) from None
            reason = said.getvalue() if isinstance(said, StringIO) else ""
        if not taken:
            raise DeliveryFailed(self._told(reason) or "the service did not take it")

    def close(self) -> None:
        """Nothing is kept open."""

    def _told(self, reason: str) -> str:
        """What a service said, in one line, without any part of its URL."""
        line = " ".join(_STAMP.sub("", part) for part in reason.splitlines())
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line.strip()[:_REASON_CHARACTERS]


def _parts(url: str) -> list[str]:
    """What may be secret in a URL: every word behind its scheme, the longest first."""
    rest = url.partition("://")[2]
    found = {part for part in re.split(r"[/:@?&=,]", rest) if len(part) >= _LEAST_SECRET}
    return sorted({rest, *found}, key=len, reverse=True)


def _with_timeouts(url: str, seconds: float) -> str:
    """Unless the URL says so itself, no service takes longer than others may."""
    joint = "&" if "?" in url else "?"
    wanted = [
        f"{name}={seconds:g}" for name in ("cto", "rto") if not re.search(rf"[?&]{name}=", url)
    ]
    return f"{url}{joint}{'&'.join(wanted)}" if wanted else url

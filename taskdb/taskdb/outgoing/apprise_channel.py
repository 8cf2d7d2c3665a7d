"""Messages for people, through Apprise: mail, Slack, Teams, PagerDuty and some hundred more."""

# Apprise has types for a part of it only.
# mypy: disallow-untyped-calls=False

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager

import apprise

from taskdb.errors import DeliveryFailed, TargetRefused
from taskdb.fork import RenewedLock
from taskdb.model.message import Message
from taskdb.redaction.sensitive_text import HIDDEN

_TYPES = {
    "info": apprise.NotifyType.INFO,
    "warning": apprise.NotifyType.WARNING,
    "error": apprise.NotifyType.FAILURE,
    "critical": apprise.NotifyType.FAILURE,
}
_LEAST_SECRET = 4
"""Shortest part of a URL that is hidden; a shorter part occurs in too many words."""
_REASON_CHARACTERS = 300


class AppriseChannel:
    """Sends title and text to one Apprise URL."""

    def __init__(self, url: str, seconds: float) -> None:
        """Raises TargetRefused, without the URL, if Apprise cannot use it."""
        self._secrets = _parts(url)
        self._service = apprise.Apprise()
        if not self._service.add(_with_timeouts(url, seconds)):
            scheme = url.partition("://")[0]
            raise TargetRefused(f"Apprise cannot use this {scheme}:// URL: see its page there")

    def send(self, message: Message) -> None:
        with _heard() as said:
            try:
                taken = self._service.notify(
                    title=message.title,
                    body=message.text,
                    notify_type=_TYPES[message.attributes["severity"]],
                    body_format=apprise.NotifyFormat.TEXT,
                )
            except Exception as error:  # noqa: BLE001 - any of a hundred libraries'
                raise DeliveryFailed(self._redacted(f"{type(error).__name__}: {error}")) from None
        if not taken:
            raise DeliveryFailed(self._redacted(" ".join(said)) or "the service did not take it")

    def close(self) -> None:
        """Nothing is kept open."""

    def _redacted(self, reason: str) -> str:
        """Return the error of a service in one line, without any part of its URL."""
        line = " ".join(reason.split())
        for secret in self._secrets:
            line = line.replace(secret, HIDDEN)
        return line.strip()[:_REASON_CHARACTERS]


@contextmanager
def _heard() -> Iterator[list[str]]:
    """Collect Apprise's log messages during a send; it logs from threads of its own.

    The list ends empty if another send overlaps: a message could be of that one, and show
    secret parts of its URL.
    """
    ear = _Ear()
    with _lock:
        if not _ears:
            _keep_to_ourselves(ours=True)
        _ears.append(ear)
        for one in _ears:
            one.is_alone = len(_ears) == 1
        _log.addHandler(ear)
    try:
        yield ear.said
    finally:
        with _lock:
            _log.removeHandler(ear)
            _ears.remove(ear)
            if not _ears:
                _keep_to_ourselves(ours=False)
            if not ear.is_alone:
                ear.said.clear()


def _keep_to_ourselves(*, ours: bool) -> None:
    """During a send, keep Apprise's messages out of all other logs: they may show secrets."""
    _log.propagate = not ours
    _log.setLevel(logging.WARNING if ours else logging.NOTSET)


class _Ear(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.WARNING)
        self.said: list[str] = []
        self.is_alone = True

    def emit(self, record: logging.LogRecord) -> None:
        self.said.append(record.getMessage())


_log = logging.getLogger(apprise.logger.name)
_lock = RenewedLock()
_ears: list[_Ear] = []


def _parts(url: str) -> list[str]:
    """Return the possible secrets of a URL: every word after its scheme, the longest first."""
    rest = url.partition("://")[2]
    found = {part for part in re.split(r"[/:@?&=,]", rest) if len(part) >= _LEAST_SECRET}
    return sorted({rest, *found}, key=len, reverse=True)


def _with_timeouts(url: str, seconds: float) -> str:
    """Add the time limits of all transports, unless the URL sets its own."""
    joint = "&" if "?" in url else "?"
    wanted = [
        f"{name}={seconds:g}" for name in ("cto", "rto") if not re.search(rf"[?&]{name}=", url)
    ]
    return f"{url}{joint}{'&'.join(wanted)}" if wanted else url

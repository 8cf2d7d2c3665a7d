"""Settings of redaction."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel

from taskdb.redaction.redaction import Redaction, redaction_of
from taskdb.settings.value import JsonTexts, Words, checked


class RedactionSettings(BaseModel, defer_build=True):
    """The names and texts that are redacted beside the built-in ones."""

    redact_fields: Annotated[Words, checked(lambda names: redaction_of(names, ()))] = ()
    """Comma-separated names of fields whose values are shown as `[redacted]` in alarms and in the
    arguments of adopted tasks, beside the built-in ones (password, token, api_key, cookie …): words
    such as `account_number`, or patterns such as `*iban*`. `!max_token` names a field that is not
    redacted."""
    redact_patterns: Annotated[JsonTexts, checked(lambda patterns: redaction_of((), patterns))] = ()
    """Regular expressions, as a JSON list, of texts that are redacted everywhere; with a group
    `(?P<secret>…)` only the group. Built in: passwords in URLs, bearer tokens, private keys,
    well-known API keys, card numbers."""

    @property
    def redaction(self) -> Redaction:
        """Removes secrets from inputs, errors and tracebacks before they leave the database."""
        return redaction_of(self.redact_fields, self.redact_patterns)

"""Masks passwords and tokens of URLs before they leave the process.

A URL in a log may be one that no parser accepts, since that is often the reason for the log: a
password with `/`, `@`, `:`, `#` or `?` that is not percent-encoded. The user part therefore ends at
the *last* `@`. In doubt a text is hidden.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from urllib.parse import unquote

from taskdb.redaction.sensitive_name import NameRules

MASK = "***"
_NAMES = NameRules.parse(
    (
        "*passw*", "*passphrase*", "pass", "*pwd*", "*secret*", "*token", "auth",
        "authorization", "*apikey*", "*accesskey*", "*privatekey*", "*credential*", "*signature*",
        "sig", "hmac", "jwt", "key", "code", "bearer", "session",
    )
)  # fmt: skip
"""Parameters of a query whose values are secret."""

_SCHEME = r"[A-Za-z][A-Za-z0-9+.\-]{0,40}://"
_FOUND = re.compile(rf"(?<![A-Za-z0-9+.\-]){_SCHEME}\S*")
_SEVERAL = re.compile(rf"(?<=[;,])(?={_SCHEME})")
_END = re.compile(r"\\?[\"'`<>](?:[\s,;:)\]}>\\]|$)")
"""A closing quote. Any other quote is a part of a password that is not percent-encoded."""
_PARAMETER = re.compile(r"(?P<before>[?&;#])(?P<name>[^=&;#?]{1,200})=(?P<value>[^&;#]*)")
_PORT = re.compile(r"(?P<host>\[[^\]]*\]|[^:]*):(?P<port>\d{0,5})(?:,.*)?")
_USER_IS_PUBLIC = ("postgres", "mysql", "mssql", "oracle", "amqp", "pyamqp", "ssh", "git")
"""Schemes whose user part without a colon is a name. In others it may be a token."""
_PEOPLE = (
    "slack", "discord", "tgram", "mailto", "mailtos", "msteams", "workflows", "matrix", "matrixs",
    "pover", "pbul", "pagerduty", "opsgenie", "twilio", "gchat", "rocket", "rockets", "mmost",
    "mmosts", "ntfy", "ntfys", "gotify", "gotifys", "ifttt", "join", "prowl", "signal", "signals",
    "telegram", "webex", "wxteams", "zulip", "sendgrid", "mailgun", "ses", "splunk", "victorops",
    "json", "jsons", "xml", "xmls", "form", "forms",
)  # fmt: skip
"""Schemes of Apprise in which any part may be a token."""
_WAYS = re.compile(
    r"(?P<way>https?://(?:hooks\.slack(?:-gov)?\.com/(?:services|workflows|triggers)/"
    r"|(?:\w+\.)?discord(?:app)?\.com/api/webhooks/|api\.telegram\.org/bot"
    r"|[\w.-]+\.webhook\.office\.com/|events\.pagerduty\.com/integration/"
    r"|[\w.-]+\.logic\.azure\.com[:\d]*/workflows/|chat\.googleapis\.com/v1/spaces/))[^\s?#]+",
    re.IGNORECASE,
)
"""Services whose path is the secret."""


def mask_url(url: str, mark: str = MASK) -> str:
    """Return one URL, or several separated by `;`, without secrets. Never raises."""
    return "".join(_mask(one, mark) for one in _SEVERAL.split(url))


def mask_urls(text: str, mark: str = MASK) -> str:
    """Return a text in which every URL is masked."""
    if "://" not in text:
        return text
    return _FOUND.sub(lambda found: _of_run(found[0], lambda url: mask_url(url, mark)), text)


def secrets_of_url(url: str) -> Iterator[str]:
    """Yield the secrets of a URL, as written and decoded."""
    for one in _SEVERAL.split(url) if "://" in url else ():
        scheme, _, rest = one.rstrip(";,").partition("://")
        user, host = _split(scheme, rest)
        _, colon, password = user.partition(":")
        found = [password if colon else ("" if scheme.startswith(_USER_IS_PUBLIC) else user)]
        found += [
            parameter["value"]
            for parameter in _PARAMETER.finditer(host)
            if _NAMES.hide(unquote(parameter["name"]))
        ]
        for secret in found:
            yield from {secret, unquote(secret)} - {""}


def _of_run(run: str, masked: Callable[[str], str]) -> str:
    """Mask a text without spaces that starts with a URL and may continue after it."""
    end = _END.search(run)
    if end is None:
        return masked(run)
    behind = run[end.start() :]
    # The rest may contain URLs as well.
    return masked(run[: end.start()]) + _FOUND.sub(lambda one: _of_run(one[0], masked), behind)


def _mask(url: str, mark: str) -> str:
    scheme, separator, rest = url.partition("://")
    if not separator:
        return url
    if scheme.lower() in _PEOPLE:
        return f"{scheme}://{mark}" if rest else url
    way = _WAYS.match(url)
    if way is not None:
        url = f"{way['way']}{mark}{url[way.end() :]}"
        scheme, separator, rest = url.partition("://")
    user, host = _split(scheme.lower(), rest)
    if user:
        name, colon, _ = user.partition(":")
        is_name = colon or scheme.lower().startswith(_USER_IS_PUBLIC)
        shown = name if is_name else mark
        user = f"{shown}:{mark}@" if colon else f"{shown}@"
    else:
        host = _masked_port(host, mark)
    return f"{scheme}://{user}{_PARAMETER.sub(lambda one: _parameter(one, mark), host)}"


def _split(scheme: str, rest: str) -> tuple[str, str]:
    """Return the user part, without its `@`, and the rest."""
    # A path of a file, or a missing host: no user part.
    if rest.startswith("/") or scheme in {"file", "sqlite", "s3"}:
        return "", rest
    beginning, mark, _query = rest.partition("?")
    at = beginning.rfind("@")
    if at < 0:
        # A password with a `?` in it, unless the text before looks like a whole host.
        if not mark or not _is_host(beginning):
            at = rest.rfind("@")
        if at < 0:
            return "", rest
    return rest[:at], rest[at + 1 :]


def _is_host(text: str) -> bool:
    authority = re.split(r"[/#]", text, maxsplit=1)[0]
    return bool(authority) and (":" not in authority or _PORT.fullmatch(authority) is not None)


def _masked_port(host: str, mark: str) -> str:
    """Mask what follows the colon of a host, unless it is a port: it may be a password."""
    authority = re.split(r"[/?#]", host, maxsplit=1)[0]
    if ":" not in authority or _PORT.fullmatch(authority) or authority.startswith("["):
        return host
    name = authority.partition(":")[0]
    return f"{name}:{mark}{host[len(authority) :]}"


def _parameter(found: re.Match[str], mark: str) -> str:
    value = found["value"]
    if value and _NAMES.hide(unquote(found["name"])):
        value = mark
    else:
        plain = unquote(value)
        masked = mask_urls(plain, mark)
        value = masked if masked != plain else value
    return f"{found['before']}{found['name']}={value}"

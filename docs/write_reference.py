"""Writes the reference pages that repeat what the code says; a test holds them to it.

    python -m docs.write_reference

Each page keeps its own text; what stands between the two markers is replaced.
"""

from __future__ import annotations

import inspect
import re
from pathlib import Path

from docs.python_api import client_parts, public_names
from pydantic_core import PydanticUndefined

from taskdb import errors
from taskdb.celery.configuration import celery_settings
from taskdb.celery.refused_settings import RULES
from taskdb.settings.file import PREFIX
from taskdb.settings.meaning import meanings
from taskdb.settings.settings import Settings
from taskdb_beat.observation.catalog import METRICS

REFERENCE = Path(__file__).parent / "reference"
BEGIN, END = "<!-- written by docs/write_reference.py -->", "<!-- end -->"

BROKERS = {
    "every broker": "other://host",
    "Redis": "redis://host/0",
    "RabbitMQ": "amqp://host//",
    "embedded": "taskdb-sqlite:////folder/messages.sqlite3",
}


def pages() -> dict[Path, str]:
    """Every page with what belongs between its markers."""
    return {
        REFERENCE / "settings.md": settings_table(),
        REFERENCE / "errors.md": errors_table(),
        REFERENCE / "celery-settings.md": celery_table(),
        REFERENCE / "metrics.md": metrics_table(),
        REFERENCE / "python.md": public_names(),
        REFERENCE / "python-client.md": client_parts(),
    }


def settings_table() -> str:
    """One row a setting."""
    rows = ["| variable | default | meaning |", "|---|---|---|"]
    meaning = meanings()
    for name, field in Settings.model_fields.items():
        default = field.default
        if default is PydanticUndefined:
            default = field.default_factory() if field.default_factory else ""  # type: ignore[call-arg]
        shown = f"`{default}`" if default or default in (0, False) else "(empty)"
        rows.append(f"| `{PREFIX}{name.upper()}` | {shown} | {meaning[name]} |")
    return "\n".join(rows)


def errors_table() -> str:
    """One row a class, in the order of the tree."""
    rows = ["| class | code | means | more |", "|---|---|---|---|"]
    tree = (errors.__doc__ or "").split()
    kinds = {
        name: kind
        for name, kind in vars(errors).items()
        if inspect.isclass(kind) and issubclass(kind, errors.TaskDBError)
    }
    for name, kind in sorted(kinds.items(), key=lambda pair: tree.index(pair[0])):
        meaning = (inspect.getdoc(kind) or "").splitlines()[0]
        more = "" if kind.page == errors.TaskDBError.page else _page_link(kind.page)
        rows.append(f"| `{name}` | `{kind.code}` | {meaning} | {more} |")
    return "\n".join(rows)


def _page_link(page: str) -> str:
    """A link from a page of the reference to another page, with its title."""
    path, _, anchor = page.partition("#")
    title = (REFERENCE.parent / path).read_text().partition("\n")[0].removeprefix("# ")
    target = path.removeprefix("reference/") if path.startswith("reference/") else f"../{path}"
    return f"[{title}]({target}{'#' * bool(anchor)}{anchor})"


def celery_table() -> str:
    """One row a setting that is made; the brokers' own apart from the common ones."""
    made = {
        broker: _flat(celery_settings(Settings.load({"TASKDB_BROKER_URL": url})))
        for broker, url in BROKERS.items()
    }
    common = made["every broker"]
    reasons = _reasons()
    rows = ["| setting | value | for | reason |", "|---|---|---|---|"]
    for broker, values in made.items():
        for name, value in values.items():
            if broker == "every broker" or common.get(name) != value:
                reason = reasons.get(name, "")
                rows.append(f"| `{name}` | `{value}` | {broker} | {reason} |")
    refused = ["", "## Refused", "", "| setting | reason |", "|---|---|"]
    refused += [f"| `{name}` | {rule.reason} |" for name, rule in RULES.items()]
    return "\n".join([*rows, *refused])


def metrics_table() -> str:
    """One row a figure."""
    rows = ["| name | kind | labels | of | means |", "|---|---|---|---|---|"]
    for metric in METRICS:
        labels = ", ".join(f"`{label}`" for label in metric.labels)
        labels += ", (`tenant`)" if metric.has_tenant else ""
        rows.append(
            f"| `{metric.shown}` | {metric.kind} | {labels} | {metric.whose} | {metric.meaning} |"
        )
    return "\n".join(rows)


def _flat(values: dict[str, object]) -> dict[str, object]:
    left_out = {"broker_url"}
    found = {name: value for name, value in values.items() if name not in left_out}
    options = found.pop("broker_transport_options", {})
    if isinstance(options, dict):
        found |= {f"broker_transport_options.{name}": value for name, value in options.items()}
    return found


def _reasons() -> dict[str, str]:
    text = (REFERENCE / "celery-settings.reasons").read_text()
    return dict(re.findall(r"^(\S+): (.+)$", text, re.MULTILINE))


def rewritten(page: Path, table: str) -> str:
    """The page with its table renewed."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n{table}\n{END}{after}"


def main() -> None:
    """Write every page."""
    for page, table in pages().items():
        page.write_text(rewritten(page, table))


if __name__ == "__main__":
    main()

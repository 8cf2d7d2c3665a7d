"""Settings of the loops that keep rows true, and delete them when their time has passed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, PositiveFloat, PositiveInt

from taskdb.model.retention import Retention
from taskdb.settings.value import parse_json


def _rules(value: Any) -> Any:
    try:
        rules = parse_json(value)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    Retention.parse(rules)
    return rules


class UpkeepSettings(BaseModel, defer_build=True):
    """Rescue, reconcile, expire and prune."""

    rescue_interval_seconds: PositiveFloat = 5.0
    """Pause between two passes of the rescue."""
    reconcile_interval_seconds: PositiveFloat = 10.0
    """Pause between two passes of the reconcile loop."""
    reconcile_after_seconds: PositiveFloat = 60.0
    """A QUEUED task is published again when a task that was queued this much later, in the same
    queue and with the same priority, has been claimed before it."""
    reconcile_batch: PositiveInt = 2_000
    """Most tasks that one pass publishes again."""
    expire_interval_seconds: PositiveFloat = 5.0
    """Pause between two passes that expire tasks."""
    prune_interval_seconds: PositiveFloat = 3600.0
    """Pause between two passes of pruning."""
    retention: Annotated[tuple[dict[str, Any], ...], BeforeValidator(_rules)] = ()
    """How long ended tasks are kept: a JSON list of rules such as `[{"type": "mail.*", "status":
    "COMPLETED", "tenant": "acme", "keep": "7d"}]`. The first rule that matches decides; a key left
    out matches everything. `keep`: `30d`, `12h` or `never`. The defaults apply last: COMPLETED and
    CANCELED 30d, FAILED 90d."""
    archive_dir: Path | None = None
    """Folder where tasks are written as JSON lines before they are pruned. Empty: tasks are not
    archived."""

    @property
    def retention_rules(self) -> Retention:
        """The rules in force, the defaults among them."""
        return Retention.parse(self.retention)

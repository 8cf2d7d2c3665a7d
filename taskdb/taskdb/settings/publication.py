"""Settings for publishing committed rows to the broker."""

from __future__ import annotations

from pydantic import BaseModel, NonNegativeFloat, PositiveFloat, PositiveInt


class PublicationSettings(BaseModel, defer_build=True):
    """Publisher, relay and release."""

    publish_budget_seconds: PositiveFloat = 1.0
    """Longest time that a submit waits for the broker."""
    publish_breaker_seconds: NonNegativeFloat = 5.0
    """After a failed publish, the relay publishes everything for this long."""
    relay_interval_seconds: PositiveFloat = 0.5
    """Pause between two passes of the relay."""
    relay_grace_seconds: NonNegativeFloat = 5.0
    """The relay leaves a new row to the process that submitted it for this long."""
    relay_lease_seconds: PositiveFloat = 30.0
    """Rows that a relay leased before it died are free again after this."""
    relay_batch: PositiveInt = 500
    """Rows that a relay leases at once."""
    release_interval_seconds: PositiveFloat = 0.2
    """Pause between two passes that release held tasks."""

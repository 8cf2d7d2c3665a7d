"""Settings of the way from a committed row to the broker."""

from __future__ import annotations

from pydantic import BaseModel, Field


class PublicationSettings(BaseModel, defer_build=True):
    """Publisher, relay and release."""

    publish_budget_seconds: float = Field(
        default=1.0, gt=0, description="Longest time that a submit waits for the broker."
    )
    publish_breaker_seconds: float = Field(
        default=5.0,
        ge=0,
        description="After a failed publish, the relay publishes everything for this long.",
    )
    relay_interval_seconds: float = Field(
        default=0.5, gt=0, description="Pause between two passes of the relay."
    )
    relay_grace_seconds: float = Field(
        default=5.0,
        ge=0,
        description="The relay leaves a new row to the process that submitted it for this long.",
    )
    relay_lease_seconds: float = Field(
        default=30.0,
        gt=0,
        description="Rows that a relay leased before it died are free again after this.",
    )
    relay_batch: int = Field(default=500, gt=0, description="Rows that a relay leases at once.")
    release_interval_seconds: float = Field(
        default=0.2, gt=0, description="Pause between two passes that release held tasks."
    )

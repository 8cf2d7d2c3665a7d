"""The page for Prometheus. Importing this module needs the extra `metrics`."""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from taskdb_beat.observation.families import Families
from taskdb_beat.observation.server import Answer, Page


def metrics_page(families: Families) -> Page:
    """Return a page of these figures, and of this process's use of resources."""
    # A registry of its own, without the metrics of other code in this process.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(families)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)

    def page(accept: str) -> Answer:
        encode, content_type = choose_encoder(accept)
        return Answer(HTTPStatus.OK, encode(registry), content_type)

    return page

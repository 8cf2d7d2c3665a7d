"""The page for Prometheus. Importing this module needs the extra `metrics`."""

from __future__ import annotations

from http import HTTPStatus

from prometheus_client import CollectorRegistry, GCCollector, PlatformCollector, ProcessCollector
from prometheus_client.exposition import choose_encoder

from taskdb_beat.observation.families import Families
from taskdb_beat.observation.server import Answer, Asked, Page


def metrics_page(families: Families) -> Page:
    """A page of these figures, and of what this process uses."""
    # Our own, so that nothing of what else runs in this process gets in.
    registry = CollectorRegistry(auto_describe=False)
    registry.register(families)
    for collector in (ProcessCollector, PlatformCollector, GCCollector):
        collector(registry=registry)

    def page(asked: Asked) -> Answer:
        encode, content_type = choose_encoder(asked.accept)
        return Answer(HTTPStatus.OK, encode(registry), content_type)

    return page

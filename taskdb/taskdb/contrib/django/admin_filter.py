"""Filters of the admin's lists that do not scan the whole task table."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from django.contrib import admin
from django.core.paginator import Paginator
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils.functional import cached_property

from taskdb.client.default import default_taskdb
from taskdb.contrib.django.admin_view import allowed_tenants

COUNTED = 10_000
"""The most rows that a page counts; a longer list shows "10000", and the user can filter."""


class BoundedPaginator(Paginator):
    """Stops counting at a limit: the task table may have millions of rows."""

    @cached_property
    def count(self) -> int:
        return int(self.object_list[:COUNTED].count())


class Place(admin.SimpleListFilter):
    """Shows only tasks that a caller submitted, or sub-tasks as well."""

    title = "place"
    parameter_name = "place"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        return [("all", "with sub-tasks")]

    def choices(self, changelist: Any) -> Iterable[dict[str, Any]]:
        first, *others = super().choices(changelist)
        yield {**first, "display": "submitted"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        if self.value() == "all" or "parent__id__exact" in request.GET:
            return queryset
        return queryset.filter(parent__isnull=True)


class OfType(admin.SimpleListFilter):
    """By the types that this project knows: a query for all types of the table takes long."""

    title = "type"
    parameter_name = "type"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        return [(one.name, one.name) for one in default_taskdb().types.discover()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - Django's signature
        return queryset.filter(type=self.value()) if self.value() else queryset


class InQueue(admin.SimpleListFilter):
    """By the queues that this project knows."""

    title = "queue"
    parameter_name = "queue"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        taskdb = default_taskdb()
        registry = taskdb.types.discover()
        named = {one.queue for one in registry if one.queue} | set(registry.queues)
        return [(name, name) for name in sorted(named | {taskdb.settings.default_queue})]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - Django's signature
        return queryset.filter(queue=self.value()) if self.value() else queryset


class OfTenant(admin.SimpleListFilter):
    """By tenant, for a user who may see only some of them."""

    title = "tenant"
    parameter_name = "tenant"

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:  # noqa: ARG002 - Django's signature
        return [(name, name or "(none)") for name in allowed_tenants(request) or ()]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:  # noqa: ARG002 - Django's signature
        return queryset if self.value() is None else queryset.filter(tenant=self.value())

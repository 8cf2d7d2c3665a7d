"""Tasks and schedules in Django's admin: read, retry, cancel, pause and run them.

The admin reads rows over the project's own connection; TaskDB's client moves them. A user sees the
tenants that `TASKDB['ADMIN_TENANTS']` returns for the request; without this setting, all tenants.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.contrib import admin, messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.core.exceptions import PermissionDenied
from django.db.models import Q, QuerySet
from django.http import Http404, HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.http import HttpResponseRedirect as Redirect
from django.template.response import TemplateResponse
from django.urls import path, reverse
from django.utils.html import format_html
from django.utils.text import Truncator

from taskdb.client.default import default_taskdb
from taskdb.client.taskdb import TaskDB
from taskdb.contrib.django import database
from taskdb.contrib.django.admin_filter import (
    BoundedPaginator,
    InQueue,
    OfTenant,
    OfType,
    Place,
)
from taskdb.contrib.django.admin_view import (
    ONLY_FORCED,
    RETRIABLE,
    allowed_tenants,
    badge,
    client_for,
    explained,
    parts_of,
    shown,
)
from taskdb.contrib.django.configuration import option
from taskdb.contrib.django.models import Schedule, Task
from taskdb.errors import TaskDBError, TaskNotFound
from taskdb.model.attempt import attempts_of
from taskdb.model.duration import duration_text
from taskdb.model.principal.origin import submitting_as
from taskdb.model.reference import parse_reference
from taskdb.model.status import RETRIED_IN_BULK

SEARCHED = 50_000
"""The newest tasks, among which a search looks for words: no index knows parts of a name."""


class ReadOnlyAdmin(admin.ModelAdmin):
    """A read-only admin that filters by tenant; it adds, changes and deletes nothing."""

    paginator = BoundedPaginator
    show_full_result_count = False
    list_per_page = 50

    def has_add_permission(self, request: HttpRequest) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:  # noqa: ARG002 - Django's signature
        return False

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        taskdb = default_taskdb()
        alias = database.alias_on(taskdb.settings.store_url, option("DATABASE"))
        if alias is None:
            raise Http404("tasks are in none of the databases of this project")
        rows = self.model._default_manager.using(alias)  # noqa: SLF001 - as Django's own does
        tenants = allowed_tenants(request)
        return rows if tenants is None else rows.filter(tenant__in=tenants)

    def may(self, request: HttpRequest, verb: str) -> bool:
        return bool(request.user.has_perm(f"taskdb.{verb}_{self.opts.model_name}"))

    def for_each(
        self,
        request: HttpRequest,
        rows: Iterable[Any],
        message: str,
        move: Callable[[TaskDB, Any], Any],
    ) -> None:
        """Move every chosen row; show how many moved, and why others did not.

        The history of a task and Django's log record the user.
        """
        taskdb = client_for(request)
        done, refused = 0, []
        for row in rows:
            try:
                with submitting_as(created_by=request.user.get_username()):
                    move(taskdb, row)
                self.log_change(request, row, message)
                done += 1
            except TaskDBError as error:
                refused.append(str(error))
        if done:
            self.message_user(request, f"{done} moved.", messages.SUCCESS)
        for reason in refused[:5]:
            self.message_user(request, reason, messages.WARNING)
        if len(refused) > 5:  # noqa: PLR2004 - a page has room for these
            self.message_user(request, f"{len(refused) - 5} more refused.", messages.WARNING)


@admin.register(Task)
class TaskAdmin(ReadOnlyAdmin):
    """Tasks: their list, their state and their origin."""

    list_display = ("code", "label", "state", "progress", "failure", "tenant", "created")
    # Another order would sort the whole table.
    sortable_by = ("code", "created")
    list_display_links = ("code", "label")
    list_filter = (Place, "status", "kind", OfType, InQueue, OfTenant)
    search_fields = ("id",)
    search_help_text = (
        "An id or code; else, among the newest 50,000 tasks, a type, a key, a request or a "
        "person, or part of a name"
    )
    actions = ("retry_tasks", "cancel_tasks")
    change_form_template = "admin/taskdb/task.html"

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        """Search an id by primary key, other words by exact fields or name; only own tenants."""
        words = search_term.strip()
        if not words:
            return queryset, False
        reference = parse_reference(words)
        if reference is not None and reference.position is None:
            everywhere = self.get_queryset(request)
            return everywhere.filter(id=UUID(reference.id)), False
        exact = Q(type=words) | Q(unique_key=words) | Q(request_id=words) | Q(created_by=words)
        oldest = self.get_queryset(request).order_by("-id").values_list("id", flat=True)
        newest = (
            queryset.filter(id__gte=bound) if (bound := oldest[SEARCHED:].first()) else queryset
        )
        return newest.filter(exact | Q(name__icontains=words)), False

    @admin.display(description="task", ordering="id")
    def code(self, row: Any) -> str:
        return str(row.pk)[:13] + "…"

    @admin.display(description="name")
    def label(self, row: Any) -> str:
        return str(row.name) if row.name == row.type else f"{row.name} ({row.type})"

    @admin.display(description="status")
    def state(self, row: Any) -> str:
        return badge(str(row.status))

    @admin.display(description="progress")
    def progress(self, row: Any) -> Any:
        if row.progress_current is None:
            return ""
        if not row.progress_total:
            return str(row.progress_current)
        return format_html(
            '<progress max="{}" value="{}"></progress>', row.progress_total, row.progress_current
        )

    @admin.display(description="error")
    def failure(self, row: Any) -> str:
        found = row.error or {}
        return Truncator(f"{found['type']}: {found['message']}").chars(80) if found else ""

    @admin.display(description="created", ordering="id")
    def created(self, row: Any) -> Any:
        return row.created_at

    def has_retry_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "retry")

    def has_cancel_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "cancel")

    @admin.action(description="Retry selected tasks", permissions=["retry"])
    def retry_tasks(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse | None:
        """Ask for confirmation; then retry failed and canceled tasks, or all with `force`."""
        if request.POST.get("post") != "yes":
            return self._ask_before_retry(request, queryset)
        force = request.POST.get("force") == "yes"
        rows = [row for row in queryset if force or row.status not in ONLY_FORCED]
        left = len(queryset) - len(rows)
        if left:
            said = f"{left} left alone: COMPLETED, or waiting for their time."
            self.message_user(request, said, messages.WARNING)
        self._retry(request, rows, force=force)
        return None

    def _retry(self, request: HttpRequest, rows: Iterable[Any], *, force: bool = False) -> None:
        message = "Retried from the beginning." if force else "Retried."
        self.for_each(
            request, rows, message, lambda taskdb, row: taskdb.retry_task(str(row.pk), force=force)
        )

    def _ask_before_retry(self, request: HttpRequest, queryset: QuerySet[Any]) -> HttpResponse:
        counted = Counter(queryset.values_list("status", flat=True))
        context = {
            **self.admin_site.each_context(request),
            "title": "Retry tasks?",
            "opts": self.opts,
            "counts": [(badge(status), number) for status, number in sorted(counted.items())],
            "again": sum(counted[status] for status in RETRIED_IN_BULK),
            "forced": sum(counted[status] for status in ONLY_FORCED),
            "chosen": request.POST.getlist(ACTION_CHECKBOX_NAME),
            "select_across": request.POST.get("select_across", "0"),
            "checkbox": ACTION_CHECKBOX_NAME,
        }
        return TemplateResponse(request, "admin/taskdb/retry.html", context)

    @admin.action(description="Cancel selected tasks", permissions=["cancel"])
    def cancel_tasks(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.for_each(
            request, queryset, "Canceled.", lambda taskdb, row: taskdb.cancel_task(str(row.pk))
        )

    def get_urls(self) -> list[Any]:
        view = self.admin_site.admin_view(self.move_view)
        moves = [
            path(f"<uuid:task_id>/{verb}/", view, {"verb": verb}, name=f"taskdb_task_{verb}")
            for verb in ("retry", "cancel")
        ]
        return [*moves, *super().get_urls()]

    def move_view(self, request: HttpRequest, task_id: UUID, verb: str) -> HttpResponse:
        """Handle the buttons on the page of one task."""
        if request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.may(request, verb):
            raise PermissionDenied
        chosen = self.get_queryset(request).filter(pk=task_id)
        moves = {"retry": self._retry, "cancel": self.cancel_tasks}
        moves[verb](request, chosen)
        return Redirect(reverse("admin:taskdb_task_change", args=[task_id]))

    def changeform_view(
        self,
        request: HttpRequest,
        object_id: str | None = None,
        form_url: str = "",  # noqa: ARG002 - Django's signature
        extra_context: dict[str, Any] | None = None,
    ) -> HttpResponse:
        """Show the page of one task; it has no form."""
        if object_id is None or not self.has_view_permission(request):
            raise PermissionDenied
        taskdb = client_for(request)
        try:
            entity = taskdb.get_task(str(object_id))
        except TaskNotFound:
            return self._get_obj_does_not_exist_redirect(request, self.opts, object_id)
        history = taskdb.task_history(entity.id)
        context = {
            **self.admin_site.each_context(request),
            "title": entity.name,
            "opts": self.opts,
            "task": entity,
            "badge": badge(entity.status),
            "why": explained(taskdb, entity),
            "input": shown(lambda: entity.input),
            "result": shown(lambda: entity.result),
            "attributes": shown(lambda: dict(entity.attributes)),
            "attempts": attempts_of(history),
            "history": history,
            "parts": parts_of(taskdb, entity),
            "counts": taskdb.trees.counts(entity.id) if entity.spec is not None else None,
            "may_retry": self.may(request, "retry") and entity.status in RETRIABLE,
            "may_cancel": self.may(request, "cancel") and not entity.status.is_terminal,
            **(extra_context or {}),
        }
        return TemplateResponse(request, self.change_form_template, context)


@admin.register(Schedule)
class ScheduleAdmin(ReadOnlyAdmin):
    """Schedules: when each is due, and whether it is paused."""

    list_display = (
        "name",
        "type",
        "when",
        "is_enabled",
        "next_due_at",
        "last",
        "tenant",
        "trouble",
    )
    list_filter = ("is_enabled", "origin", OfTenant)
    search_fields = ("name", "type")
    actions = ("pause_schedules", "resume_schedules", "run_schedules")

    @admin.display(description="when")
    def when(self, row: Any) -> str:
        if row.cron:
            return f"{row.cron} ({row.timezone})"
        every = timedelta(seconds=row.interval_seconds or 0)
        return f"every {duration_text(every)}" if every else f"{row.once_at}"

    @admin.display(description="last task")
    def last(self, row: Any) -> Any:
        if row.last_task_id is None:
            return ""
        url = reverse("admin:taskdb_task_change", args=[row.last_task_id])
        return format_html('<a href="{}">{}</a>', url, row.last_due_at or "by hand")

    @admin.display(description="trouble")
    def trouble(self, row: Any) -> str:
        return str(row.last_error or "")

    def has_pause_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "pause")

    def has_run_permission(self, request: HttpRequest) -> bool:
        return self.may(request, "run")

    @admin.action(description="Pause selected schedules", permissions=["pause"])
    def pause_schedules(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.for_each(
            request, queryset, "Paused.", lambda taskdb, row: taskdb.schedules.pause(str(row.pk))
        )

    @admin.action(description="Resume selected schedules", permissions=["pause"])
    def resume_schedules(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.for_each(
            request, queryset, "Resumed.", lambda taskdb, row: taskdb.schedules.resume(str(row.pk))
        )

    @admin.action(description="Run selected schedules now", permissions=["run"])
    def run_schedules(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        self.for_each(
            request, queryset, "Run now.", lambda taskdb, row: taskdb.schedules.run_now(str(row.pk))
        )

"""Our tables as read-only Django models for the admin; Django's migrations ignore them."""

from __future__ import annotations

from typing import Any

from django.db import models

from taskdb.contrib.django.fields import IdField, MomentField
from taskdb.model.entity import TaskKind, TaskRole
from taskdb.model.status import TaskStatus


def _choices(words: Any) -> list[tuple[str, str]]:
    return [(str(word), str(word)) for word in words]


class Task(models.Model):
    """A row of `task`. Only TaskDB's client moves it; never save this model."""

    id = IdField(primary_key=True)
    tenant = models.TextField()
    type = models.TextField()
    kind = models.TextField(choices=_choices(TaskKind))
    role = models.TextField(null=True, choices=_choices(TaskRole))  # noqa: DJ001 - NULL is no role
    name = models.TextField()
    status = models.TextField(choices=_choices(TaskStatus))
    queue = models.TextField()
    priority = models.SmallIntegerField()
    attempt = models.IntegerField()
    unique_key = models.TextField(null=True)  # noqa: DJ001 - as the column is
    parent = models.ForeignKey("self", models.DO_NOTHING, null=True, db_constraint=False)
    position = models.IntegerField(null=True)
    worker = models.TextField(null=True)  # noqa: DJ001 - as the column is
    held_by = models.TextField(null=True)  # noqa: DJ001 - as the column is
    progress_current = models.BigIntegerField(null=True)
    progress_total = models.BigIntegerField(null=True)
    error = models.JSONField(null=True)
    request_id = models.TextField(null=True)  # noqa: DJ001 - as the column is
    created_by = models.TextField(null=True)  # noqa: DJ001 - as the column is
    created_ip = models.TextField(null=True)  # noqa: DJ001 - as the column is
    created_at = MomentField()
    run_at = MomentField(null=True)
    started_at = MomentField(null=True)
    ended_at = MomentField(null=True)

    class Meta:
        managed = False
        db_table = "taskdb_task"
        # Ids are in order of time, so the primary key serves as the index.
        ordering = ("-id",)
        default_permissions = ("view",)
        permissions = (("retry_task", "Can retry tasks"), ("cancel_task", "Can cancel tasks"))

    def __str__(self) -> str:
        return f"{self.name} {self.pk}"


class Schedule(models.Model):
    """A row of `schedule`."""

    id = IdField(primary_key=True)
    tenant = models.TextField()
    name = models.TextField()
    type = models.TextField()
    kind = models.TextField()
    cron = models.TextField(null=True)  # noqa: DJ001 - as the column is
    interval_seconds = models.FloatField(null=True)
    once_at = MomentField(null=True)
    timezone = models.TextField()
    is_enabled = models.BooleanField()
    misfire = models.TextField()
    overlap = models.TextField()
    origin = models.TextField()
    next_due_at = MomentField(null=True)
    last_due_at = MomentField(null=True)
    last_task_id = IdField(null=True)
    last_error = models.TextField(null=True)  # noqa: DJ001 - as the column is
    created_by = models.TextField(null=True)  # noqa: DJ001 - as the column is

    class Meta:
        managed = False
        db_table = "taskdb_schedule"
        ordering = ("tenant", "name")
        default_permissions = ("view",)
        permissions = (
            ("pause_schedule", "Can pause and resume schedules"),
            ("run_schedule", "Can run schedules now"),
        )

    def __str__(self) -> str:
        return str(self.name)

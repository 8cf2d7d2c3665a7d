"""Every command and every group of commands: its words, and where it stands in the help."""

from __future__ import annotations

from dataclasses import dataclass

START = "Start"
TASKS = "Tasks"
ADMISSION = "Admission"
MESSAGES = "Schedules and messages"
PROCESSES = "Processes"


@dataclass(frozen=True, slots=True)
class Command:
    """`taskdb WORDS`, run by the function at `place`; `panel` is its part of the help."""

    words: str
    place: str
    panel: str | None = None

    @property
    def group(self) -> str:
        """The words of the group that the command is in; empty for the program itself."""
        return self.words.rpartition(" ")[0]

    @property
    def name(self) -> str:
        return self.words.rpartition(" ")[2]


@dataclass(frozen=True, slots=True)
class Group:
    """Commands that begin with the same words."""

    words: str
    help: str
    panel: str | None = None


GROUPS = (
    Group("import", "Import the data of other packages.", START),
    Group("schedule", "Submit tasks by cron, by interval, or once.", MESSAGES),
    Group("alarm", "List alarms, acknowledge them, and route them to people.", MESSAGES),
    Group("alarm route", "Route alarms to channels."),
    Group("subscription", "Send changes of status to other systems.", MESSAGES),
    Group("limit", "Limit a queue, a type or a tenant.", ADMISSION),
)

COMMANDS = (
    Command("demo", "demo.demo:demo", START),
    Command("dev", "process.dev:dev", START),
    Command("status", "overview.status:status", START),
    Command("top", "overview.top:top", START),
    Command("check", "check.check:check", START),
    Command("doctor", "database.doctor:doctor", START),
    Command("docs", "docs.docs:docs", START),
    Command("migrate", "database.migrate:migrate", START),
    Command("grants", "database.grants:grants", START),
    Command("import django-celery-beat", "schedule.django_celery_beat:import_schedules"),
    Command("import django-celery-results", "database.django_celery_results:import_results"),
    Command("create-task", "task.create:create_task", TASKS),
    Command("create-fan-out", "task.create_tree:create_fan_out", TASKS),
    Command("create-sequence", "task.create_tree:create_sequence", TASKS),
    Command("list", "task.list:list_tasks", TASKS),
    Command("show", "task.show:show", TASKS),
    Command("why", "task.why:why", TASKS),
    Command("wait", "task.wait:wait", TASKS),
    Command("cancel", "task.move:cancel", TASKS),
    Command("retry", "task.move:retry", TASKS),
    Command("resume-task", "task.resume:resume_task", TASKS),
    Command("run-task", "process.run:run_task", TASKS),
    Command("types", "type.types:types", TASKS),
    Command("prune", "database.prune:prune", TASKS),
    Command("pause", "limit:pause", ADMISSION),
    Command("resume", "limit:resume", ADMISSION),
    Command("limit set", "limit:set_limit"),
    Command("limit clear", "limit:clear_limit"),
    Command("limit list", "limit:list_limits"),
    Command("schedule add", "schedule.schedule:add"),
    Command("schedule list", "schedule.schedule:list_schedules"),
    Command("schedule show", "schedule.schedule:show"),
    Command("schedule pause", "schedule.schedule:pause"),
    Command("schedule resume", "schedule.schedule:resume"),
    Command("schedule run-now", "schedule.schedule:run_now"),
    Command("schedule remove", "schedule.schedule:remove"),
    Command("schedule preview", "schedule.schedule:preview"),
    Command("schedule import-django-celery-beat", "schedule.django_celery_beat:import_schedules"),
    Command("alarm list", "alarm.alarm:list_alarms"),
    Command("alarm show", "alarm.alarm:show"),
    Command("alarm ack", "alarm.alarm:acknowledge"),
    Command("alarm snooze", "alarm.alarm:snooze"),
    Command("alarm resolve", "alarm.alarm:resolve"),
    Command("alarm test", "alarm.alarm:test"),
    Command("alarm route add", "alarm.route:add_route"),
    Command("alarm route list", "alarm.route:list_routes"),
    Command("alarm route remove", "alarm.route:remove_route"),
    Command("subscription add", "subscription.subscription:add"),
    Command("subscription list", "subscription.subscription:list_subscriptions"),
    Command("subscription show", "subscription.subscription:show"),
    Command("subscription test", "subscription.subscription:send_trial"),
    Command("subscription replay", "subscription.subscription:replay"),
    Command("subscription pause", "subscription.subscription:pause"),
    Command("subscription resume", "subscription.subscription:resume"),
    Command("subscription rotate-secret", "subscription.subscription:rotate_secret"),
    Command("subscription remove", "subscription.subscription:remove"),
    Command("queues", "overview.queues:list_queues", PROCESSES),
    Command("workers", "overview.queues:list_workers", PROCESSES),
    Command("worker", "process.run:worker", PROCESSES),
    Command("beat", "process.run:beat", PROCESSES),
)

"""Tasks that go well, go well at last, and never go well."""

from typing import Any

from taskdb import Retry, TaskContext, task


class MailServerBusy(Exception):
    """The other side is not reachable for a moment."""


@task("mail.welcome", retry=Retry(max_attempts=5, backoff=0.3, factor=1, jitter=0))
def send_welcome(ctx: TaskContext, email: str) -> dict[str, Any]:
    """Fails twice, as a busy mail server would make it; the third attempt succeeds."""
    if ctx.attempt <= 2:  # noqa: PLR2004 - twice is the story
        raise MailServerBusy(f"451 try again later (attempt {ctx.attempt})")
    return {"sent_to": email, "attempt": ctx.attempt}


@task("card.charge", retry=Retry(max_attempts=2, backoff=0.2, jitter=0))
def charge_card(customer: int, amount: str) -> None:
    """Fails for good: its attempts are spent, and the row keeps the error."""
    raise PermissionError(f"the bank refused {amount} of customer {customer}")


@task("report.nightly")
def write_report(ctx: TaskContext, title: str) -> dict[str, Any]:
    """Runs when its time has come."""
    for step in range(1, 4):
        ctx.progress(step, 3, "adding up")
    return {"title": title, "pages": 3}

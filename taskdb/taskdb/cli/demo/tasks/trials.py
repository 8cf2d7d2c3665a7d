"""Tasks that fail at first, fail always, and run later."""

from typing import Any

from taskdb import Retry, TaskContext, task


class MailServerBusy(Exception):
    """The other side is not reachable for a moment."""


@task("mail.welcome", retry=Retry(max_attempts=5, backoff=0.3, factor=1, jitter=0))
def send_welcome(ctx: TaskContext, email: str) -> dict[str, Any]:
    """Fail twice, as with a busy mail server; succeed at the third attempt."""
    if ctx.attempt <= 2:  # noqa: PLR2004 - twice is the story
        raise MailServerBusy(f"451 try again later (attempt {ctx.attempt})")
    return {"sent_to": email, "attempt": ctx.attempt}


@task("card.charge", retry=Retry(max_attempts=2, backoff=0.2, jitter=0))
def charge_card(customer: int, amount: str) -> None:
    """Fail at every attempt; the row keeps the error."""
    raise PermissionError(f"the bank refused {amount} of customer {customer}")


@task("report.nightly")
def write_report(ctx: TaskContext, title: str) -> dict[str, Any]:
    """Run later, at its due time."""
    for step in range(1, 4):
        ctx.progress(step, 3, "adding up")
    return {"title": title, "pages": 3}

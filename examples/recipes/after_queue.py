"""What RQ, Dramatiq and Procrastinate do with a dependency, a lock and a delay."""

from datetime import timedelta

from taskdb import Retry, Sequence, submit_sequence, submit_task, task


@task("report.render", retry=Retry(max_attempts=4, backoff=15, max_backoff=timedelta(days=7)))
def render(month: str) -> str:
    """Render the report of a month; returns its address."""
    return f"reports/{month}.pdf"


@task("report.mail")
def mail(input: str) -> str:
    """Mail the report; the input is the result of the step before."""
    return f"mailed {input}"


Sequence("report.publish", [render, mail])


def publish(month: str) -> None:
    """One step after the other; then one task at a time by a key, an hour from now."""
    submit_sequence("report.publish", {"month": month}, unique_key=month)
    submit_task("report.render", {"month": month}, mutex_key="printer", delay=timedelta(hours=1))

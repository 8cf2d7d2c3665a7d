"""`taskdb why`."""

from __future__ import annotations

from taskdb.cli.document import document_of
from taskdb.cli.output import Output
from taskdb.cli.session import Session, TenantOption, with_session
from taskdb.cli.task.show import Reference
from taskdb.client.explanation import Explanation


@with_session
def why(session: Session, reference: Reference, tenant: TenantOption = None) -> None:
    """Explain in one line why a task has its status, and the next step.

    Asks the database, and the broker where its state matters, for three seconds at most.
    """
    explanation = session.taskdb_of(tenant).explain_task(reference)
    if session.is_json:
        session.output.document(document_of(explanation))
    else:
        _print(session.output, explanation)


def _print(output: Output, explanation: Explanation) -> None:
    output.line(f"{explanation.status}: {explanation.sentence}")
    below = explanation.below
    while below is not None:
        output.note(f"the first of them, {below.task_id}: {below.sentence}")
        explanation, below = below, below.below
    if explanation.advice:
        output.note(f"next: {explanation.advice}")

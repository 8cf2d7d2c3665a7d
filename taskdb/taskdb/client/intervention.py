"""Changes tasks by hand: cancels, retries, and resumes tasks that wait for a callback."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel
from uuid_utils.compat import uuid7

from taskdb.celery.publish.background import BackgroundPublisher
from taskdb.client.caller.caller import Caller
from taskdb.client.criteria import Criteria, ended_badly, filter_of
from taskdb.client.tasks import Tasks
from taskdb.errors import CallbackRefused, Fault, InvalidInput
from taskdb.model.bounds import shown, spelled
from taskdb.model.entity import TaskEntity, TaskError
from taskdb.model.json_text import storable
from taskdb.store.store import Store
from taskdb.store.task.filter import Filter
from taskdb.store.tree.callback import Answer, digest_of


class Interventions:
    """Changes by hand; the history names the actor of each change."""

    def __init__(
        self, store: Store, background: BackgroundPublisher, caller: Caller, tasks: Tasks
    ) -> None:
        self._store = store
        self._payloads = store.payloads
        self._background = background
        self._caller = caller
        self._scope = caller.scope
        self._tasks = tasks

    def cancel(self, reference: str, by: str | None) -> TaskEntity:
        """See `TaskDB.cancel_task`."""
        actor, task_id = self._caller.actor(by), self._tasks.id_of(reference)
        self._store.interventions.cancel(task_id, self._scope, actor)
        return self._tasks.get_task(task_id)

    def retry(self, reference: str, *, force: bool, by: str | None) -> TaskEntity:
        """See `TaskDB.retry_task`."""
        actor, task_id = self._caller.actor(by), self._tasks.id_of(reference)
        published = self._store.interventions.retry(
            task_id, self._scope, actor, force=force, may_run=self._caller.permission
        )
        self._background.publish(published)
        return self._tasks.get_task(task_id)

    def resume(self, token: str, output: Any, *, error: str | None, by: str | None) -> TaskEntity:
        """See `TaskDB.resume_task`."""
        if error is not None and output is not None:
            raise InvalidInput("the answer", [Fault("error", "give an output or an error")])
        if not isinstance(error, str | None):
            raise InvalidInput("the answer", [Fault("error", f"{shown(error)} is not text")])
        actor, digest = self._caller.actor(by), digest_of(spelled(token))
        awaited = self._store.callbacks.find(digest, self._scope)
        plain = output.model_dump(mode="json") if isinstance(output, BaseModel) else output
        packed = self._payloads.pack(plain, f"{awaited.id}-result-{uuid7()}", "the output")
        reason = (
            None
            if error is None
            else TaskError("CallbackFailed", storable(error), "", awaited.attempt)
        )
        try:
            task_id = self._store.callbacks.resume(
                digest, Answer(packed, reason), self._scope, actor
            )
        except CallbackRefused:
            self._payloads.discard(packed.reference)
            raise
        return self._tasks.get_task(task_id)

    def cancel_all(self, criteria: Criteria, by: str | None) -> int:
        """See `TaskDB.cancel_tasks`."""
        return self._store.bulk.cancel(self._some(criteria), self._scope, self._caller.actor(by))

    def retry_all(self, criteria: Criteria, *, force: bool, by: str | None) -> int:
        """See `TaskDB.retry_tasks`."""
        count = 0
        chosen = self._some(criteria)
        wanted = chosen if force else ended_badly(chosen)
        for number, batch in self._store.bulk.retry(
            wanted,
            self._scope,
            self._caller.actor(by),
            force=force,
            may_run=self._caller.permission,
        ):
            self._background.publish(batch)
            count += number
        return count

    def _some(self, criteria: Criteria) -> Filter:
        chosen = filter_of(criteria)
        if chosen.is_empty():
            advice = "name at least one criterion, for example status=... or type=..."
            raise InvalidInput("the bulk request", [Fault("", advice)])
        return chosen

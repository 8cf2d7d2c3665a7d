"""The part of the client that changes tasks by hand: cancel, retry, call back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Unpack

from pydantic import BaseModel
from uuid_utils.compat import uuid7

from taskdb.celery.publish.background import BackgroundPublisher
from taskdb.client.submission.options import Criteria, ended_badly, filter_of
from taskdb.errors import CallbackRefused, Fault, InvalidInput
from taskdb.model.bounds import shown, spelled
from taskdb.model.entity import TaskEntity, TaskError
from taskdb.model.json_text import storable
from taskdb.model.principal.permission import Permission
from taskdb.store.contract import Filter, Scope
from taskdb.store.payload.payload import Payloads
from taskdb.store.store import Store
from taskdb.store.tree.callback import Answer, digest_of


class InterventionClient:
    """Changes by hand; `TaskDB` is one.

    The history names the actor of each: `by`, unless the application has fixed it or the
    surroundings say who it is.
    """

    scope: Scope
    permission: Permission
    store: Store
    payloads: Payloads
    _background: BackgroundPublisher
    _actor: Callable[[str | None], str | None]
    _id_of: Callable[[str], str]
    get_task: Callable[[str], TaskEntity]

    def cancel_task(self, reference: str, *, by: str | None = None) -> TaskEntity:
        """Stop a task: CANCELED at once while it waits; a running body is asked to stop.

        The answer tells which; a body that does not stop by itself is ended after the grace of
        the settings. Raises TaskNotFound, and IllegalMove for one that ended otherwise.
        """
        actor, task_id = self._actor(by), self._id_of(reference)
        self.store.cancel(task_id, self.scope, actor)
        return self.get_task(task_id)

    def retry_task(
        self, reference: str, *, force: bool = False, by: str | None = None
    ) -> TaskEntity:
        """Run a task again, with a whole budget of attempts; its history goes on.

        For one that ended, that waits for a person, or that waits for its time. A fan-out runs
        its parts that ended badly again and joins anew; a sequence goes on at the step that
        failed; a sub-task reopens its FAILED or CANCELED ancestors. With `force` a fan-out runs
        all its parts, and a sequence all its steps. Raises TaskNotFound; IllegalMove for one that
        is queued or running, and for a sub-task of a parent that COMPLETED;
        SequenceAlreadyCompleted; InvalidInput where this client may not run all of it.
        """
        actor, task_id = self._actor(by), self._id_of(reference)
        published = self.store.retry(
            task_id, self.scope, actor, force=force, may_run=self.permission
        )
        self._background.publish(published)
        return self.get_task(task_id)

    def resume_task(
        self,
        token: str,
        output: Any = None,
        *,
        error: str | None = None,
        by: str | None = None,
    ) -> TaskEntity:
        """End the task that gave this token away by `ctx.wait_for_callback`; answers it.

        It is COMPLETED with this output (JSON values or a model), or FAILED with this error; what
        follows an end follows. Where its body still runs, it ends when the body does. A token
        counts once. Raises CallbackRefused; InvalidInput, NotEncodable and PayloadTooLarge, after
        which the token still counts.
        """
        if error is not None and output is not None:
            raise InvalidInput("the answer", [Fault("error", "give an output or an error")])
        if not isinstance(error, str | None):
            raise InvalidInput("the answer", [Fault("error", f"{shown(error)} is not text")])
        actor, digest = self._actor(by), digest_of(spelled(token))
        awaited = self.store.find_awaited(digest, self.scope)
        plain = output.model_dump(mode="json") if isinstance(output, BaseModel) else output
        packed = self.payloads.pack(plain, f"{awaited.id}-result-{uuid7()}", "the output")
        reason = (
            None
            if error is None
            else TaskError("CallbackFailed", storable(error), "", awaited.attempt)
        )
        try:
            task_id = self.store.resume(digest, Answer(packed, reason), self.scope, actor)
        except CallbackRefused:
            self.payloads.discard(packed.reference)
            raise
        return self.get_task(task_id)

    def cancel_tasks(self, *, by: str | None = None, **criteria: Unpack[Criteria]) -> int:
        """Cancel every task that meets the criteria and can be; answers how many were.

        Raises InvalidInput without any criterion: name one, so that nobody cancels all by slip.
        """
        return self.store.cancel_all(self._some(criteria), self.scope, self._actor(by))

    def retry_tasks(
        self, *, force: bool = False, by: str | None = None, **criteria: Unpack[Criteria]
    ) -> int:
        """Retry every task that meets the criteria and ended badly; answers how many were.

        These are FAILED, HALTED and CANCELED. With `force` also those that COMPLETED or wait for
        their time, and trees as a whole. What this client may not run stays as it is. Raises
        InvalidInput without any criterion, and for a `status` that only `force` runs again.
        """
        count = 0
        chosen = self._some(criteria)
        wanted = chosen if force else ended_badly(chosen)
        for number, batch in self.store.retry_all(
            wanted, self.scope, self._actor(by), force=force, may_run=self.permission
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

"""The extension: one client for each app, made by `init_app`, closed with the process."""

from __future__ import annotations

import atexit
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import wraps
from typing import Any, Concatenate, ParamSpec, TypeVar
from weakref import WeakSet

from flask import Flask, current_app, has_app_context, has_request_context, request

from taskdb.client.taskdb import TaskDB
from taskdb.contrib.flask.command import command_of
from taskdb.contrib.flask.configuration import settings_of
from taskdb.model.principal.origin import Submitter, provide_submitter
from taskdb.model.principal.web_request import REQUEST_ID, request_id_of
from taskdb.types.context import TaskContext
from taskdb.types.registry import Registry

NAME = "taskdb"
"""The key in `app.extensions`, and the name of the command."""
P = ParamSpec("P")
T = TypeVar("T")

Ask = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class AppState:
    """The state of the extension for one app."""

    client: TaskDB
    session: Any
    user: Ask | None
    request_id: Ask | None


def _in_app_session(
    submit: Callable[Concatenate[TaskDB, P], T],
) -> Callable[Concatenate[FlaskTaskDB, P], T]:
    """Return the method that submits in the transaction of the app's session.

    With `session=None` the submit commits by itself, independent of that transaction.
    """

    @wraps(submit)
    def submit_in_app(_self: FlaskTaskDB, /, *arguments: P.args, **keywords: P.kwargs) -> T:
        state = _state()
        keywords.setdefault("session", state.session)
        return submit(state.client, *arguments, **keywords)

    return submit_in_app


class FlaskTaskDB:
    """Tasks of a Flask app.

    `session` is Flask-SQLAlchemy's `db.session`, or any session or scoped session of SQLAlchemy:
    submits join its transaction, and are published after its commit; a submit with
    `session=None` commits by itself. `user` returns the logged-in user; a submit inside a request
    calls it. `request_id` returns the id of the request, by default its header X-Request-ID. The
    address is the peer's, or the one that a proxy of the setting `TASKDB_TRUSTED_PROXIES` passes
    on. Settings are those of `app.config` (`TASKDB_…`), on top of the environment. One extension
    serves any number of apps; each has its own client.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        session: Any = None,
        user: Ask | None = None,
        request_id: Ask | None = None,
        registry: Registry | None = None,
    ) -> None:
        self._session = session
        self._user = user
        self._request_id = request_id
        self._registry = registry
        if app is not None:
            self.init_app(app)

    def init_app(self, app: Flask) -> None:
        """Serve this app: reads its settings now, and opens nothing.

        Raises SettingsError, and RuntimeError for an app that has a TaskDB already.
        """
        if NAME in app.extensions:
            raise RuntimeError("this app has a TaskDB already: call init_app once for each app")
        settings = settings_of(app, joins_session=self._session is not None)
        client = TaskDB(settings, registry=self._registry)
        client.types.around(_app_context_of(app))
        _clients.add(client)
        app.extensions[NAME] = AppState(client, self._session, self._user, self._request_id)
        app.cli.add_command(command_of(client))
        provide_submitter(_submitter)

    @property
    def client(self) -> TaskDB:
        """The client of the current app, to read and move tasks.

        Raises RuntimeError outside of an app's context, and for an app without `init_app`.
        """
        return _state().client

    submit_task = _in_app_session(TaskDB.submit_task)
    submit_many = _in_app_session(TaskDB.submit_many)
    submit_fan_out = _in_app_session(TaskDB.submit_fan_out)
    submit_sequence = _in_app_session(TaskDB.submit_sequence)


def _state() -> AppState:
    if not has_app_context():
        message = "a TaskDB belongs to a Flask app: use it in a view, or `with app.app_context():`"
        raise RuntimeError(message)
    state = current_app.extensions.get(NAME)
    if not isinstance(state, AppState):
        message = f"the app {current_app.name!r} has no TaskDB: call init_app(app) when you make it"
        raise RuntimeError(message)  # noqa: TRY004 - no argument is of a wrong type
    return state


def _app_context_of(app: Flask) -> Callable[[TaskContext], AbstractContextManager[Any]]:
    def push_app_context(_context: TaskContext) -> AbstractContextManager[Any]:
        return app.app_context()

    return push_app_context


def _submitter() -> Submitter | None:
    """Return the submitter of this request; None outside of one or without `init_app`."""
    if not has_request_context():
        return None
    state = current_app.extensions.get(NAME)
    if not isinstance(state, AppState):
        return None
    proxies = state.client.settings.proxies
    return Submitter(
        request_id=_as_text(state.request_id) or request_id_of(request.headers.get(REQUEST_ID)),
        created_by=_as_text(state.user),
        created_ip=proxies.client_of(request.remote_addr, request.headers.getlist(proxies.header)),
    )


def _as_text(ask: Ask | None) -> Callable[[], str | None] | None:
    """Convert the result of `ask` to text: the id of a user may be a number."""
    if ask is None:
        return None

    def answer() -> str | None:
        found = ask()
        return None if found is None else str(found)

    return answer


_clients: WeakSet[TaskDB] = WeakSet()


@atexit.register
def _close_all() -> None:
    for client in tuple(_clients):
        client.close()

"""For tests of a Flask app: check and run what its views submit."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask import Flask

from taskdb.contrib.flask.extension import NAME
from taskdb.testing import Rehearsal, rehearse


@contextmanager
def rehearsing(app: Flask) -> Iterator[Rehearsal]:
    """Rehearse on the client of this app.

    Each request ends with an empty session, also one that raises inside an app context of the test.
    Otherwise the open transaction of that request would lock a SQLite database.
    """
    state = app.extensions[NAME]

    def remove_session(_error: BaseException | None) -> None:
        if hasattr(state.session, "remove"):
            state.session.remove()

    ends = app.teardown_request_funcs.setdefault(None, [])
    ends.append(remove_session)
    try:
        with rehearse(state.client) as rehearsal:
            yield rehearsal
    finally:
        ends.remove(remove_session)

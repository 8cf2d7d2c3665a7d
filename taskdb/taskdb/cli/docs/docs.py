"""`taskdb docs`."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from taskdb.cli.docs.entry import Entry, docs_folder, entries, matching
from taskdb.cli.session import Session, with_session
from taskdb.cli.usage import wrong_usage
from taskdb.errors import SettingsError, did_you_mean

_MOST = 5
"""The most entries that are shown."""


@with_session
def docs(
    session: Session,
    term: Annotated[list[str], typer.Argument(help="An error, a setting, a command, a word.")],
) -> None:
    """Show the entries of the docs about an error, a setting, a command or a word.

    The place is a file of this package, or an address of TASKDB_DOCS_URL.
    """
    words, known = " ".join(term), entries(docs_folder())
    found = matching(words, known)[:_MOST]
    if not found:
        terms = {term.removeprefix("taskdb ") for entry in known for term in entry.terms}
        raise wrong_usage("TERM", f"the docs have no entry {words!r}{did_you_mean(words, terms)}")
    base = _site(session)
    if session.is_json:
        session.output.document([_described(entry, base) for entry in found])
        return
    for entry in found:
        session.output.line(": ".join(dict.fromkeys((entry.title, entry.terms[0]))), style="bold")
        if entry.text:
            session.output.line(f"  {entry.text}")
        session.output.line(f"  {_place(entry, base)}")


def _site(session: Session) -> str:
    try:
        return session.settings.docs_url.rstrip("/")
    except SettingsError:
        # The docs are read because a setting is wrong.
        return ""


def _described(entry: Entry, base: str) -> dict[str, Any]:
    place = {"page": entry.page, "place": _place(entry, base)}
    return {"term": entry.terms[0], "title": entry.title, "text": entry.text, **place}


def _place(entry: Entry, base: str) -> str:
    if not base:
        return f"{docs_folder() / entry.page}:{entry.line}"
    return f"{base}/{entry.page.removesuffix('.md')}.html{'#' * bool(entry.anchor)}{entry.anchor}"

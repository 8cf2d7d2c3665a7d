"""`taskdb check` on files: whether other users of this machine can read or replace them."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

from taskdb.celery.configuration import broker_kind
from taskdb.celery.embedded.broker import path_of
from taskdb.cli.check.finding import Finding, doubtful, good
from taskdb.cli.database.schema import sqlite_file
from taskdb.private_path import files_of_database, is_replaceable, is_wide, owner_of
from taskdb.settings.settings import Settings

_MOST_LOOKED_AT = 5_000
"""The most files of a folder that are checked. Files of one process have the same rights."""
_MOST_NAMED = 5
_SUBJECT = "files"


def check_rights(settings: Settings) -> Iterator[Finding]:
    """Yield findings of files that other users may read or replace, with commands against that."""
    folders, files = _folders(settings), _files(settings)
    wide_folders = [one for one in folders if is_wide(one)]
    wide_files = [one for one in files if is_wide(one)]
    strange = [one for one in (*folders, *files) if owner_of(one) is not None]
    if wide_folders:
        yield _wide("folders", wide_folders, "700")
    if wide_files:
        yield _wide("files", wide_files, "600")
    if strange:
        advice = f"give them to the user of the workers: chown {_named(strange)}"
        yield doubtful(_SUBJECT, f"another user owns {_listed(strange)}", advice)
    for parent in dict.fromkeys(one.resolve().parent for one in folders if one.exists()):
        if is_replaceable(parent):
            message = f"other users may replace what lies in {parent}"
            yield doubtful(_SUBJECT, message, f"chmod go-w {shlex.quote(str(parent))}")
    is_well = not (wide_folders or wide_files or strange)
    if is_well and any(one.exists() for one in (*folders, *files)):
        yield good(_SUBJECT, "database, messages, payloads and archive belong to this user alone")


def _folders(settings: Settings) -> list[Path]:
    found = [settings.archive_dir] if settings.archive_dir is not None else []
    is_embedded = settings.is_embedded_store or broker_kind(settings) == "embedded"
    if is_embedded:
        found.append(settings.data_dir)
    if settings.payload_bucket is None:
        found += [settings.payload_folder, *_below(settings.payload_folder, "????-??-??")]
    return [one for one in dict.fromkeys(found) if one.is_dir()]


def _files(settings: Settings) -> list[Path]:
    found: list[Path] = []
    database = sqlite_file(settings)
    if database is not None and not str(database).startswith("file:"):
        found += files_of_database(database)
    if broker_kind(settings) == "embedded":
        found += files_of_database(path_of(settings.message_url))
    if settings.payload_bucket is None:
        found += _below(settings.payload_folder, "????-??-??/*")
    if settings.archive_dir is not None:
        found += _below(settings.archive_dir, "*.jsonl")
    return [one for one in found if one.is_file()]


def _below(folder: Path, pattern: str) -> list[Path]:
    return list(islice(folder.glob(pattern), _MOST_LOOKED_AT))


def _wide(kind: str, paths: list[Path], mode: str) -> Finding:
    message = f"other users of this machine may read {kind}: {_listed(paths)}"
    return doubtful(_SUBJECT, message, f"chmod {mode} {_named(paths)}")


def _listed(paths: Iterable[Path]) -> str:
    found = list(paths)
    more = f" and {len(found) - _MOST_NAMED:,} more" if len(found) > _MOST_NAMED else ""
    return ", ".join(str(one) for one in found[:_MOST_NAMED]) + more


def _named(paths: Iterable[Path]) -> str:
    return " ".join(shlex.quote(str(one)) for one in paths)

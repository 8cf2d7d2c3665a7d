"""`manage.py taskdb …`: the `taskdb` command, with the project set up."""

from __future__ import annotations

import sys
from typing import Any, NoReturn

from django.core.management.base import BaseCommand, CommandError

from taskdb.cli import main

# `manage.py` reads these options before it calls this command.
_OF_MANAGE = ("--settings", "--pythonpath")


class Command(BaseCommand):
    """Passes all arguments on; `manage.py taskdb --help` lists the commands."""

    help = "Runs a command of TaskDB: worker, beat, list, show, …"
    # The commands report their own errors, and `check` is one of them.
    requires_system_checks: list[str] = []  # noqa: RUF012 - Django's attribute

    def run_from_argv(self, argv: list[str]) -> NoReturn:
        """Exit with the exit code of the command; Django parses none of our options."""
        sys.exit(main(_own_words(argv[2:])))

    def add_arguments(self, parser: Any) -> None:
        parser.add_argument("words", nargs="*", help="The command and its words.")

    def handle(self, *arguments: Any, **options: Any) -> None:
        """Serve `call_command("taskdb", "list")`; raises CommandError for an exit code but 0."""
        words = [*arguments, *options.get("words", ())]
        code = main([str(word) for word in words])
        if code:
            message = f"taskdb {' '.join(map(str, words))}: exit code {code}"
            raise CommandError(message, returncode=code)


def _own_words(words: list[str]) -> list[str]:
    """Remove the options of `manage.py` in front of our own words."""
    left = list(words)
    while left and left[0].startswith(_OF_MANAGE):
        takes_next = "=" not in left[0]
        del left[: 2 if takes_next else 1]
    return left

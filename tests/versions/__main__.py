"""Run the tests from the built wheel, without the source tree, on each supported version in turn.

    python -m tests.versions [NAME ...] [-- WORDS FOR PYTEST]

Without names: everything that this machine has or can install. `--list` prints the names. Versions
that are missing are reported and are no failure; a name that is given and missing is one.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.versions.distribution import Distribution
from tests.versions.environment import Environment, python_named
from tests.versions.servers import Missing, postgresql, redis

REPOSITORY = Path(__file__).parents[2]
FOLDER = REPOSITORY / "dist" / "versions"
OLDEST = "3.11"
NOT_LONG = "not long"


@dataclass(frozen=True)
class Variant:
    """One version of one part; the other parts are those of constraints.txt.

    `prepare` returns the variables of the environment in which the tests run; `tests` are words for
    pytest. `python` is a version of Python, `django` the requirement that replaces the pinned one.
    """

    tests: tuple[str, ...]
    python: str = OLDEST
    django: str = ""
    prepare: Callable[[Path], dict[str, str]] = lambda _: {}


# The checks of the repository read its sources.
ALL = ("--ignore=tests/repository", "-m", NOT_LONG)
DJANGO = ("tests/django_site", "-m", NOT_LONG)
VARIANTS = {
    **{f"python-{one}": Variant(ALL, python=one) for one in ("3.11", "3.12", "3.13", "3.14")},
    **{
        f"postgresql-{one}": Variant(
            (ALL[0], "-m", f"postgresql and {NOT_LONG}"),
            prepare=lambda folder, one=one: postgresql(one, folder),
        )
        for one in (15, 16, 17, 18)
    },
    **{
        f"redis-{one}": Variant(
            (ALL[0], "-m", f"redis and {NOT_LONG}"),
            prepare=lambda folder, one=one: redis(one, folder),
        )
        for one in ("6.2", "7")
    },
    "django-4.2": Variant(DJANGO, django="django~=4.2.0"),
    "django-5.2": Variant(DJANGO, django="django~=5.2.0"),
    "django-6": Variant(DJANGO, python="3.12", django="django~=6.0"),
}


def main(words: Sequence[str]) -> int:
    """Return 0 where everything that could run has passed, 1 where not, 2 for an unknown name."""
    if "--list" in words:
        print("\n".join(VARIANTS))
        return 0
    end = words.index("--") if "--" in words else len(words)
    names, more = words[:end], tuple(words[end + 1 :])
    if unknown := sorted(set(names) - set(VARIANTS)):
        print(f"unknown: {', '.join(unknown)}; one of {', '.join(VARIANTS)}", file=sys.stderr)
        return 2
    distribution = Distribution(REPOSITORY, FOLDER)
    distribution.build()
    outcomes = {}
    for name in names or VARIANTS:
        outcomes[name] = _run(name, distribution, more)
        print(f"{name:16} {outcomes[name]}", flush=True)
    print("\n" + "\n".join(f"{name:16} {outcome}" for name, outcome in outcomes.items()))
    bad = [one for one in outcomes.values() if one.startswith("FAILED")]
    absent = [one for name, one in outcomes.items() if name in names and one.startswith("missing")]
    return 1 if bad or absent else 0


def _run(name: str, distribution: Distribution, more: tuple[str, ...]) -> str:
    variant = VARIANTS[name]
    try:
        python = python_named(variant.python)
        variables = variant.prepare(FOLDER / "servers")
    except Missing as reason:
        return f"missing: {reason}"
    environment = Environment(FOLDER, python, variant.python, variant.django)
    environment.install(distribution)
    began = time.monotonic()
    if variant.tests is ALL:
        environment.check_types()
    code, last = environment.test(variant.tests + more, variables)
    spent = time.monotonic() - began
    return f"{'FAILED' if code else 'passed'} in {spent:.0f} s: {last}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

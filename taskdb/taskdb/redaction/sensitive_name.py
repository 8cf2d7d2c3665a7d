"""Names of secrets, however their words are joined."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass

_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_SEPARATORS = re.compile(r"[\W_]+")
_LONGEST = 256
"""Most characters of a name; the value of a longer one is handled as any other value."""


@dataclass(frozen=True, slots=True)
class NameRules:
    """Rules over names. Words, and patterns without separators, are matched separately."""

    words: re.Pattern[str]
    shapes: re.Pattern[str]
    exempt_words: re.Pattern[str]
    exempt_shapes: re.Pattern[str]

    @classmethod
    def parse(cls, rules: Iterable[str]) -> NameRules:
        """Return the rules of these texts. Raises ValueError for one without a letter or digit."""
        hidden: list[str] = []
        exempt: list[str] = []
        for rule in rules:
            bare = rule.strip()
            (exempt if bare.startswith("!") else hidden).append(bare.removeprefix("!"))
        return cls(*_patterns(hidden), *_patterns(exempt))

    def hide(self, name: str) -> bool:
        """Return whether the value of this name is secret."""
        if len(name) > _LONGEST:
            return False
        words = _words(name)
        shape = words.replace("_", "")
        if not (self.words.search(words) or self.shapes.fullmatch(shape)):
            return False
        return not (self.exempt_words.search(words) or self.exempt_shapes.fullmatch(shape))


def _patterns(rules: list[str]) -> tuple[re.Pattern[str], re.Pattern[str]]:
    words, shapes = [], []
    for rule in rules:
        if not _SEPARATORS.sub("", rule):
            raise ValueError(f"{rule!r} names no field: pass words such as api_key, or *key*")
        if "*" in rule:
            parts = [re.escape(_words(part).replace("_", "")) for part in rule.split("*")]
            shapes.append(".*".join(parts))
        else:
            words.append(re.escape(_words(rule)))
    return _any_of(words), _any_of(shapes)


def _any_of(alternatives: list[str]) -> re.Pattern[str]:
    # Without any, a pattern that never matches.
    return re.compile("|".join(alternatives) or r"(?!)", re.DOTALL)


def _words(name: str) -> str:
    """`apiKey`, `API-Key` and `api_key` as `_api_key_`."""
    plain = unicodedata.normalize("NFKC", name)
    return f"_{_SEPARATORS.sub('_', _HUMP.sub('_', plain)).strip('_').casefold()}_"

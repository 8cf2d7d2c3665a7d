"""The meaning of each setting: the text below its field, read from the source at need."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise

from taskdb.settings.settings import Settings


def meanings() -> dict[str, str]:
    """Return the meaning of each setting in one line. Settings that are loaded need none of it."""
    found = {}
    for section in Settings.__mro__:
        if section.__module__.startswith("taskdb.settings."):
            (body,) = ast.parse(inspect.getsource(section)).body
            for field, text in pairwise(ast.iter_child_nodes(body)):
                if isinstance(field, ast.AnnAssign) and isinstance(text, ast.Expr):
                    meaning = inspect.cleandoc(ast.literal_eval(text.value))
                    found[ast.unparse(field.target)] = meaning.replace("\n", " ")
    return {name: found[name] for name in Settings.model_fields}

"""How a noun is shown: one list of fields makes its table and its pairs, beside its document."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from rich.text import Text

from taskdb.cli.document import document_of
from taskdb.cli.output import Output
from taskdb.cli.value_text import text_of

T = TypeVar("T")

_NOTHING: tuple[Any, ...] = (None, "", (), [])


@dataclass(frozen=True, slots=True)
class Field(Generic[T]):
    """One field of a noun, as people see it.

    `label` names the value where one noun is shown, `column` heads it where several are listed; a
    field without one of them is not shown there. `read` gets the value; without it, it is the
    attribute that has the name of the label. `cell` gets another value for the table.
    """

    label: str = ""
    read: Callable[[T], Any] | None = None
    column: str = ""
    cell: Callable[[T], Any] | None = None

    def value(self, noun: T) -> Any:
        """The value beside the label."""
        return self.read(noun) if self.read else getattr(noun, self.label.replace(" ", "_"))


def column(header: str, cell: Callable[[T], Any]) -> Field[T]:
    """A field that is shown in the table alone."""
    return Field(column=header, cell=cell)


class Presenter(Generic[T]):
    """The fields of a noun, and its JSON document."""

    def __init__(
        self, *fields: Field[T], document: Callable[[T], dict[str, Any]] = document_of
    ) -> None:
        self._labeled = [field for field in fields if field.label]
        self._columns = [field for field in fields if field.column]
        self.document = document

    @property
    def headers(self) -> Sequence[str]:
        return [field.column for field in self._columns]

    def rows(self, nouns: Iterable[T]) -> list[list[Text]]:
        """The cells of each noun, in the order of `headers`."""
        return [
            [text_of((field.cell or field.value)(noun)) for field in self._columns]
            for noun in nouns
        ]

    def pairs(self, noun: T) -> list[tuple[str, Text]]:
        """The labels and values of a noun; a value that is empty is left out."""
        found = [(field.label, field.value(noun)) for field in self._labeled]
        return [(label, text_of(value)) for label, value in found if value not in _NOTHING]

    def print_table(self, output: Output, nouns: Iterable[T]) -> None:
        """Print a row a noun, for people."""
        output.table(self.headers, self.rows(nouns))

    def print_all(self, output: Output, nouns: Sequence[T], nothing: str) -> None:
        """List nouns: a document each, a table, or the note `nothing`."""
        if output.is_json:
            for noun in nouns:
                output.document(self.document(noun))
        elif nouns:
            self.print_table(output, nouns)
        else:
            output.note(nothing)

    def print_one(self, output: Output, noun: T) -> None:
        """Show one noun: its document, or its pairs."""
        if output.is_json:
            output.document(self.document(noun))
        else:
            output.pairs(self.pairs(noun))

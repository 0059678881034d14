"""A CSV as numbered rows. Row 1 is the header, as in a spreadsheet, so that a person finds the row a message names.

What spoils one row (a stray quote, too few cells) is said of that row; what spoils everything behind it (a quote that
is never closed, a row without an end) refuses the file whole, before anything of it is stored.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

ROW_CHARACTERS_MAX = 256 * 1024
COLUMNS_MAX = 1_000
_MEND = "Mend the row and send the file again: what is stored already counts as duplicate."


class BadTable(ValueError):
    """The file cannot be read as a table: ``reason`` names the row, ``fix`` says what to do."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


@dataclass(frozen=True, slots=True)
class TableRow:
    """One row. ``reason`` and ``fix`` are set when it is not what the header promises; its cells then stand as far as
    they could be told apart, and mean nothing for certain."""

    number: int
    cells: list[str]
    reason: str = ""
    fix: str = ""


class Table:
    """The rows of a CSV text behind its header. Blank rows are counted, as a spreadsheet does, and passed over."""

    def __init__(self, lines: Iterable[str], delimiter: str) -> None:
        """Reads the header. Raises :class:`BadTable`."""
        self._reader = csv.reader(_bounded(lines), delimiter=delimiter, strict=True)
        self._number = 0
        first = next(self._records(), None)
        if first is None:
            raise BadTable("the file is empty", "send a CSV with a header row and at least one row under it")
        if first.reason:
            raise BadTable(f"the header cannot be read: {first.reason}", first.fix)
        if "\x00" in "".join(first.cells):
            raise BadTable("the header holds NUL characters: the file may be UTF-16", "save it as CSV UTF-8")
        if len(first.cells) > COLUMNS_MAX:
            raise BadTable(f"the header has {len(first.cells):,} columns", f"send at most {COLUMNS_MAX:,} columns")
        self.header = first.cells

    def rows(self) -> Iterator[TableRow]:
        """The rows under the header, in order. Raises :class:`BadTable`."""
        width = len(self.header)
        for row in self._records():
            if row.reason:
                yield row
            elif len(row.cells) != width:
                reason = f"the row has {len(row.cells):,} cells where the header has {width:,}"
                yield TableRow(row.number, row.cells, reason, f"{_MEND} Quotes around a cell keep a delimiter in it.")
            elif "\x00" in "".join(row.cells):
                yield TableRow(row.number, row.cells, "the row holds a NUL character", _MEND)
            else:
                yield row

    def _records(self) -> Iterator[TableRow]:
        while True:
            self._number += 1
            try:
                cells = next(self._reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield self._spoilt(str(error))
                continue
            if (cells and cells[0].strip()) or any(cell.strip() for cell in cells):
                yield TableRow(self._number, cells)

    def _spoilt(self, error: str) -> TableRow:
        if "unexpected end of data" in error:
            raise BadTable(
                f'row {self._number} opens a quote (") that is never closed',
                "send the whole file, if it was cut short; inside quotes, double each quote",
            )
        if "field larger" in error:
            raise BadTable(
                f"row {self._number} holds a cell of more than {csv.field_size_limit():,} characters",
                'look for a stray quote ("): inside quotes, double each quote',
            )
        return TableRow(
            self._number, [], "the row has text behind a closing quote", f"{_MEND} Double quotes in quotes."
        )


def _bounded(lines: Iterable[str]) -> Iterator[str]:
    for number, line in enumerate(lines, 1):
        if len(line) > ROW_CHARACTERS_MAX:
            raise BadTable(
                f"line {number:,} has {len(line):,} characters",
                f"a row holds at most {ROW_CHARACTERS_MAX:,} characters",
            )
        yield line

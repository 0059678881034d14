"""What a command says: results on stdout, progress and hints on stderr; for people, or as JSON for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import orjson
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

DIRECTIONS = {
    "client_owes_us": "▲ client owes us",
    "we_owe_client": "▼ we owe client",
    "vendor_owes_us": "▲ vendor owes us",
    "we_owe_vendor": "▼ we owe vendor",
}
"""Who owes whom, in words: amounts have no sign."""


_INDENTED = orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE


@dataclass(frozen=True, slots=True)
class Column:
    """One column of a table: the field of a row that it shows, and how."""

    field: str
    title: str
    right: bool = False
    """Figures stand right."""
    drop: int = 0
    """On a narrow terminal the columns with the highest go first; 0 stays."""
    show: Callable[[Any], str] = lambda value: "" if value is None else str(value)


@dataclass
class Output:
    """One command's voice. ``as_json`` and ``as_lines`` (NDJSON) silence everything on stdout but the document."""

    as_json: bool = False
    as_lines: bool = False
    quiet: bool = False
    verbose: bool = False
    plain: bool = False
    no_color: bool = False
    stdout: Console = field(init=False)
    stderr: Console = field(init=False)

    def __post_init__(self) -> None:
        colour = False if self.plain or self.no_color else None
        self.stdout = _console(stderr=False, colour=colour)
        self.stderr = _console(stderr=True, colour=colour)

    @property
    def for_programs(self) -> bool:
        return self.as_json or self.as_lines

    def note(self, text: str) -> None:
        """A hint or a step, on stderr; not with -q."""
        if not self.quiet:
            self.stderr.print(text)

    def detail(self, text: str) -> None:
        """What only -v shows, on stderr."""
        if self.verbose:
            self.stderr.print(text)

    def say(self, text: str = "", style: str | None = None) -> None:
        """A line of a result, for people."""
        if not self.for_programs:
            self.stdout.print(text, style=style)

    def document(self, data: Any, meta: Mapping[str, Any] | None = None, *, show: Callable[[], None]) -> None:
        """A result: ``{"data": ..., "meta": ...}`` with --json, a line per element with --ndjson, else ``show()``."""
        if self.as_lines:
            for element in data if isinstance(data, list) else [data]:
                self.line(element)
        elif self.as_json:
            written = orjson.dumps({"data": data, "meta": dict(meta or {})}, option=_INDENTED)
            sys.stdout.write(written.decode())
        else:
            show()

    def line(self, element: Any) -> None:
        """One element of a stream, as a line of JSON."""
        sys.stdout.write(json.dumps(element, ensure_ascii=False) + "\n")
        sys.stdout.flush()

    def rows(
        self,
        rows: Sequence[Mapping[str, Any]],
        columns: Sequence[Column],
        meta: Mapping[str, Any] | None = None,
        *,
        empty: str = "nothing",
    ) -> None:
        """A list: a table for people (``empty`` if there are no rows), else as ``document``."""

        def show() -> None:
            if not rows:
                self.say(empty)
                return
            head, *body = table(rows, columns, self.stdout.width if self.stdout.is_terminal else None)
            self.say(head, style="bold")
            for text in body:
                self.say(text)

        self.document(list(rows), meta, show=show)

    @contextmanager
    def progress(self, title: str, total: int | None) -> Iterator[Callable[[int], None]]:
        """A bar on stderr, moved by the yielded function; without a terminal a line each tenth; nothing with -q."""
        if self.quiet:
            yield lambda _step: None
        elif self.stderr.is_terminal and not self.plain:
            bar = Progress(
                TextColumn("{task.description}"),
                BarColumn(),
                TaskProgressColumn(),
                TextColumn("{task.completed:,}/{task.total:,}"),
                TimeRemainingColumn(),
                console=self.stderr,
                transient=True,
            )
            with bar:
                task = bar.add_task(title, total=total)
                yield lambda step: bar.advance(task, step)
        else:
            yield _tenths(title, total, self.note)


def _console(*, stderr: bool, colour: bool | None) -> Console:
    console = Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True, emoji=False)
    if colour is False:
        console.no_color = True
    return console


def _tenths(title: str, total: int | None, say: Callable[[str], None]) -> Callable[[int], None]:
    done = 0
    said = 0

    def advance(step: int) -> None:
        nonlocal done, said
        done += step
        if total and done * 10 // total > said:
            said = done * 10 // total
            say(f"{title} {done:,}/{total:,}")

    return advance


def table(rows: Iterable[Mapping[str, Any]], columns: Sequence[Column], width: int | None) -> list[str]:
    """Lines of a table, the first its head. Narrower than ``width`` by leaving out columns, never by cutting digits."""
    cells = [{column.field: column.show(row.get(column.field)) for column in columns} for row in rows]
    widths = {
        column.field: max(cell_len(column.title), *(cell_len(row[column.field]) for row in cells), 0)
        for column in columns
    }
    kept = list(columns)
    while width and sum(widths[column.field] + 2 for column in kept) - 2 > width:
        least = max(kept, key=lambda column: column.drop)
        if least.drop == 0:
            break
        kept.remove(least)

    def line(row: Mapping[str, str]) -> str:
        return "  ".join(_pad(row[column.field], widths[column.field], column.right) for column in kept).rstrip()

    return [line({column.field: column.title for column in columns}), *(line(row) for row in cells)]


def _pad(text: str, width: int, right: bool) -> str:
    space = " " * (width - cell_len(text))
    return space + text if right else text + space

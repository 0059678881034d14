"""A file on its way in: kept beside memory while it arrives, and refused at the first byte that is not UTF-8 text.

Which run a file is can be told only when all of it is there (the same content is the same run), so it is received first
and read afterwards, twice.
"""

from __future__ import annotations

import codecs
import io
from collections.abc import AsyncIterator, Iterable
from tempfile import SpooledTemporaryFile
from typing import IO, Self

_IN_MEMORY_BYTES = 1024 * 1024
_BINARY = {
    b"PK\x03\x04": ("a spreadsheet or a zip archive", "open it and save the sheet as CSV UTF-8"),
    b"\x1f\x8b": ("compressed", "unpack it first"),
    b"\xff\xfe": ("UTF-16", "save it as CSV UTF-8"),
    b"\xfe\xff": ("UTF-16", "save it as CSV UTF-8"),
    b"%PDF": ("a PDF", "export the table as CSV UTF-8"),
}


class TooLarge(ValueError):
    """The file is over the limit."""


class NotText(ValueError):
    """The file is not text in UTF-8: ``reason`` says what it looks like or where it fails."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


class Spool:
    """The bytes of one file. Use it as a context manager: they are gone afterwards."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self._file: IO[bytes] = SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES)  # noqa: SIM115 - closed by __exit__
        self._decoder = codecs.getincrementaldecoder("utf-8")()
        self._reading: io.TextIOWrapper | None = None
        self._lines = 1
        self.size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._end_reading()
        self._file.close()

    async def receive(self, chunks: AsyncIterator[bytes]) -> None:
        """Take all of it in. Raises :class:`TooLarge`, :class:`NotText`, ``OSError`` when there is no room."""
        async for chunk in chunks:
            if self.size == 0 and chunk:
                self._look(chunk)
            self.size += len(chunk)
            if self.size > self.limit_bytes:
                raise TooLarge(f"over {self.limit_bytes:,} bytes")
            self._decode(chunk)
            self._file.write(chunk)
        self._decode(b"", final=True)

    def content(self) -> bytes:
        """The file whole."""
        self._file.seek(0)
        return self._file.read()

    def lines(self) -> Iterable[str]:
        """Its lines, from the first, with their ends as they are; a byte order mark is passed over. One reading at a
        time: the next call ends the one before."""
        self._end_reading()
        self._file.seek(0)
        self._reading = io.TextIOWrapper(self._file, encoding="utf-8-sig", newline="")
        return self._reading

    def _end_reading(self) -> None:
        if self._reading is not None:
            self._reading.detach()  # its end must not close the file
            self._reading = None

    def _look(self, chunk: bytes) -> None:
        for magic, (kind, fix) in _BINARY.items():
            if chunk.startswith(magic):
                raise NotText(f"the file is {kind}, not CSV in UTF-8", fix)

    def _decode(self, chunk: bytes, *, final: bool = False) -> None:
        try:
            self._decoder.decode(chunk, final)
        except UnicodeDecodeError as error:
            line = self._lines + chunk.count(b"\n", 0, max(0, error.start))
            raise NotText(
                f"the file is not UTF-8 in line {line:,}",
                "save it as CSV UTF-8 (it may be Windows-1252 or another encoding)",
            ) from error
        self._lines += chunk.count(b"\n")

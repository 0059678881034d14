"""A large file is laid out by client, so that what belongs together is at hand while memory holds a fraction of it.

Rows go as they stand, each led by its number, into one file for each of :data:`BUCKETS` buckets; which one follows from
the client (of usage: from the clients that the account is mapped to).
"""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO
from zlib import crc32

from services.cli.reconcile.sheets import Sheet
from services.ingestion.domain.profiles import match_header
from services.ingestion.domain.table import Table

BUCKETS = 64
_HELD_LINES = 2_000
"""Lines of one bucket that are held before they are written."""
_NUMBER = "#"
"""Heading of the row's number."""

ClientsOf = Mapping[str, tuple[str, ...]]
"""Account -> the clients that it is mapped to (none: it is excluded); one that is missing is not decided."""


class NotPlain(Exception):
    """The file has rows that only the profile can judge: it is read by the profile as a whole."""


def bucket_of(client: str) -> int:
    """Where a client's rows lie."""
    return crc32(client.encode()) % BUCKETS


@dataclass(slots=True)
class Laid:
    """What is known of a file once its rows are laid out."""

    sheet: int
    header: list[str]
    """Led by :data:`_NUMBER`."""
    rows: int = 0
    clients: set[str] = field(default_factory=set)
    products: set[str] = field(default_factory=set)
    owners: dict[str, set[int]] = field(default_factory=dict)
    """Contract -> its buckets, where one contract lies in several."""
    accounts: set[tuple[str, str]] = field(default_factory=set)
    """Of usage: (account, its name), of those that are not decided."""
    skus: set[tuple[str, str]] = field(default_factory=set)
    spans: set[tuple[str, str]] = field(default_factory=set)
    """Of invoices: (first day, day after the last) of their periods, as they stand."""
    strangers: Path | None = None
    """Of usage: rows of accounts that are not decided."""


class Layer:
    """Writes the rows of one file into buckets."""

    def __init__(self, folder: Path, sheet: int) -> None:
        self._folder, self._sheet = folder, sheet
        self._held: dict[int, list[str]] = defaultdict(list)

    def put(self, bucket: int, line: str) -> None:
        held = self._held[bucket]
        held.append(line)
        if len(held) >= _HELD_LINES:
            self._write(bucket, held)
            held.clear()

    def _write(self, bucket: int, held: list[str]) -> None:
        with path_of(self._folder, self._sheet, bucket).open("a", encoding="utf-8", newline="") as out:
            out.writelines(held)

    def close(self) -> None:
        for bucket, held in self._held.items():
            self._write(bucket, held)
        self._held.clear()


def path_of(folder: Path, sheet: int, bucket: int) -> Path:
    """The rows of a file in a bucket. Bucket -1 has those of accounts that nobody has decided."""
    return folder / f"{sheet}-{bucket}.csv"


def lay(number: int, of: Sheet, folder: Path, decided: ClientsOf) -> Laid:
    """Lays a file out. Raises :class:`NotPlain`."""
    try:
        with of.path.open(encoding="utf-8-sig", newline="") as handle:
            return _lay(number, of, folder, decided, handle)
    except (UnicodeDecodeError, csv.Error) as error:
        raise NotPlain(str(error)) from error


def _lay(number: int, of: Sheet, folder: Path, decided: ClientsOf, handle: TextIO) -> Laid:
    first = handle.readline()
    if '"' in first:
        raise NotPlain("a quoted header")
    header = next(csv.reader([first], delimiter=of.profile.delimiter), [])
    laid, layer = Laid(number, [_NUMBER, *header]), Layer(folder, number)
    at = match_header(of.profile, header)
    route = {"contracts": _contracts, "usage": _usage, "invoices": _invoices}[of.kind]
    try:
        route(laid, layer, at, of.profile.delimiter, _plain_lines(handle), decided)
    except (IndexError, ValueError) as error:
        raise NotPlain(str(error)) from error
    finally:
        layer.close()
    if of.kind == "usage" and path_of(folder, number, -1).exists():
        laid.strangers = path_of(folder, number, -1)
    return laid


def _plain_lines(handle: Iterable[str]) -> Iterator[str]:
    for line in handle:
        if '"' in line:
            raise NotPlain("quoted cells")
        yield line if line.endswith("\n") else line + "\n"


_Route = Callable[[Laid, Layer, Mapping[str, int], str, Iterable[str], ClientsOf], None]


def _contracts(
    laid: Laid, layer: Layer, at: Mapping[str, int], mark: str, lines: Iterable[str], decided: ClientsOf
) -> None:
    contract_at, client_at, product_at = at["contract"], at["client"], at["product"]
    most = max(contract_at, client_at, product_at) + 1
    buckets: dict[str, int] = {}
    of_contract: dict[str, int] = {}
    put, products, number = layer.put, laid.products, 1
    for number, line in enumerate(lines, 2):
        cells = line.split(mark, most)
        client, contract = cells[client_at], cells[contract_at]
        bucket = buckets.get(client)
        if bucket is None:
            bucket = buckets[client] = bucket_of(client.strip())
        products.add(cells[product_at])
        if of_contract.setdefault(contract, bucket) != bucket:
            laid.owners.setdefault(contract, {of_contract[contract]}).add(bucket)
        put(bucket, f"{number}{mark}{line}")
    laid.rows, laid.clients = number - 1, set(buckets)


def _invoices(
    laid: Laid, layer: Layer, at: Mapping[str, int], mark: str, lines: Iterable[str], decided: ClientsOf
) -> None:
    document_at, client_at, product_at = at["invoice"], at["client"], at["product"]
    from_at, to_at = at["period from"], at["period to"]
    most = max(document_at, client_at, product_at, from_at, to_at) + 1
    buckets: dict[str, int] = {}
    of_document: dict[str, int] = {}
    put, products, spans, number = layer.put, laid.products, laid.spans, 1
    for number, line in enumerate(lines, 2):
        cells = line.split(mark, most)
        client = cells[client_at]
        bucket = buckets.get(client)
        if bucket is None:
            bucket = buckets[client] = bucket_of(client.strip())
        products.add(cells[product_at])
        # A document's rows stay together, also where one of them names another client by mistake.
        bucket = of_document.setdefault(cells[document_at], bucket)
        spans.add((cells[from_at], cells[to_at]))
        put(bucket, f"{number}{mark}{line}")
    laid.rows, laid.clients = number - 1, set(buckets)


def _usage(
    laid: Laid, layer: Layer, at: Mapping[str, int], mark: str, lines: Iterable[str], decided: ClientsOf
) -> None:
    account_at, sku_at = at["account"], at["sku"]
    account_name, sku_name = at.get("account name", account_at), at.get("sku name", sku_at)
    most = max(account_at, sku_at, account_name, sku_name) + 1
    buckets: dict[str, tuple[int, ...]] = {}
    put, skus, number = layer.put, laid.skus, 1
    for number, line in enumerate(lines, 2):
        cells = line.split(mark, most)
        account = cells[account_at]
        into = buckets.get(account)
        if into is None:
            clients = decided.get(account.strip())
            # An excluded account lies anywhere: its rows are read, and go nowhere.
            into = (-1,) if clients is None else tuple(sorted(map(bucket_of, set(clients or (account,)))))
            buckets[account] = into
        if into == (-1,):
            laid.accounts.add((account, cells[account_name]))
        skus.add((cells[sku_at], cells[sku_name]))
        for bucket in into:
            put(bucket, f"{number}{mark}{line}")
    laid.rows = number - 1


def relay(laid: Laid, of: Sheet, folder: Path, decided: ClientsOf) -> None:
    """Lays out the rows of accounts that were not decided before; those that still are not stay as they are."""
    if laid.strangers is None:
        return
    at = match_header(of.profile, laid.header)["account"]
    layer, left = Layer(folder, laid.sheet), laid.strangers.with_suffix(".left")
    with laid.strangers.open(encoding="utf-8", newline="") as lines, left.open("w", encoding="utf-8") as out:
        for line in lines:
            clients = decided.get(line.split(of.profile.delimiter, at + 1)[at].strip())
            if clients is None:
                out.write(line)
            for bucket in sorted({bucket_of(client) for client in clients or ()}):
                layer.put(bucket, line)
    layer.close()
    left.replace(laid.strangers)


def rows(folder: Path, laid: Laid, mark: str, buckets: Iterable[int]) -> list[list[str]]:
    """The rows of a file in some buckets, in its order; each led by its number."""
    found: list[list[str]] = []
    for path in (path_of(folder, laid.sheet, bucket) for bucket in buckets):
        if not path.exists():
            continue
        text = path.read_bytes().decode()
        if "\r" in text:
            found += csv.reader(io.StringIO(text, newline=""), delimiter=mark)
        else:
            # Without quotes and other line ends this is all that a reader does.
            found += [line.split(mark) for line in text.split("\n")[:-1]]
    return found


def one_row(laid: Laid, mark: str, cells: list[str]) -> Table:
    """A table of the one row, for the profile to judge."""
    out = io.StringIO()
    writer = csv.writer(out, delimiter=mark, lineterminator="\n")
    writer.writerows([laid.header, cells])
    return Table(iter(out.getvalue().splitlines(keepends=True)), mark)

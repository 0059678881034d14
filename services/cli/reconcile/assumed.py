"""What is taken for granted where no file says it: each is said in the answer, none silently.

An account is the client, and a sku the product, whose id or name equals its own; whatever resembles two is left
unmapped, with candidates.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any, NamedTuple

from services.cli.reconcile.sheets import SAID_AT, TENANT
from shared.events.base import utc_text
from shared.kernel.periods import Period, instant_of, month_of, months

Record = dict[str, Any]
_DAY = timedelta(days=1)


class Taken(NamedTuple):
    """An identifier that is taken for a client or a product."""

    kind: str
    """``account`` or ``sku``."""
    source: str
    key: str
    target: str
    why: str
    """``same id`` or ``same name``."""


class Identifier(NamedTuple):
    """A vendor's identifier as usage and charges name it."""

    kind: str
    source: str
    key: str
    name: str | None


@dataclass(frozen=True, slots=True)
class Known:
    """Ids of clients or products, with their names (an id stands for a name that nobody says)."""

    names: dict[str, str]

    def same(self, identifier: Identifier) -> tuple[str, str] | None:
        """(id, why) of the one that an identifier equals; ``None``: none, or several."""
        if identifier.key in self.names:
            return identifier.key, "same id"
        said = {_plain(identifier.key), _plain(identifier.name or identifier.key)}
        alike = {one for one, name in self.names.items() if said & {_plain(one), _plain(name)}}
        return (alike.pop(), "same name") if len(alike) == 1 else None


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def known(records: Iterable[Record]) -> tuple[Known, Known]:
    """(clients, products): those that a file records, and those that contracts, invoices and time name."""
    names: dict[str, dict[str, str]] = {"client": {}, "product": {}}
    for record in records:
        data = record["data"]
        for what, found in names.items():
            if record["type"] == f"{what}.recorded.v1":
                found[data[what]] = data["name"]
            elif record["type"].partition(".")[0] in ("contract", "invoice", "time_entry") and data.get(what):
                found.setdefault(data[what], data[what])
    return Known(names["client"]), Known(names["product"])


def identifiers(records: Iterable[Record]) -> list[Identifier]:
    """The identifiers of usage and vendors' charges, each once."""
    return merged(
        Identifier(kind, record["source"], record["data"][kind], record["data"].get(f"{kind}_name"))
        for record in records
        if record["type"] in ("usage.metered.v1", "vendor_bill.line.v1")
        for kind in ("account", "sku")
    )


def merged(found: Iterable[Identifier]) -> list[Identifier]:
    """Each identifier once, under the least of its names."""
    names: dict[tuple[str, str, str], str | None] = {}
    for kind, source, key, name in found:
        before = names.get((kind, source, key))
        names[kind, source, key] = name if before is None or (name is not None and name < before) else before
    return [Identifier(*key, name) for key, name in sorted(names.items())]


def mapped(records: Iterable[Record]) -> set[tuple[str, str, str]]:
    """Identifiers that a mapping decides."""
    return {
        (record["data"]["kind"], record["data"]["source"], record["data"]["key"])
        for record in records
        if record["type"] == "mapping.confirmed.v1"
    }


def mappings(
    identified: Sequence[Identifier], decided: set[tuple[str, str, str]], clients: Known, products: Known
) -> list[Taken]:
    """What each identifier that nobody mapped is taken for."""
    taken = []
    for one in identified:
        if one[:3] in decided:
            continue
        same = (clients if one.kind == "account" else products).same(one)
        if same is not None:
            taken.append(Taken(one.kind, one.source, one.key, *same))
    return taken


def mapping_record(taken: Taken) -> Record:
    data = {"kind": taken.kind, "source": taken.source, "key": taken.key, "targets": [{"id": taken.target}]}
    return {
        "tenant": TENANT,
        "type": "mapping.confirmed.v1",
        "source": "mappings",
        "id": f"mapping/{taken.kind}/{taken.source}/{taken.key}",
        "time": utc_text(SAID_AT),
        "streamversion": 1,
        "data": data,
    }


def complete_record(source: str, periods: Sequence[Period], as_of: date, zone: str) -> Record:
    """That a source's usage is complete for the periods, as far as ``as_of``: a day wider on both sides, so that it
    covers the clients' own zones."""
    first, last = periods[0].start, periods[-1].end
    start = instant_of(first - _DAY, zone)
    end = instant_of(last + _DAY if as_of >= last else as_of, zone)
    said = f"{utc_text(start)}/{utc_text(max(start, end))}"
    data = {"feed": "usage", "run": 1, "asserted_at": utc_text(end)}
    data |= {"covers_from": utc_text(start), "covers_to": utc_text(max(start, end))}
    return _fact("feed.observed.v1", source, f"usage/{said}@1", end, data)


def calendar_records(periods: Sequence[Period], as_of: date, zone: str) -> Iterator[Record]:
    """The day of the comparison, and the first one: such that the books open with the first period."""
    for day in sorted({min(periods[0].end, as_of), as_of}):
        data = {"zone": zone, "date": day.isoformat()}
        yield _fact("calendar.advanced.v1", "plumbline.calendar", f"calendar/{day}", instant_of(day, zone), data)


def setting_record(key: str, value: str) -> Record:
    data = {"key": key, "value": value}
    return _fact("setting.changed.v1", "settings", f"setting/{key}", SAID_AT, data) | {"streamversion": 1}


def _fact(record_type: str, source: str, record_id: str, time: datetime, data: dict[str, Any]) -> Record:
    return {
        "tenant": TENANT,
        "type": record_type,
        "source": source,
        "id": record_id,
        "time": utc_text(time),
        "assertedat": utc_text(SAID_AT),
        "run": 1,
        "data": data,
    }


def periods_of(records: Iterable[Record]) -> list[Period]:
    """The months of the invoices; without invoices those of the usage."""
    invoiced: set[Period] = set()
    used: set[Period] = set()
    for record in records:
        data = record["data"]
        if record["type"] == "invoice.issued.v1":
            start, end = date.fromisoformat(data["period_from"]), date.fromisoformat(data["period_to"])
            invoiced.update(months(start, end - _DAY))
        elif record["type"] == "usage.metered.v1":
            used.add(month_of(date.fromisoformat(record["time"][:10])))
    return sorted(invoiced or used)


def said(taken: Sequence[Taken]) -> list[str]:
    """What was taken for granted, a sentence for each kind, source and reason."""
    grouped: dict[tuple[str, str, str], list[Taken]] = defaultdict(list)
    for one in taken:
        grouped[one.kind, one.source, one.why].append(one)
    return [_sentence(*key, found) for key, found in sorted(grouped.items())]


_SHOWN = 3


def _sentence(kind: str, source: str, why: str, taken: Sequence[Taken]) -> str:
    target = "client" if kind == "account" else "product"
    named = [one.key if one.key == one.target else f"{one.key} = {one.target}" for one in taken[:_SHOWN]]
    rest = f" and {len(taken) - _SHOWN:,} more" if len(taken) > _SHOWN else ""
    many = len(taken) > 1
    return (
        f"{len(taken):,} {kind}{'s' * many} of {source} {'are' if many else 'is'} taken for the {target}{'s' * many}"
        f" of the {why}: {', '.join(named)}{rest}"
    )

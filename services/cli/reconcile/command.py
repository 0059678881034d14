"""``plumbline reconcile``: the same engine as the services, over files alone."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated

import typer

from services.cli.faults import Exit, Fault
from services.cli.frame import current
from services.cli.output import Output
from services.cli.reconcile import as_json, page, tables, terminal
from services.cli.reconcile.answer import Answer
from services.cli.reconcile.sheets import COMPARED, KINDS, Sheet, sheet
from services.cli.reconcile.work import Asked, work
from shared.events.setting_keys import SETTING_KEYS
from shared.kernel.periods import Period, months, zone

_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)
_Files = list[str] | None


def _input(option: str, what: str) -> typer.models.OptionInfo:
    return typer.Option(option, metavar="[SOURCE=]FILE", help=what)


def _profile(kind: str) -> typer.models.OptionInfo:
    return typer.Option(f"--{kind}-profile", metavar="NAME", help=f"Format of the --{kind} files.")


def reconcile(
    contracts: Annotated[_Files, _input("--contracts", "What was agreed.")] = None,
    usage: Annotated[_Files, _input("--usage", "What was used.")] = None,
    invoices: Annotated[_Files, _input("--invoices", "What clients were invoiced.")] = None,
    vendor_bills: Annotated[_Files, _input("--vendor-bills", "What vendors billed.")] = None,
    time: Annotated[_Files, _input("--time", "What technicians logged.")] = None,
    mappings: Annotated[_Files, _input("--mappings", "Which account is which client, which sku which product.")] = None,
    clients: Annotated[_Files, _input("--clients", "The clients' names, zones and currencies.")] = None,
    products: Annotated[_Files, _input("--products", "The products' names, units and list prices.")] = None,
    contracts_profile: Annotated[str | None, _profile("contracts")] = None,
    usage_profile: Annotated[str | None, _profile("usage")] = None,
    invoices_profile: Annotated[str | None, _profile("invoices")] = None,
    vendor_bills_profile: Annotated[str | None, _profile("vendor-bills")] = None,
    time_profile: Annotated[str | None, _profile("time")] = None,
    mappings_profile: Annotated[str | None, _profile("mappings")] = None,
    clients_profile: Annotated[str | None, _profile("clients")] = None,
    products_profile: Annotated[str | None, _profile("products")] = None,
    period: Annotated[
        str | None, typer.Option(help="A month, 2026-10, or 2026-08..2026-10. Default: the months of the invoices.")
    ] = None,
    as_of: Annotated[
        str | None, typer.Option("--as-of", metavar="DATE", help="The day of the comparison. Default: when it is over.")
    ] = None,
    zone_: Annotated[str, typer.Option("--zone", help="Time zone of dates, unless a client has its own.")] = "UTC",
    partial: Annotated[bool, typer.Option("--partial", help="The usage files do not hold everything.")] = False,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="A tolerance or a period of grace.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the report, tables and result.json here.")] = None,
    exit_code: Annotated[
        bool, typer.Option("--exit-code", help="Exit 1 if anything is open, 7 if anything waits.")
    ] = False,
) -> None:
    """Hold contracts, usage and invoices against each other, from files: no server, no database.

    Each input may be given several times. Exit 5 if a row could not be read.
    """
    given = dict(zip(KINDS, (contracts, usage, invoices, vendor_bills, time, mappings, clients, products), strict=True))
    named = (
        *(contracts_profile, usage_profile, invoices_profile, vendor_bills_profile),
        *(time_profile, mappings_profile, clients_profile, products_profile),
    )
    asked = Asked(
        sheets=_sheets(given, dict(zip(KINDS, named, strict=True))),
        periods=_periods(period),
        as_of=_day(as_of),
        zone=_zone(zone_),
        partial=partial,
        settings=_settings(set_ or []),
    )
    voice = current().out
    answer = work(asked, voice)
    voice.document(as_json.document(answer, lines=False), show=lambda: terminal.show(voice, answer))
    if out is not None:
        _write(answer, out, voice)
    elif not voice.for_programs:
        voice.note("--out DIR writes report.html, discrepancies.csv, statements.csv and result.json")
    _leave(answer, exit_code)


def _sheets(given: Mapping[str, _Files], named: Mapping[str, str | None]) -> tuple[Sheet, ...]:
    found = tuple(sheet(kind, one, named[kind]) for kind in KINDS for one in given[kind] or ())
    if not any(one.kind in COMPARED for one in found):
        raise Fault("there is nothing to compare", fix="give at least --contracts, --usage and --invoices")
    return found


def _periods(text: str | None) -> tuple[Period, ...] | None:
    if text is None:
        return None
    first, _, last = text.partition("..")
    try:
        if not all(_MONTH.fullmatch(one) for one in (first, last or first)):
            raise ValueError
        found = tuple(months(date.fromisoformat(f"{first}-01"), date.fromisoformat(f"{last or first}-01")))
    except ValueError:
        found = ()
    if not found:
        raise Fault(f"{text} is no month", where="--period", fix="write 2026-10, or 2026-08..2026-10")
    return found


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise Fault(f"{text} is no date", where="--as-of", fix="write it as 2026-11-01") from None


def _zone(name: str) -> str:
    try:
        zone(name)
    except Exception:
        raise Fault(f"{name} is no time zone", where="--zone", fix="write one such as Europe/Berlin") from None
    return name


def _settings(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for one in given:
        key, _, value = one.partition("=")
        declared = SETTING_KEYS.get(key)
        if declared is None or key.startswith("notification."):
            known = ", ".join(name for name in SETTING_KEYS if not name.startswith("notification."))
            raise Fault(f"there is no setting {key}", where="--set", fix=f"write KEY=VALUE; there are {known}")
        try:
            found[key] = declared.check(value)
        except ValueError as error:
            reason, _, fix = str(error).partition("; ")
            raise Fault(f"{key} {reason}", where="--set", fix=fix) from None
    return found


def _write(answer: Answer, folder: Path, out: Output) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "report.html": page.report(answer),
        "discrepancies.csv": tables.discrepancies(answer),
        "statements.csv": tables.lines(answer),
        "result.json": as_json.written(answer).decode(),
        **({"rejected.csv": tables.rejected(answer)} if answer.rejected else {}),
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    out.note(f"written to {folder}: {', '.join(written)}")


def _leave(answer: Answer, exit_code: bool) -> None:
    if answer.rejected:
        raise typer.Exit(Exit.QUARANTINED)
    if exit_code and answer.discrepancies:
        raise typer.Exit(Exit.DIFFERENCE)
    if exit_code and (not answer.compared or any(True for _ in answer.pending())):
        raise typer.Exit(Exit.NOT_COMPARABLE)

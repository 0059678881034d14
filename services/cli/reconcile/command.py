"""``plumbline reconcile``: the same engine as the services, over files alone. Its options; the rest is in ``run``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.frame import current

_Files = list[str] | None


def _input(option: str, what: str) -> Any:
    return typer.Option(option, metavar="[SOURCE=]FILE", help=what)


def _profile(kind: str) -> Any:
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
    zone: Annotated[str, typer.Option("--zone", help="Time zone of dates, unless a client has its own.")] = "UTC",
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
    # Here, because it brings the whole engine with it, and every other command starts faster without.
    from services.cli.reconcile.run import Options, run

    given = {
        "contracts": (contracts, contracts_profile),
        "usage": (usage, usage_profile),
        "invoices": (invoices, invoices_profile),
        "vendor-bills": (vendor_bills, vendor_bills_profile),
        "time": (time, time_profile),
        "mappings": (mappings, mappings_profile),
        "clients": (clients, clients_profile),
        "products": (products, products_profile),
    }
    run(Options(given, period, as_of, zone, partial, set_ or [], out, exit_code), current().out)

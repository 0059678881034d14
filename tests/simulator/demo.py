"""The demo: a synthetic MSP goes in, true alerts come out. ``make demo``; ``ONCE=1`` ends by itself, with a verdict."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import statistics
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from deploy.local.claim import holder
from deploy.local.errors import PlatformError
from deploy.local.home import DEMO
from deploy.local.supervisor import Supervisor
from tests.receiver import Arrival, Receiver
from tests.simulator.business import PSA, SOURCES, TENANT_ZONE
from tests.simulator.driver import Driver, Refused
from tests.simulator.msp import Msp
from tests.simulator.score import Finding, Score, of_body, score

SEED, CLIENTS, PACE_PER_S = 7, 40, 400
IMPORT_GRACE_DAYS = "60"

console = Console(highlight=False, soft_wrap=True)


def _print_alert(arrival: Arrival) -> None:
    body = arrival.payload
    data = body["data"]
    arrow = "▼" if data["direction"].startswith("we_owe") else "▲"
    amount = data.get("amount")
    money = f"{amount['currency']} {amount['value']}" if amount else "no price known"
    who = (data.get("client") or {}).get("name") or data.get("account") or data.get("sku") or ""
    verb = body["type"].split(".")[1]
    what = data.get("product") or ""
    console.print(
        f"  [bold]{arrow}[/] {data['direction'].replace('_', ' '):<14} {money:>14}  {data['code']:<17} {who} {what}"
        f"  [dim]{verb}; {data['why']}[/]"
    )


async def load(driver: Driver, msp: Msp, receiver: Receiver) -> None:
    """Tenant, keys, settings, and everything of the PSA and the vendors but the usage."""
    await driver.create_tenant("Harbor MSP", TENANT_ZONE)
    for source in (PSA, *msp.sources):
        await driver.create_key(source)
    # A history is imported before it is judged: until it is all here, a missing invoice is not yet an error.
    await driver.set("invoice.grace_days", IMPORT_GRACE_DAYS)
    await driver.set("notification.webhook.url", receiver.url)
    await driver.set("notification.webhook.secret", receiver.secret, secret=True)
    await driver.upload("products", msp.product_rows(), source=PSA)
    await driver.upload("clients", msp.client_rows(), source=PSA)
    await driver.upload("mappings", msp.mapping_rows(), source=PSA)
    await driver.upload("invoices", msp.invoice_rows(), source=PSA)
    await driver.settled()
    await driver.upload("contracts", msp.contract_rows(), source=PSA)
    await driver.settled()
    await driver.upload("time-entries", msp.time_rows(), source=PSA)
    await driver.settled()


async def _stream(driver: Driver, msp: Msp) -> None:
    columns = (TextColumn("  usage {task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    events = {source: list(msp.usage(source)) for source in msp.sources}
    with Progress(*columns, console=console, transient=True) as progress:

        async def one(source: str) -> None:
            task = progress.add_task(source, total=len(events[source]))

            def counted() -> Any:
                for event in events[source]:
                    progress.advance(task)
                    yield event

            await driver.stream(source, counted(), batch=20, per_second=PACE_PER_S)
            if source in SOURCES:
                await driver.send(source, msp.broken_usage(source), f"{source}/broken")

        await asyncio.gather(*(one(source) for source in msp.sources))


async def finish(driver: Driver, msp: Msp, *, settle_s: float = 60) -> None:
    """The vendors bill the closed month and declare it complete, the import is declared over, some clients' month is
    closed and something of it comes late; then everything comes to rest."""
    # A vendor bills the month when it is over. Before usage is here, what it bills would stand for what was used.
    for source in SOURCES:
        await driver.upload("vendor-bills", msp.vendor_bill_rows(source), source=source)
    await driver.settled(settle_s)
    start, end = msp.covers()
    for source in SOURCES:
        await driver.observed(source, start.isoformat(), end.isoformat())
    for source in msp.sources[len(SOURCES) :]:
        await driver.missed(source, msp.now)
    await driver.settled(settle_s)
    # The import is over: from here on a closed month without an invoice is an error.
    for key, value in msp.settings.items():
        await driver.set(key, value)
    await driver.settled(settle_s)
    for client in msp.closings:
        await driver.close(client.id, msp.closed.start)
    await driver.settled(settle_s)
    for event in msp.late_usage():
        await driver.send(str(event["source"]), [event], f"late/{event['id']}")
    await driver.settled(settle_s)


def _latencies_ms(driver: Driver, receiver: Receiver) -> list[float]:
    found = []
    for arrival in receiver.arrivals.values():
        cause = (arrival.payload["data"].get("cause") or {}).get("record")
        if cause in driver.answered:
            found.append((arrival.first_monotonic - driver.answered[cause]) * 1000)
    return sorted(found)


def _percentile(values: list[float], share: float) -> float | None:
    return round(values[min(len(values) - 1, int(len(values) * share))], 1) if values else None


def alerted(receiver: Receiver) -> list[Finding]:
    """What each message was about."""
    findings = []
    for arrival in receiver.arrivals.values():
        data = arrival.payload["data"]
        client = (data.get("client") or {}).get("id")
        findings.append(of_body({**data, "client": client, "vendor_source": data.get("source")}))
    return findings


def _report(driver: Driver, receiver: Receiver, result: Score, told: int) -> dict[str, Any]:
    latencies = _latencies_ms(driver, receiver)
    tally = driver.tally
    return {
        "injected": result.injected,
        "found": result.found,
        "missed": result.missed,
        "false_alarms": result.false_alarms,
        "alerts": {
            "discrepancy_records": told,
            "distinct": len(receiver.arrivals),
            "deliveries": sum(arrival.count for arrival in receiver.arrivals.values()),
            "bad_signatures": len(receiver.refused),
        },
        "records": {
            "sent": tally.sent,
            **{name: tally.outcomes[name] for name in ("stored", "duplicate", "quarantined")},
        },
        "alert_latency_ms": {
            "p50": _percentile(latencies, 0.50),
            "p99": _percentile(latencies, 0.99),
            "alerts": len(latencies),
            "mean": round(statistics.fmean(latencies), 1) if latencies else None,
        },
    }


def _show(report: dict[str, Any], balanced: bool) -> None:
    table = Table(title="What was planted, and what was found", title_justify="left")
    for name, justify in (("code", "left"), ("injected", "right"), ("found", "right")):
        table.add_column(name, justify=justify)  # type: ignore[arg-type]
    for code in sorted(report["injected"]):
        table.add_row(code, str(report["injected"][code]), str(report["found"][code]))
    table.add_section()
    table.add_row("all", str(sum(report["injected"].values())), str(sum(report["found"].values())))
    console.print(table)
    for line in report["missed"]:
        console.print(f"  [red]missed[/] {line}")
    for line in report["false_alarms"]:
        console.print(f"  [red]false alarm[/] {line}")
    records, latency = report["records"], report["alert_latency_ms"]
    console.print(f"  false alarms   {len(report['false_alarms'])}")
    console.print(
        f"  records        {records['sent']:,} sent = {records['stored']:,} stored + {records['duplicate']:,} duplicate"
        f" + {records['quarantined']:,} quarantined {'✓' if balanced else '✗'}"
    )
    alerts = report["alerts"]
    console.print(
        f"  alerts         {alerts['discrepancy_records']} recorded, {alerts['distinct']} received,"
        " each under one webhook-id"
    )
    console.print(
        f"  alert latency  p50 {latency['p50']} ms, p99 {latency['p99']} ms, from the HTTP answer to the receiver"
    )


def _next_steps() -> None:
    console.print("\n[bold]Where to look next[/] (in another terminal, from this folder)")
    for command in (
        ".venv/bin/plumbline discrepancies list",
        ".venv/bin/plumbline explain <ID from the list>",
        ".venv/bin/plumbline quarantine list",
        ".venv/bin/plumbline tail",
        ".venv/bin/plumbline status",
    ):
        console.print(f"  {command}")


async def run(*, once: bool) -> int:
    """Run the demo; the exit code: 0 if every planted error was found and nothing else."""
    if (pid := holder(DEMO)) is not None:
        raise PlatformError(f"a demo is already running, as process {pid}", fix="Ctrl-C it, or `kill` that process")
    shutil.rmtree(DEMO.path, ignore_errors=True)
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with Supervisor(DEMO, say=console.print):
        work = asyncio.create_task(_demonstrate(once=once))
        stopped = asyncio.create_task(stop.wait())
        await asyncio.wait((work, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not work.done():
            work.cancel()
            return 130
        code = work.result()
        if not once:
            _next_steps()
            console.print("\nThe platform keeps running until Ctrl-C.")
            await stopped
        return code


async def _demonstrate(*, once: bool) -> int:
    msp = Msp(SEED, CLIENTS, datetime.now(UTC))
    async with Receiver(on_arrival=_print_alert) as receiver, Driver(DEMO.path, msp.tenant) as driver:
        console.print(
            f"\n[bold]{msp.count} clients of {msp.tenant}[/]: {msp.closed.start:%B} is closed and invoiced,"
            f" {msp.running.start:%B} is running"
        )
        await load(driver, msp, receiver)
        console.print("catalog, mappings, invoices, contracts and hours are loaded; usage streams in:\n")
        await _stream(driver, msp)
        await finish(driver, msp)
        bodies = [row["body"] for row in await driver.discrepancies()]
        result = score(msp.truths, bodies, alerted(receiver))
        told = await driver.discrepancy_records()
        report = _report(driver, receiver, result, told)
    (DEMO.path / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    console.print()
    _show(report, driver.tally.balanced)
    once_each = len(receiver.arrivals) == told and not receiver.refused
    return 0 if result.perfect and driver.tally.balanced and once_each else 1


def main() -> None:
    try:
        raise SystemExit(asyncio.run(run(once=bool(os.environ.get("ONCE")))))
    except (PlatformError, Refused) as error:
        console.print(f"[red]the demo could not run[/]: {error}")
        raise SystemExit(1) from error


if __name__ == "__main__":
    main()

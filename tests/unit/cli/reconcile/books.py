"""Random files of a small MSP: mostly plain lines that agree, and everything that must not be settled at once."""

from __future__ import annotations

import csv
from pathlib import Path
from random import Random

from services.cli.output import Output
from services.cli.reconcile.answer import Answer
from services.cli.reconcile.run import Options, asked
from services.cli.reconcile.work import work

HEADERS = {
    "contracts": "change,contract,line,client,product,effective from,effective to,currency,price model,price,"
    "included,recurring quantity,tiers",
    "usage": "account,account name,sku,sku name,meter,kind,unit,quantity,at,until,event",
    "invoices": "invoice,kind,client,issued on,period from,period to,currency,total,line,product,contract,"
    "contract line,line from,line to,quantity,unit price,amount,tax",
    "mappings": "kind,source,key,target,exclude",
    "clients": "client,name,time zone,bill cycle day,currency",
    "products": "product,name,unit,list price,currency,components",
}
CLIENTS = ("northwind", "aster", "atlas", "borealis")
PRODUCTS = ("edr", "mail", "backup", "suite", "voip")
SPANS = (("2026-10-01", "2026-11-01"), ("2026-09-01", "2026-10-01"), ("2026-10-01", "2027-01-01"))


class Book:
    """Rows by kind. ``wild``: how often something is not plain."""

    def __init__(self, random: Random, wild: float, included: tuple[int, ...] = (0, 0, 5)) -> None:
        self.random, self.wild, self.included = random, wild, included
        self.rows: dict[str, list[dict[str, str]]] = {kind: [] for kind in HEADERS}
        for sku in PRODUCTS:
            if not self._wild():
                self.rows["mappings"].append({"kind": "sku", "source": "usage", "key": f"s-{sku}", "target": sku})
        for client in CLIENTS:
            self._client(client)
        if self._wild():
            self.rows["products"].append({"product": "suite", "name": "Suite", "components": "edr;mail"})
        self.rows["products"].append(
            {"product": "edr", "name": 'EDR, "managed"', "unit": "agent", "list price": "3.5", "currency": "EUR"}
        )

    def _wild(self) -> bool:
        return self.random.random() < self.wild

    def _client(self, client: str) -> None:
        pick = self.random.choice
        zone = pick(("UTC", "Europe/Berlin", "America/New_York")) if self._wild() else "UTC"
        if self._wild():
            self.rows["clients"].append({"client": client, "name": client.title(), "time zone": zone})
        else:
            zone = "UTC"
        if not self._wild():
            mapping = {"kind": "account", "source": "usage", "key": f"a-{client}", "target": client}
            self.rows["mappings"].append(mapping | ({"target": "", "exclude": "internal"} if self._wild() else {}))
        invoice, total = f"INV-{client}", pick(("", "", "wrong" if self._wild() else ""))
        span = pick(SPANS) if self._wild() else SPANS[0]
        for n, product in enumerate(PRODUCTS, 1):
            if self.random.random() < 0.85:
                self._line(client, product, n, invoice, span, "1.00" if total else "")

    def _line(self, client: str, product: str, n: int, invoice: str, span: tuple[str, str], total: str) -> None:
        pick, wild = self.random.choice, self._wild
        flat = self.random.random() < 0.25
        price, quantity = pick(("4.20", "0.035", "12", "1.005")), self.random.randint(1, 60)
        included = pick(self.included)
        units = max(quantity - (0 if flat else included), 0)
        agreed = {
            "contract": f"C-{client}", "line": str(n), "client": client, "product": product,
            "effective from": pick(("2026-10-15", "2027-01-01", "2025-03-09")) if wild() else "2026-01-01",
            "effective to": pick(("2026-10-20", "2026-12-01")) if wild() else "",
            "currency": pick(("USD", "JPY")) if wild() else "EUR",
            "price model": "flat" if flat else "unit", "price": price,
            "included": str(included) if included and not flat else "",
            "recurring quantity": pick(("", "3")),
        }  # fmt: skip
        if wild():
            agreed |= {"price model": "graduated", "price": "", "tiers": "8@4.00;*@3"}
        if not wild():
            self.rows["contracts"].append(agreed)
        if wild():
            change = {"effective from": pick(("2026-10-11", "2026-10-01")), "change": "amended", "price": "7"}
            self.rows["contracts"].append(agreed | change)
        self._use(client, product, quantity)
        rate = price if not wild() else pick(("4.21", "9"))
        billed = str(1 if flat else units if not wild() else units + pick((-1, 1, 3)))
        amount = round(float(billed) * float(rate) + 1e-9, 2)
        posted = {
            "invoice": invoice, "client": client, "issued on": "2026-11-02", "period from": span[0],
            "period to": span[1], "currency": "USD" if wild() and wild() else "EUR", "line": str(n),
            "product": product, "contract": pick(("", f"C-{client}")), "quantity": billed, "unit price": rate,
            "amount": f"{amount:.2f}", "total": total,
        }  # fmt: skip
        posted["contract line"] = str(n) if posted["contract"] else ""
        if wild():
            posted |= pick((
                {"line from": "2026-10-01", "line to": "2026-10-16"}, {"tax": "1.00"}, {"line": "1"}, {"line": ""},
                {"contract": "C-other"}, {"quantity": "many"}, {"client": "nobody"}, {"issued on": "2026-11-03"},
                {"quantity": "0"}, {"quantity": f"-{billed}", "amount": f"-{amount:.2f}"},
            ))  # fmt: skip
        if not wild():
            self.rows["invoices"].append(posted)
        if wild():
            self.rows["invoices"].append(posted | {"line": f"{n}b"})

    def _use(self, client: str, product: str, quantity: int) -> None:
        pick, wild = self.random.choice, self._wild
        base = {"account": f"a-{client}", "account name": client.title(), "sku": f"s-{product}", "unit": "agent"}
        if self.random.random() < 0.5:
            whole = {"kind": "gauge", "quantity": str(quantity), "at": "2026-10-01"}
            rows = [base | whole | {"at": at} for at in ("2026-10-01", "2026-10-09")[: pick((1, 2))]]
            if wild():
                rows[-1] |= pick((
                    {"at": "2026-09-28"}, {"at": "2026-10-05"}, {"quantity": "3"}, {"until": "2026-10-20"},
                    {"at": "2026-11-03"}, {"meter": "other"}, {"kind": "peak", "until": "2026-10-02"},
                ))  # fmt: skip
        else:
            parts = [quantity] if quantity < 2 or pick((0, 1)) else [1, quantity - 1]
            rows = [
                base | {"kind": "counter", "quantity": str(part), "at": f"2026-10-0{n}T10:00:00Z",
                        "until": f"2026-10-0{n}T11:00:00Z"}
                for n, part in enumerate(parts, 1)
            ]  # fmt: skip
            if wild():
                rows[-1] |= pick((
                    {"event": "e-1"}, {"at": "2026-10-01T10:00:00Z"}, {"until": "2026-09-01T00:00:00Z"},
                    {"at": "2026-09-30T10:00:00Z"}, {"quantity": "-4"}, {"account": "a-x"}, {"unit": "GiB"},
                    {"sku": " s-edr "}, {"quantity": "1e1"},
                ))  # fmt: skip
        if not wild():
            self.rows["usage"] += rows
        if wild():
            self.rows["usage"] += [rows[0]]

    def write(self, folder: Path) -> None:
        for kind, rows in self.rows.items():
            with (folder / f"{kind}.csv").open("w", newline="") as out:
                writer = csv.DictWriter(out, HEADERS[kind].split(","), restval="")
                writer.writeheader()
                writer.writerows(rows)


def options(folder: Path, **more: object) -> Options:
    inputs = {kind: ([str(folder / f"{kind}.csv")], None) for kind in HEADERS}
    said = {"period": "2026-10", "as_of": None, "zone": "UTC", "partial": False, "settings": [], "out": None}
    return Options(**{"inputs": inputs, **said, "exit_code": False, **more})  # type: ignore[arg-type]


def answer(folder: Path, scratch: Path, *, large: bool, **more: object) -> Answer:
    """The answer to the files in ``folder``, drawn as large ones are, or as small ones."""
    return work(asked(options(folder, **more)), Output(quiet=True), scratch, large_bytes=0 if large else 10**9)

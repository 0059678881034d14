"""The algebra: any order and any repetition of a set of records end in one state and in one set of bodies."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shared.events.discrepancies import Code
from shared.kernel.canonical import canonical
from shared.reconciliation.facts import Fact, Slot, extract
from shared.reconciliation.fold import Registers, meter_key
from shared.reconciliation.verdict import State, Verdict, body_bytes
from shared.reconciliation.world import World
from tests.unit.reconciliation.book import TENANT, Book, Record

START = datetime(2026, 9, 25, tzinfo=UTC)
CLIENTS, PRODUCTS = ("northwind", "harbor"), ("edr", "backup")
WRITTEN = (
    Code.QTY_UNDER,
    Code.QTY_OVER,
    Code.UNBILLED_SERVICE,
    Code.UNBILLED_CLIENT,
    Code.MISSING_LINE,
    Code.PHANTOM_LINE,
    Code.PRICE_MISMATCH,
    Code.UNMAPPED_CLIENT,
    Code.UNMAPPED_PRODUCT,
)
"""What these books can come to; those of ``anything.py`` hold the rest."""
MONTHS = (("2026-10-01", "2026-11-01"), ("2026-11-01", "2026-12-01"), ("2026-10-15", "2026-11-15"))


class Scribe:
    """Writes random facts of all kinds into a book; the same seed writes the same book."""

    def __init__(self, seed: int) -> None:
        self.rng = random.Random(seed)
        self.book = Book()
        for kind, key, targets in (("account", "a-1", CLIENTS), ("sku", "s-edr", PRODUCTS), ("sku", "s-bck", PRODUCTS)):
            self.book.map(kind, "huntress", key, targets[0])

    def write(self, facts: int) -> list[Record]:
        kinds: list[tuple[Callable[[], Any], int]] = [
            (self.usage, 8),
            (self.contract, 3),
            (self.invoice, 3),
            (self.master, 2),
            (self.mapping, 2),
            (self.charge, 1),
            (self.calendar, 2),
            (self.setting, 1),
            (self.feed, 2),
        ]
        for write in self.rng.choices([one for one, _ in kinds], [weight for _, weight in kinds], k=facts):
            write()
        return self.book.records

    def _day(self) -> str:
        return (START + timedelta(days=self.rng.randrange(80))).date().isoformat()

    def usage(self) -> None:
        rng = self.rng
        time = START + timedelta(hours=6 * rng.randrange(280))
        kind = rng.choice(("gauge",) * 4 + ("counter", "peak"))
        until = time + timedelta(days=1) if rng.random() < 0.2 else None
        self.book.usage(
            str(Decimal(rng.randrange(-10, 200)) / 10),
            time,
            account=rng.choice(("a-1", "a-2")),
            sku=rng.choice(("s-edr", "s-bck")),
            kind=kind,
            run=rng.randrange(3),
            asserted=START + timedelta(days=rng.randrange(3)),
            unit=rng.choice(("agent",) * 9 + (None,)),
            until=until,
            account_name=rng.choice((None, "Northwind Dental", "Harbor Legal")),
            event=f"e-{rng.randrange(9)}" if kind == "counter" and rng.random() < 0.5 else None,
        )

    def contract(self) -> None:
        rng = self.rng
        client, product = rng.choice(CLIENTS), rng.choice(PRODUCTS)
        line, contract = rng.choice("1112"), f"C-{client}-{product}"
        if rng.random() < 0.1:
            self.book.end_line(client, product, self._day(), line, contract)
            return
        price = str(Decimal(rng.randrange(1, 900)) / 100)
        priced = {"flat": price} if rng.random() < 0.2 else {"unit": price, "included": rng.choice(("0", "0", "5"))}
        self.book.line(
            client,
            product,
            rng.choice(("2026-01-01",) * 4 + ("2026-10-01", "2026-10-10", "2026-11-01")),
            recurring=(str(rng.randrange(30)), price) if rng.random() < 0.8 else None,
            line=line,
            contract=contract if rng.random() < 0.9 else "C-moved",
            run=rng.randrange(3),
            amended=rng.random() < 0.5,
            currency=rng.choice(("EUR",) * 9 + ("JPY",)),
            until=rng.choice((None, None, "2026-12-01")),
            **priced,  # type: ignore[arg-type]
        )

    def invoice(self) -> None:
        rng = self.rng
        number = f"INV-{rng.randrange(3)}"
        if rng.random() < 0.15:
            self.book.void(number, rng.randrange(1, 3))
            return
        is_credit = rng.random() < 0.25
        sign = "-" if is_credit else ""
        lines = [
            (rng.choice(PRODUCTS), sign + str(rng.randrange(40)), str(Decimal(rng.randrange(900)) / 100))
            for _ in range(rng.randrange(1, 4))
        ]
        self.book.invoice(
            rng.choice(CLIENTS),
            *lines,
            invoice=f"CN-{rng.randrange(2)}" if is_credit else number,
            version=rng.randrange(1, 4),
            month=rng.choice(MONTHS[:1] * 4 + MONTHS),
            kind="credit_note" if is_credit else "invoice",
            send=rng.choice((None, None, None, 1)),
            corrects=number if is_credit else None,
            currency=rng.choice(("EUR",) * 9 + ("JPY",)),
        )

    def master(self) -> None:
        rng = self.rng
        client = rng.choice(CLIENTS)
        self.book.client(
            client,
            rng.choice(("Northwind Dental", "Harbor Legal")),
            time_zone=rng.choice(("UTC", "America/New_York")),
            bill_cycle_day=rng.choice((1, 15, 31)),
            source=rng.choice(("psa", "crm")),
            run=rng.randrange(3),
        )
        priced = {"list_price": Decimal("2.50"), "currency": "EUR"} if rng.random() < 0.5 else {}
        self.book.product(rng.choice(PRODUCTS), rng.choice(("EDR", "Backup")), **priced)

    def mapping(self) -> None:
        rng, book = self.rng, self.book
        kind, key, targets = rng.choice(
            (
                ("account", "a-1", CLIENTS),
                ("account", "a-2", CLIENTS),
                ("sku", "s-edr", PRODUCTS),
                ("sku", "s-bck", PRODUCTS),
            )
        )
        step = rng.random()
        if step < 0.7:
            book.map(kind, "huntress", key, rng.choice(targets), rng.choice(("1", "1", "0.25")))
        elif step < 0.85:
            book.unmap(kind, "huntress", key)
        else:
            book.exclude(kind, "huntress", key, rng.choice((None, datetime(2026, 11, 3).date())))

    def charge(self) -> None:
        rng = self.rng
        self.book.charge(
            str(Decimal(rng.randrange(1, 9999)) / 1000),
            account=rng.choice(("a-1", "a-2")),
            line=str(rng.randrange(3)),
            version=rng.randrange(1, 3),
            account_name=rng.choice((None, "Northwind Dental")),
        )

    def calendar(self) -> None:
        self.book.tick(self._day())

    def setting(self) -> None:
        rng = self.rng
        self.book.set(
            rng.choice(("tolerance.quantity.absolute", "tolerance.unit_price.absolute", "invoice.grace_days")),
            rng.choice((None, "0", "2")),
        )

    def feed(self) -> None:
        self.book.complete(*self.rng.choice((("2026-09-20", "2026-10-15"), ("2026-10-15", "2026-12-05"))))


def unique(records: Iterable[Record]) -> list[Record]:
    """What a log holds of what was sent: one record an identity."""
    return list({(record["source"], record["id"]): record for record in records}.values())


def bodies(world: World) -> bytes:
    """All verdicts of the tenant in bytes: bodies, waits and amounts."""
    return canonical({repr(group): _verdict(verdict) for group, verdict in world.verdicts(TENANT).items()})


def _verdict(verdict: Verdict) -> list[Any]:
    figures = [verdict.expected, verdict.billed, verdict.explained, verdict.broken]
    waits = [[wait.side, wait.what, str(wait.until)] for wait in verdict.waiting]
    drawn = [[list(one.stream_key), body_bytes(one.body).decode()] for one in verdict.breaks]
    return [verdict.state.value, drawn, waits, figures, verdict.explained_by, str(verdict.next_change), verdict.owed]


def facts(records: Iterable[Record]) -> list[Fact]:
    return [fact for fact in map(extract, records) if fact is not None]


def folded(given: Iterable[Fact]) -> Registers:
    registers = Registers()
    for fact in given:
        registers.put(fact)
    return registers


SEEDS = st.integers(0, 2**32)
_FEW = settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@_FEW
@given(SEEDS, SEEDS, st.integers(5, 45))
def test_any_order_and_repetition_end_in_one_state_and_the_same_bytes(seed: int, order: int, size: int) -> None:
    records = unique(Scribe(seed).write(size))
    rng = random.Random(order)
    shuffled = rng.sample(records, len(records)) + rng.choices(records, k=len(records) // 2)
    straight, other = World().fold(records), World().fold(shuffled)
    assert straight.registers == other.registers
    # Views must not lean on the order in which a dictionary happened to be filled either.
    assert bodies(straight) == bodies(other)


@_FEW
@given(SEEDS, st.integers(3, 40), st.integers(0, 2**20))
def test_merge_is_commutative_associative_and_idempotent(seed: int, size: int, deal: int) -> None:
    hands: tuple[list[Fact], list[Fact], list[Fact]] = ([], [], [])
    rng = random.Random(deal)
    everything = facts(unique(Scribe(seed).write(size)))
    for fact in everything:
        for hand in rng.sample(hands, rng.randint(1, 3)):
            hand.append(fact)
    one, two, three = map(folded, hands)
    assert one.merge(two) == two.merge(one)
    assert one.merge(two).merge(three) == one.merge(two.merge(three))
    assert one.merge(one) == one
    assert one.merge(two).merge(three) == folded(everything)


@_FEW
@given(SEEDS, st.integers(5, 40))
def test_a_sum_kept_by_differences_is_the_sum_of_the_slots(seed: int, size: int) -> None:
    registers, totals = Registers(), dict[Any, Decimal]()
    for fact in facts(unique(Scribe(seed).write(size))):
        if not isinstance(fact, Slot):
            continue
        key = meter_key(fact)
        before = registers.meters.get(key, {}).get(fact.slot)
        if registers.put(fact):
            totals[key] = totals.get(key, Decimal(0)) + fact.quantity - (before.quantity if before else 0)
    assert totals == {key: sum(slot.quantity for slot in slots.values()) for key, slots in registers.meters.items()}


@settings(max_examples=60, deadline=None)
@given(SEEDS, st.integers(10, 60))
def test_every_verdict_leaves_a_residual_of_exactly_zero(seed: int, size: int) -> None:
    for verdict in World().fold(Scribe(seed).write(size)).verdicts(TENANT).values():
        if verdict.expected is not None and verdict.billed is not None:
            assert verdict.billed - verdict.expected - verdict.explained - verdict.broken == 0


def test_a_verdict_that_leaves_a_residual_cannot_be_made() -> None:
    with pytest.raises(ArithmeticError, match="residual 1 is not zero"):
        Verdict(State.MATCHED, expected=Decimal(4), billed=Decimal(5))
    with pytest.raises(ArithmeticError, match="breaks say 0"):
        Verdict(State.MATCHED, expected=Decimal(4), billed=Decimal(5), broken=Decimal(1))


def test_the_random_worlds_hold_every_code_state_and_wait() -> None:
    """Otherwise the properties above would prove little."""
    wanted: set[str] = {*WRITTEN, *State, "invoice", "invoice_lines", "usage_complete", "mapping"}
    wanted |= {"price", "terms", "unit"}
    seen: set[str] = set()
    for seed in range(1_000):
        for verdict in World().fold(Scribe(seed).write(60)).verdicts(TENANT).values():
            seen |= {one.body.code for one in verdict.breaks} | {verdict.state}
            seen |= {wait.side for wait in verdict.waiting}
        if wanted <= seen:
            return
    assert wanted <= seen


# --- wrong folds: the properties must refuse them ------------------------------------------------------------------
class LatestArrivalWins(Registers):
    """Takes whatever comes last."""

    def put(self, fact: Fact) -> bool:
        if isinstance(fact, Slot):
            self.meters.setdefault(meter_key(fact), {})[fact.slot] = fact
        else:
            self.cells[fact.tenant, fact.kind, fact.key] = fact
        return True


class Adding(Registers):
    """Adds whatever comes to what its slot holds."""

    def put(self, fact: Fact) -> bool:
        if isinstance(fact, Slot):
            held = self.meters.get(meter_key(fact), {}).get(fact.slot)
            rank = fact.rank if held is None else max(fact.rank, held.rank)
            quantity = fact.quantity + (held.quantity if held else 0)
            self.meters.setdefault(meter_key(fact), {})[fact.slot] = fact._replace(quantity=quantity, rank=rank)
            return True
        return super().put(fact)


class CompleteMeansZero(Registers):
    """Reads a complete run as zero for every meter that it has not seen in it."""

    def put(self, fact: Fact) -> bool:
        if not isinstance(fact, Slot) and fact.kind == "feed" and fact.value is not None:
            end = datetime.fromisoformat(fact.value["covers_to"])
            for slots in list(self.meters.values()):
                latest = max(slots.values(), key=lambda slot: slot.at)
                if latest.kind == "gauge" and latest.rank.run < fact.rank.run:
                    zero = latest._replace(at=end, slot=fact.value["covers_to"], quantity=Decimal(0), rank=fact.rank)
                    super().put(zero)
        return super().put(fact)


def survives(registers: type[Registers]) -> bool:
    """Whether a fold passes the property of order and repetition on some random books."""
    for seed in range(25):
        given = facts(unique(Scribe(seed).write(40)))
        rng = random.Random(seed)
        one, two = registers(), registers()
        for fact in given:
            one.put(fact)
        for fact in rng.sample(given, len(given)) + rng.choices(given, k=10):
            two.put(fact)
        if one.meters != two.meters or one.cells != two.cells:
            return False
    return True


def test_the_fold_survives_what_refutes_the_wrong_ones() -> None:
    assert survives(Registers)


@pytest.mark.parametrize("wrong", [LatestArrivalWins, Adding, CompleteMeansZero])
def test_wrong_folds_are_refuted(wrong: type[Registers]) -> None:
    assert not survives(wrong)


def test_complete_is_never_zero_even_in_the_order_of_arrival() -> None:
    """A feed that sends only what changed is complete without repeating what stayed."""
    book = Book()
    book.usage("7", START, run=1)
    book.complete(run=2)
    (meter,) = book.world().registers.meters.values()
    assert [slot.quantity for slot in meter.values()] == [7]

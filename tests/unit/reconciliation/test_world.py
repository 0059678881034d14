"""From records to discrepancies, through the fold, the views and the rules."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from shared.events.discrepancies import Code, Reached
from shared.kernel.periods import Period
from shared.reconciliation.client_level import LEVEL
from shared.reconciliation.verdict import State
from shared.reconciliation.world import Group
from tests.unit.reconciliation.book import TENANT, Book, mapped_book
from tests.unit.reconciliation.given import OCTOBER, D

SEPTEMBER, NOVEMBER = Period(date(2026, 9, 1), date(2026, 10, 1)), Period(date(2026, 11, 1), date(2026, 12, 1))


def found(book: Book, start: date | None = None) -> list[tuple[str, str | None, str | None]]:
    """(code, product or identifier, amount) of every break (of the month that begins on ``start``)."""
    return sorted(
        (
            body.code.value,
            body.product or body.account or body.sku or LEVEL,
            None if body.amount is None else format(body.amount.normalize(), "f"),
        )
        for body in book.world().draw_all(TENANT).values()
        if start is None or (body.period is not None and body.period.from_ == start)
    )


def state(book: Book, period: Period = OCTOBER, product: str = "edr") -> State | None:
    verdict = book.world().verdicts(TENANT).get(Group("northwind", period, product))
    return None if verdict is None else verdict.state


def on(day: int, hour: int = 12, month: int = 10) -> datetime:
    return datetime(2026, month, day, hour, tzinfo=UTC)


def test_a_gap_shows_before_the_invoice_and_the_invoice_takes_over() -> None:
    book = mapped_book()
    book.line("northwind", "edr", "2026-01-01", unit="4.20", recurring=("40", "4.20"))
    book.usage("40", on(1))
    assert (found(book, OCTOBER.start), state(book)) == ([], State.MATCHED)
    book.usage("53", on(1, hour=18))
    assert found(book, OCTOBER.start) == [("QTY_UNDER", "edr", "54.6")]
    book.invoice("northwind", ("edr", "40", "4.20"))
    body = book.world().draw_all(TENANT)["QTY", "northwind", "2026-10-01/2026-11-01", "edr"]
    assert (body.code, body.amount, body.reached) == (Code.QTY_UNDER, D("54.60"), Reached.CLIENT_INVOICE)
    assert body.client_name == "Northwind Dental"
    book.invoice("northwind", ("edr", "53", "4.20"), version=2)
    assert (found(book, OCTOBER.start), state(book)) == ([], State.MATCHED)


def test_usage_that_is_restated_late_or_repeated_counts_as_last_asserted() -> None:
    book = mapped_book()
    book.line("northwind", "edr", "2026-01-01", unit="1")
    book.invoice("northwind", ("edr", "30", "1"))
    book.usage("20", on(2), kind="counter", run=1)
    book.usage("15", on(3), kind="counter", run=1)
    assert found(book) == [("QTY_UNDER", "edr", "5")]
    book.usage("99", on(2), kind="counter", run=0, asserted=on(1))  # an older export that arrives late
    assert found(book) == [("QTY_UNDER", "edr", "5")]
    book.usage("15", on(2), kind="counter", run=2, asserted=on(5))
    assert (found(book), state(book)) == ([], State.MATCHED)
    book.records += book.records[::-1]
    assert (found(book), state(book)) == ([], State.MATCHED)


def test_a_level_of_an_earlier_month_holds_on_once_something_says_that_it_still_held() -> None:
    book = mapped_book()
    book.line("northwind", "edr", "2026-01-01", unit="2", recurring=("5", "2"))
    book.usage("8", on(20, month=9))
    assert [group.period for group in book.world().groups(TENANT)] == [SEPTEMBER, OCTOBER, NOVEMBER]
    # September has no invoice, and its time for one is over. What happened since the 20th is not known yet.
    assert found(book) == [("UNBILLED_CLIENT", "*", "16")]
    # Now October's first level is known, and compared by agreement; and that September had none before the 20th.
    book.complete("2026-09-01", "2026-10-01")
    assert found(book) == [("QTY_UNDER", "edr", "6"), ("UNBILLED_CLIENT", "*", "5.87")]
    book.usage("8", on(9, month=11))  # and so is November's, by an observation of its own
    assert found(book) == [("QTY_UNDER", "edr", "6"), ("QTY_UNDER", "edr", "6"), ("UNBILLED_CLIENT", "*", "5.87")]


def test_what_is_unmapped_enters_no_group_and_says_whom_it_resembles() -> None:
    book = mapped_book()
    book.usage("7", on(2), account="a-9", account_name="Northwind Dental Ltd")
    book.charge("28.00", account="a-9", line="7")
    assert found(book) == [("UNMAPPED_CLIENT", "a-9", "28")]
    (body,) = book.world().draw_all(TENANT).values()
    assert [candidate.id for candidate in body.candidates] == ["northwind"]
    [step] = body.derivation
    assert (step.label, step.result, step.records, step.sources[0].type) == ("charges", 28, 1, "vendor_bill.line.v1")
    book.usage("3", on(2), sku="s-new", sku_name="Huntress EDR pilot")
    assert found(book) == [("UNMAPPED_CLIENT", "a-9", "28"), ("UNMAPPED_PRODUCT", "s-new", None)]


def test_a_mapping_regroups_what_is_already_there() -> None:
    book = mapped_book()
    book.client("harbor", "Harbor Legal")
    book.usage("7", on(2), kind="counter")
    assert found(book) == [("UNBILLED_SERVICE", "edr", None)]
    book.map("account", "huntress", "a-1", "harbor")
    assert {body.client for body in book.world().draw_all(TENANT).values()} == {"harbor"}
    book.unmap("account", "huntress", "a-1")
    assert found(book) == [("UNMAPPED_CLIENT", "a-1", None)]
    book.exclude("account", "huntress", "a-1", date(2026, 11, 3))
    assert found(book) == []
    book.tick("2026-11-03")
    assert found(book) == [("UNMAPPED_CLIENT", "a-1", None)]


def test_a_share_of_an_account_is_what_the_group_gets() -> None:
    book = mapped_book()
    book.map("account", "huntress", "a-1", "northwind", "0.5")
    book.line("northwind", "edr", "2026-01-01", unit="2")
    book.invoice("northwind", ("edr", "4", "2"))
    book.usage("10", on(2))
    assert found(book) == [("QTY_UNDER", "edr", "2")]


def phantom_book() -> Book:
    book = mapped_book()
    book.line("northwind", "edr", "2026-01-01", unit="4")
    book.invoice("northwind", ("edr", "3", "4"))
    book.complete()
    return book


def test_a_phantom_line_needs_a_complete_run() -> None:
    assert found(phantom_book()) == [("PHANTOM_LINE", "edr", "12")]
    book = phantom_book()
    book.records = [record for record in book.records if record["type"] != "feed.observed.v1"]
    assert (found(book), state(book)) == ([], State.NOT_COMPARABLE)
    book.complete("2026-10-01", "2026-10-20")
    assert state(book) is State.NOT_COMPARABLE
    book.complete("2026-10-20", "2026-11-05", run=2)
    assert found(book) == [("PHANTOM_LINE", "edr", "12")]


def test_unmapped_identifiers_come_before_the_phantoms_that_they_would_explain() -> None:
    sku = phantom_book()
    sku.usage("3", on(2), sku="s-renamed")
    assert found(sku) == [("UNMAPPED_PRODUCT", "s-renamed", None)]
    sku.map("sku", "huntress", "s-renamed", "edr")
    assert (found(sku), state(sku)) == ([], State.MATCHED)

    other = phantom_book()
    other.usage("3", on(2), account="a-9")  # the client has an account there: this one is somebody else's
    assert found(other) == [("PHANTOM_LINE", "edr", "12"), ("UNMAPPED_CLIENT", "a-9", None)]
    other.unmap("account", "huntress", "a-1")
    assert found(other) == [("UNMAPPED_CLIENT", "a-9", None)]
    other.exclude("account", "huntress", "a-9")
    assert found(other) == [("PHANTOM_LINE", "edr", "12")]


def test_a_client_without_any_invoice() -> None:
    book = mapped_book()
    book.line("northwind", "edr", "2026-01-01", unit="4.20", recurring=("40", "4.20"))
    book.line("northwind", "helpdesk", "2026-01-01", flat="150", recurring=("1", "150"), contract="C-2")
    book.usage("53", on(2))
    october = [("QTY_UNDER", "edr", "54.6")]
    september = ("UNBILLED_CLIENT", "*", "150")  # the month before the calendar began: the flat fee alone
    assert found(book) == [*october, september]
    book.tick("2026-11-06")
    assert found(book) == [september, ("UNBILLED_CLIENT", "*", "372.6")]
    (expected,) = (
        step
        for body in book.world().draw_all(TENANT).values()
        for step in body.derivation
        if body.code is Code.UNBILLED_CLIENT and step.label == "expected" and step.result > 300
    )
    # Two contract lines and the observation of the highest level.
    assert expected.records == len(expected.sources) == 3
    assert {source.type for source in expected.sources} == {"contract.agreed.v1", "usage.metered.v1"}
    book.invoice("northwind", ("edr", "53", "4.20"), ("helpdesk", "1", "150"), send=1)
    assert found(book) == [*october, september]
    book.invoice("northwind", ("edr", "53", "4.20"), ("helpdesk", "1", "150"))
    assert found(book) == [september]
    book.void()
    assert found(book) == [september, ("UNBILLED_CLIENT", "*", "372.6")]


def test_a_contract_of_years_ago_is_not_years_of_missing_invoices() -> None:
    book = mapped_book()
    book.line("northwind", "helpdesk", "2019-01-01", flat="150", recurring=("1", "150"))
    book.usage("5", datetime(2025, 3, 3, tzinfo=UTC), kind="counter")  # loaded, of a month before the books opened
    assert [(code, amount) for code, _, amount in found(book)] == [("UNBILLED_CLIENT", "150")]
    march = Group("northwind", Period(date(2025, 3, 1), date(2025, 4, 1)), LEVEL)
    assert book.world().verdicts(TENANT)[march].state is State.NOT_COMPARABLE


def test_an_invoice_of_an_old_month_opens_that_month_for_all_of_the_clients_lines() -> None:
    book = mapped_book()
    book.line("northwind", "helpdesk", "2019-01-01", flat="150")
    book.invoice("northwind", ("backup", "0", "0"), month=("2025-03-01", "2025-04-01"))
    assert ("MISSING_LINE", "helpdesk", "150") in found(book)


def test_the_clients_own_zone_serves_its_months() -> None:
    book = mapped_book()
    book.client("northwind", "Northwind Dental", time_zone="America/New_York", asserted=on(2))
    book.line("northwind", "edr", "2026-01-01", unit="1")
    book.invoice("northwind", ("edr", "5", "1"))
    book.usage("5", on(1, 4), kind="counter")
    book.usage("70", on(1, 3), kind="counter")  # still September in New York
    assert ("QTY_UNDER", "edr", "70") not in found(book)
    assert state(book) is State.MATCHED
    book.usage("2", on(1, 3, month=11), kind="counter")  # still October there
    assert ("QTY_UNDER", "edr", "2") in found(book)


def test_tolerances_and_grace_are_the_tenants_own() -> None:
    book = mapped_book()
    book.line("northwind", "edr", "2026-01-01", unit="4", recurring=("5", "4"))
    book.usage("6", on(2), kind="counter")
    assert ("QTY_UNDER", "edr", "4") in found(book)
    book.set("tolerance.quantity.absolute", "1")
    assert ("QTY_UNDER", "edr", "4") not in found(book)
    book.set("invoice.grace_days", "0")
    assert ("UNBILLED_CLIENT", "*", "24") in found(book)


def test_tenants_are_kept_apart() -> None:
    book = mapped_book()
    book.usage("7", on(2))
    world = book.world()
    assert world.draw_all("another-msp") == {}
    assert world.groups("another-msp") == []


def test_folding_more_draws_anew() -> None:
    book = mapped_book()
    book.line("northwind", "edr", "2026-01-01", unit="1", recurring=("5", "1"))
    book.usage("5", on(2))
    world = book.world()
    assert not world.draw_all(TENANT)
    world.fold([book.usage("6", on(3))])
    assert [body.code for body in world.draw_all(TENANT).values()] == [Code.QTY_UNDER]


def test_a_missing_line_names_the_invoices_that_lack_it_and_a_list_price_its_product() -> None:
    book = mapped_book()
    book.product("edr", "Huntress EDR", list_price=Decimal("5.00"), currency="EUR")
    book.product("backup", "Backup")
    book.line("northwind", "backup", "2026-01-01", flat="150")
    book.usage("7", on(2))
    book.invoice("northwind", ("voice", "1", "9.00"))
    october = [body for body in book.world().draw_all(TENANT).values() if body.period and body.period.from_.month == 10]
    steps = {(body.code, step.label): step for body in october for step in body.derivation}
    for code in (Code.MISSING_LINE, Code.UNBILLED_SERVICE):
        assert [source.type for source in steps[code, "billed"].sources] == ["invoice.issued.v1"]
        assert (steps[code, "billed"].records, steps[code, "billed"].result) == (1, 0)
    assert [source.type for source in steps[Code.UNBILLED_SERVICE, "expected"].sources] == ["product.recorded.v1"]

"""What holds for every group, whatever its figures: no crash, a residual of zero, one verdict for any order."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from decimal import Decimal
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.contracts import (
    BillingPeriod,
    CostPlusPrice,
    GraduatedPrice,
    PackagePrice,
    PercentagePrice,
    Tier,
    UnitPrice,
    VolumePrice,
)
from shared.events.discrepancies import DiscrepancyBody
from shared.kernel.money import exponent
from shared.kernel.periods import Period
from shared.reconciliation.compare import draw_group
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import (
    ClosedGroup,
    GroupInputs,
    InvoiceLineFacts,
    InvoiceState,
    LineVersion,
    Measured,
    Product,
    Settings,
    Unmapped,
    VendorLine,
)
from shared.reconciliation.verdict import LineState, State, Verdict, body_bytes
from tests.unit.reconciliation.given import (
    COMPLETE,
    INVOICED,
    OCTOBER,
    at,
    counter,
    flat_line,
    gauge,
    group,
    posted,
    record,
    unit_line,
)

SMALL = st.integers(-20, 400).map(lambda n: str(Decimal(n) / 4))
ANY = st.decimals(-(10**20) + 1, 10**20 - 1, places=18).map(str)
FIGURES = st.one_of(SMALL, SMALL, SMALL, ANY)
PRICES = st.one_of(st.integers(0, 900).map(lambda n: str(Decimal(n) / 100)), ANY.map(lambda text: text.lstrip("-")))
CURRENCIES = st.sampled_from(["EUR"] * 12 + ["JPY"])


@st.composite
def _meter(draw: st.DrawFn, number: int) -> Measured:
    share = Decimal(draw(st.sampled_from(["1", "1", "0.3", "0.123456789012345678"])))
    if draw(st.booleans()):
        return counter(draw(FIGURES), account=f"a-{number}", share=share, unit="agent")
    levels = [(at(draw(st.integers(1, 28))), draw(FIGURES)) for _ in range(draw(st.integers(0, 4)))]
    return gauge(*sorted(set(levels)), account=f"a-{number}", share=share)


TIERS = (Tier(up_to=Decimal(8), unit_amount=Decimal(4), flat_amount=Decimal(9)), Tier(unit_amount=Decimal("2.5")))
TERMS: list[dict[str, Any]] = [
    *[{"statistic": "max"}] * 4,
    {"statistic": "prorated"},
    {"statistic": "prorated"},
    {"statistic": "time_weighted"},
    {"price": GraduatedPrice(kind="graduated", tiers=TIERS)},
    {"price": VolumePrice(kind="volume", tiers=TIERS)},
    {"price": PackagePrice(kind="package", size=Decimal(25), amount=Decimal(6))},
    {"price": PercentagePrice(kind="percentage", rate_pct=Decimal("2.5"), fixed=Decimal("0.3"))},
    {"price": CostPlusPrice(kind="cost_plus", factor=Decimal("1.25"))},
    {"minimum_amount": Decimal(300)},
    {"minimum_quantity": Decimal(20), "discount_pct": Decimal(10)},
    {"period": BillingPeriod(unit="quarter", anchor=date(2026, 1, 1))},
    {"period": BillingPeriod(day=15)},
    {"period": BillingPeriod(unit="week")},
    {"proration": "none", "billing": "advance"},
    {"excluded": True},
    {"meter": "quantity"},
]
PRODUCTS = ["edr"] * 6 + ["mail", "m365"]
SUITE = (Product("m365", "M365 Suite", components=("edr", "mail")), Product("mail", "Mail"))
PERIODS = [OCTOBER] * 8 + [
    Period(date(2026, 10, 1), date(2027, 1, 1)),
    Period(date(2026, 9, 15), date(2026, 10, 15)),
    Period(date(2026, 10, 7), date(2026, 11, 1)),
]


@st.composite
def _lines(draw: st.DrawFn) -> list[LineVersion]:
    lines: list[LineVersion] = []
    for number in range(draw(st.sampled_from([0, 1, 1, 1, 1, 2, 3]))):
        make = draw(st.sampled_from([unit_line, unit_line, unit_line, flat_line]))
        recurring = draw(st.one_of(st.none(), FIGURES))
        line = make(draw(PRICES), recurring, at_price=draw(FIGURES), line=str(number), currency=draw(CURRENCIES))
        assert line.terms is not None
        changes = draw(st.sampled_from(TERMS))
        if draw(st.booleans()) and make is unit_line:
            changes = {**changes, "included": Decimal(5)}
        since = draw(st.sampled_from([date(2026, 1, 1)] * 6 + [date(2026, 10, 7)]))
        terms = line.terms.model_copy(update=changes)
        line = replace(line, terms=terms, effective_from=since, product=draw(st.sampled_from(PRODUCTS)))
        lines.append(line)
        later = draw(st.sampled_from([None] * 5 + ["ends", "ended", "price"]))
        if later is not None:
            day = date(2026, 10, 1) if later == "ended" else date(2026, 10, 19)
            price = UnitPrice(kind="unit", unit_amount=Decimal(3))
            after = terms.model_copy(update={"price": price}) if later == "price" else None
            lines.append(replace(line, effective_from=day, terms=after))
    return lines


@st.composite
def _posted(draw: st.DrawFn, number: int) -> InvoiceLineFacts:
    # What was agreed, to the cent, is more likely than anything else: matches are cases too.
    quantity, price = draw(st.sampled_from([("40", "4.20"), ("40", "4.20"), None])) or (draw(FIGURES), draw(FIGURES))
    stated = draw(st.one_of(st.none(), st.none(), FIGURES))
    line = posted(
        quantity,
        price,
        stated,
        line=str(number),
        kind=draw(st.sampled_from(["invoice"] * 3 + ["credit_note"])),
        currency=draw(CURRENCIES),
        product=draw(st.sampled_from(PRODUCTS)),
        period=draw(st.sampled_from(PERIODS)),
        contract=draw(st.sampled_from([None, "C-1042"])),
        contract_line=draw(st.sampled_from([None, "0", "1"])),
        corrects=draw(st.sampled_from([None, "INV-20931"])),
        exchange_rate=Decimal("1.1"),
        exchange_from=draw(st.sampled_from([None, "EUR"])),
    )
    return replace(line, amount=Decimal(7)) if line.amount.as_tuple().exponent < -18 else line  # type: ignore[operator]


@st.composite
def groups(draw: st.DrawFn) -> GroupInputs:
    """Groups of every shape; most of them comparable."""
    listed = draw(st.sampled_from([None, Decimal("2.5"), Decimal(10) ** 19]))
    meters = [draw(_meter(number)) for number in range(draw(st.integers(0, 3)))]
    charge = VendorLine(
        "focus", "contoso", "B-1", 1, "1", "a", "s", "edr", Decimal(1), "Usage", False, at(1), at(2), Decimal(9), "h",
        None, Decimal("100.00"), "EUR", record("vendor_bill.line.v1", "B-1/1"),
    )  # fmt: skip
    shut = ClosedGroup("EUR", Decimal(168), Decimal(168), Decimal(40), 2, record("statement.group_closed.v1", "c"))
    return group(
        lines=tuple(draw(_lines())),
        used=tuple(replace(meter, product=draw(st.sampled_from(PRODUCTS))) for meter in meters),
        invoice=tuple(draw(_posted(number)) for number in range(draw(st.integers(0, 4)))),
        invoices=draw(st.sampled_from([INVOICED, InvoiceState(), InvoiceState(incomplete=("INV-9: 0 of 1 lines",))])),
        as_of=draw(st.sampled_from([None, date(2026, 10, 14), date(2026, 11, 2), date(2026, 12, 1)])),
        feeds=draw(st.sampled_from([(), COMPLETE, COMPLETE])),
        product=Product("edr", "E" * draw(st.sampled_from([9, 300])), list_price=listed, currency="EUR"),
        others=SUITE,
        vendor_lines=draw(st.sampled_from([(), (), (charge, replace(charge, line="2", product="mail"))])),
        closed=draw(st.sampled_from([None, None, shut])),
        unmapped=draw(st.sampled_from([(), (Unmapped("sku", "huntress", "s"), Unmapped("sku", "huntress", "t"))])),
        settings=draw(
            st.sampled_from([Settings(), Settings(quantity_absolute=Decimal(3), unit_price_relative_pct=Decimal(9))])
        ),
    )


OURS = ("QTY_UNDER", "QTY_OVER", "UNBILLED_SERVICE", "MISSING_LINE")
"""Their amounts follow from our figures alone, and not from what is printed on an invoice."""


@exact
def _check(verdict: Verdict) -> None:
    if verdict.expected is not None and verdict.billed is not None:
        assert verdict.billed - verdict.expected - verdict.explained - verdict.broken == 0
        assert (verdict.explained == 0) or verdict.explained_by
    assert (verdict.state is State.BREAK) == bool(verdict.breaks)
    assert verdict.state is not State.NOT_COMPARABLE or verdict.waiting
    assert len({one.stream_key for one in verdict.breaks}) == len(verdict.breaks)
    assert len({line.key for line in verdict.lines}) == len(verdict.lines)
    told = {code for line in verdict.lines for code in line.codes}
    assert {one.body.code for one in verdict.breaks if one.side == "client"} <= told
    sums = [line for line in verdict.lines if line.expected is not None and line.billed is not None]
    if verdict.expected is not None and verdict.billed is not None:
        assert (verdict.expected, verdict.billed, verdict.explained, verdict.broken) == (
            sum(line.expected or 0 for line in sums),
            sum(line.billed or 0 for line in sums),
            sum(line.explained + line.pending for line in sums),
            sum(line.broken for line in sums),
        )
    for line in verdict.lines:
        assert line.state is not LineState.PENDING or line.by
        assert line.expected is None or line.billed is None or line.state is not LineState.MATCHED or not line.explained
    for one in verdict.breaks:
        _check_body(one.body)


def _check_body(body: DiscrepancyBody) -> None:
    assert DiscrepancyBody.model_validate_json(body_bytes(body)) == body
    assert body.remedy
    assert (body.standing is None) == (body.amount is None)
    assert body.why
    assert body.tolerance is not None
    if body.amount is not None:
        assert body.currency is not None
        assert body.code not in OURS or _whole(body.amount, body.currency)
        assert body.derivation[-1].result == body.amount


def _whole(amount: Decimal, currency: str) -> bool:
    """Amounts of ours are whole minor units; what is printed on an invoice may have more decimals."""
    return -int(amount.as_tuple().exponent) <= exponent(currency)


COLLECTIONS = [
    *("lines", "measured", "invoice_lines", "feeds", "feed_sources", "unmapped"),
    *("others", "vendor_lines", "entries", "missed"),
]


@settings(max_examples=300, deadline=None)
@given(groups(), st.integers(0, 2**16))
def test_any_group_has_one_verdict_with_a_residual_of_zero(inputs: GroupInputs, order: int) -> None:
    verdict = draw_group(inputs)
    rng = random.Random(order)
    shuffled = replace(
        inputs,
        **{name: tuple(rng.sample(getattr(inputs, name), len(getattr(inputs, name)))) for name in COLLECTIONS},
    )
    again = draw_group(shuffled)
    assert verdict == again
    if verdict is None or again is None:
        return
    _check(verdict)
    assert [body_bytes(one.body) for one in verdict.breaks] == [body_bytes(one.body) for one in again.breaks]


@settings(max_examples=150, deadline=None)
@given(groups())
def test_what_rests_on_absence_is_never_concluded_before_usage_is_complete(inputs: GroupInputs) -> None:
    # Without a vendor's bill, which says what was used where no meter does.
    verdict = draw_group(replace(inputs, feeds=(), vendor_lines=()))
    if verdict is not None:
        assert not {one.body.code.value for one in verdict.breaks} & {"QTY_OVER", "PHANTOM_LINE"}

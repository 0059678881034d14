"""What holds for every group, whatever its figures: no crash, a residual of zero, one verdict for any order."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import date
from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st

from shared.events.discrepancies import Direction, DiscrepancyBody
from shared.kernel.money import exponent
from shared.reconciliation.compare import draw_group
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import GroupInputs, InvoiceState, Measured, Product, Settings, Unmapped
from shared.reconciliation.verdict import State, Verdict, body_bytes
from tests.unit.reconciliation.given import COMPLETE, INVOICED, at, counter, flat_line, gauge, group, posted, unit_line

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


@st.composite
def groups(draw: st.DrawFn) -> GroupInputs:
    """Groups of every shape; most of them comparable."""
    line_count = draw(st.sampled_from([0, 1, 1, 1, 1, 2]))
    lines = []
    for number in range(line_count):
        make = draw(st.sampled_from([unit_line, unit_line, unit_line, flat_line]))
        included = {"included": draw(st.sampled_from(["0", "0", "5"]))} if make is unit_line else {}
        recurring = draw(st.one_of(st.none(), FIGURES))
        line = make(
            draw(PRICES), recurring, at_price=draw(FIGURES), line=str(number), currency=draw(CURRENCIES), **included
        )
        since = draw(st.sampled_from([date(2026, 1, 1)] * 6 + [date(2026, 10, 7)]))
        lines.append(replace(line, effective_from=since))
    posted_lines = [
        posted(
            draw(FIGURES),
            draw(FIGURES),
            draw(st.one_of(st.none(), FIGURES)) if draw(st.booleans()) else None,
            line=str(number),
            kind=draw(st.sampled_from(["invoice", "invoice", "credit_note"])),
            currency=draw(CURRENCIES),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    if any(line.amount.as_tuple().exponent < -18 for line in posted_lines):
        posted_lines = [replace(line, amount=Decimal(7)) for line in posted_lines]
    listed = draw(st.sampled_from([None, Decimal("2.5"), Decimal(10) ** 19]))
    return group(
        lines=tuple(lines),
        used=tuple(draw(_meter(number)) for number in range(draw(st.integers(0, 2)))),
        invoice=tuple(posted_lines),
        invoices=draw(st.sampled_from([INVOICED, InvoiceState(), InvoiceState(incomplete=("INV-9: 0 of 1 lines",))])),
        as_of=draw(st.sampled_from([None, date(2026, 10, 14), date(2026, 11, 2), date(2026, 12, 1)])),
        feeds=draw(st.sampled_from([(), COMPLETE])),
        product=Product("edr", "E" * draw(st.sampled_from([9, 300])), list_price=listed, currency="EUR"),
        unmapped=draw(st.sampled_from([(), (Unmapped("sku", "huntress", "s"),)])),
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
    for one in verdict.breaks:
        _check_body(one.body)


def _check_body(body: DiscrepancyBody) -> None:
    assert DiscrepancyBody.model_validate_json(body_bytes(body)) == body
    assert body.direction in (Direction.CLIENT_OWES_US, Direction.WE_OWE_CLIENT)
    assert body.why
    assert body.tolerance is not None
    if body.amount is not None:
        assert body.currency is not None
        assert body.code not in OURS or _whole(body.amount, body.currency)
        assert body.derivation[-1].result == body.amount


def _whole(amount: Decimal, currency: str) -> bool:
    """Amounts of ours are whole minor units; what is printed on an invoice may have more decimals."""
    return -int(amount.as_tuple().exponent) <= exponent(currency)


@settings(max_examples=600, deadline=None)
@given(groups(), st.integers(0, 2**16))
def test_any_group_has_one_verdict_with_a_residual_of_zero(inputs: GroupInputs, order: int) -> None:
    verdict = draw_group(inputs)
    rng = random.Random(order)
    shuffled = replace(
        inputs,
        **{
            name: tuple(rng.sample(getattr(inputs, name), len(getattr(inputs, name))))
            for name in ("lines", "measured", "invoice_lines", "feeds", "feed_sources", "unmapped")
        },
    )
    again = draw_group(shuffled)
    assert verdict == again
    if verdict is None or again is None:
        return
    _check(verdict)
    assert [body_bytes(one.body) for one in verdict.breaks] == [body_bytes(one.body) for one in again.breaks]


@settings(max_examples=200, deadline=None)
@given(groups())
def test_what_rests_on_absence_is_never_concluded_before_usage_is_complete(inputs: GroupInputs) -> None:
    verdict = draw_group(replace(inputs, feeds=()))
    if verdict is not None:
        assert not {one.body.code.value for one in verdict.breaks} & {"QTY_OVER", "PHANTOM_LINE"}

"""UNMAPPED_CLIENT and UNMAPPED_PRODUCT, and their candidates."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from shared.events.discrepancies import Code, Direction, Reached
from shared.reconciliation.inputs import UnmappedInputs, VendorCost
from shared.reconciliation.unmapped import draw_unmapped
from shared.reconciliation.verdict import State, body_bytes
from tests.unit.reconciliation.given import D, only_break

KNOWN = (
    ("atlas", "Atlas Nimbus Ltd"),
    ("atlas-2", "Atlas Nimbus Ltd"),
    ("harbor", "Harbor Legal Group"),
    ("north", "Northwind Dental"),
    ("zen", "Zenith Optics"),
)
INPUTS = UnmappedInputs("account", "huntress", "org-77", "Atlas Nimbus", False, VendorCost(D("28.004"), "EUR"), KNOWN)


def test_an_unmapped_account() -> None:
    verdict = draw_unmapped(INPUTS)
    assert verdict is not None
    body = only_break(verdict)
    assert (body.code, body.direction, body.reached) == (
        Code.UNMAPPED_CLIENT,
        Direction.CLIENT_OWES_US,
        Reached.NOWHERE,
    )
    assert (body.vendor_source, body.account, body.sku, body.client, body.period) == (
        "huntress",
        "org-77",
        None,
        None,
        None,
    )
    assert (body.amount, body.currency) == (D("28.00"), "EUR")
    assert body.why == (
        "account org-77 (Atlas Nimbus) of huntress is mapped to no client; its vendor charges EUR 28.00; "
        "most like Atlas Nimbus Ltd"
    )
    assert verdict.breaks[0].stream_key == ("UNMAPPED", "", "", "account", "huntress", "org-77")


def test_candidates_are_ranked_with_ties_by_id() -> None:
    verdict = draw_unmapped(INPUTS)
    assert verdict is not None
    first, second, *_ = only_break(verdict).candidates
    assert (first.id, second.id, first.score) == ("atlas", "atlas-2", second.score)
    assert first.why == 'name "Atlas Nimbus" resembles "Atlas Nimbus Ltd"'
    assert D("0.5") <= first.score <= 1


def test_the_same_id_is_the_first_candidate() -> None:
    verdict = draw_unmapped(replace(INPUTS, key="zen", name="Atlas Nimbus Ltd"))
    assert verdict is not None
    first = only_break(verdict).candidates[0]
    assert (first.id, first.score, first.why) == ("zen", D(1), "same id")


def test_a_sku_without_a_name_is_compared_by_its_id() -> None:
    inputs = UnmappedInputs("sku", "huntress", "managed edr", None, False, None, (("edr", "Managed EDR"),))
    verdict = draw_unmapped(inputs)
    assert verdict is not None
    body = only_break(verdict)
    assert (body.code, body.sku, body.amount, body.candidates[0].id) == (
        Code.UNMAPPED_PRODUCT,
        "managed edr",
        None,
        "edr",
    )
    nothing = draw_unmapped(replace(inputs, known=(("x", "Zzz"),)))
    assert nothing is not None
    assert only_break(nothing).why == "sku managed edr of huntress is mapped to no product; no product resembles it"


def test_costs_that_are_no_charge_give_no_amount() -> None:
    for cost in (None, VendorCost(D("-3"), "EUR"), VendorCost(D(0), "EUR")):
        verdict = draw_unmapped(replace(INPUTS, cost=cost))
        assert verdict is not None
        assert (only_break(verdict).amount, only_break(verdict).currency) == (None, None)


def test_mapped_is_no_verdict_and_an_exclusion_that_ends_says_when() -> None:
    assert draw_unmapped(replace(INPUTS, mapped=True)) is None
    verdict = draw_unmapped(replace(INPUTS, mapped=True, until=date(2027, 1, 1)))
    assert verdict is not None
    assert (verdict.state, verdict.breaks, verdict.next_change) == (State.MATCHED, (), date(2027, 1, 1))


def test_the_order_of_what_is_known_does_not_matter() -> None:
    one, two = draw_unmapped(INPUTS), draw_unmapped(replace(INPUTS, known=KNOWN[::-1]))
    assert one is not None
    assert two is not None
    assert body_bytes(only_break(one)) == body_bytes(only_break(two))


def test_names_of_any_length_fit() -> None:
    verdict = draw_unmapped(replace(INPUTS, name="x" * 300, known=(("x", "x" * 300),)))
    assert verdict is not None
    assert len(only_break(verdict).candidates[0].why) == 300

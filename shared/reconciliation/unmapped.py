"""UNMAPPED_CLIENT and UNMAPPED_PRODUCT: a vendor's identifier that has usage or charges, and that nobody has mapped."""

from __future__ import annotations

from decimal import Decimal

from rapidfuzz import fuzz, process, utils

from shared.events.discrepancies import Candidate, Code, Direction, DiscrepancyBody, Reached, Standing, Step
from shared.kernel.money import exponent, money
from shared.reconciliation import words
from shared.reconciliation.exact import exact
from shared.reconciliation.inputs import UnmappedInputs, VendorCost
from shared.reconciliation.remedies import remedy
from shared.reconciliation.rules.base import EXACT
from shared.reconciliation.verdict import FAMILIES, Break, State, Verdict

_CANDIDATES = 5
_LEAST_SCORE = 50
_SAME = Decimal(1)


@exact
def draw_unmapped(inputs: UnmappedInputs) -> Verdict | None:
    """The verdict on one identifier; ``None`` once it is mapped (an exclusion that ends says when to look again)."""
    if inputs.mapped:
        return None if inputs.until is None else Verdict(State.MATCHED, next_change=inputs.until)
    is_account = inputs.kind == "account"
    code = Code.UNMAPPED_CLIENT if is_account else Code.UNMAPPED_PRODUCT
    cost = inputs.cost
    amount = None if cost is None or cost.amount <= 0 else money(cost.amount, cost.currency)
    currency = None if cost is None or amount is None else cost.currency
    found = candidates(inputs)
    body = DiscrepancyBody(
        code=code,
        family=FAMILIES[code],
        vendor_source=inputs.source,
        account=inputs.key if is_account else None,
        sku=None if is_account else inputs.key,
        direction=Direction.CLIENT_OWES_US,
        standing=None if amount is None else Standing.AT_RISK,
        remedy=remedy(code, Direction.CLIENT_OWES_US),
        amount=amount,
        currency=currency,
        tolerance=EXACT,
        reached=Reached.NOWHERE,
        why=_why(inputs, amount, currency, found),
        derivation=() if cost is None or amount is None else (_charges(inputs.source, cost, amount),),
        candidates=found,
    )
    return Verdict(State.BREAK, breaks=(Break((inputs.kind, inputs.source, inputs.key), body),))


def _charges(source: str, cost: VendorCost, amount: Decimal) -> Step:
    return Step(
        label="charges",
        formula=words.clip(f"sum of {cost.records} charges of {source}: {words.quantity(cost.amount)}", words.SENTENCE),
        result=amount,
        rounding=f"half_up {exponent(cost.currency)}",
        sources=cost.sample,
        records=cost.records,
    )


def _why(inputs: UnmappedInputs, amount: Decimal | None, currency: str | None, found: tuple[Candidate, ...]) -> str:
    named = f" ({inputs.name})" if inputs.name else ""
    target = "client" if inputs.kind == "account" else "product"
    parts = [f"{inputs.kind} {inputs.key}{named} of {inputs.source} is mapped to no {target}"]
    if amount is not None and currency is not None:
        parts.append(f"its vendor charges {currency} {words.price(amount, currency)}")
    parts.append(f"most like {found[0].name}" if found else f"no {target} resembles it")
    return words.clip("; ".join(parts), words.SENTENCE)


def candidates(inputs: UnmappedInputs) -> tuple[Candidate, ...]:
    """The clients or products that the identifier probably is, best first, ties by id: the one with the very same id,
    then those whose names resemble its own (or the identifier, where the vendor gives no name)."""
    known = dict(inputs.known)
    scored: dict[str, tuple[Decimal, str]] = {}
    text = inputs.name or inputs.key
    what = "name" if inputs.name else "id"
    matches = process.extract(
        text,
        known,
        scorer=fuzz.WRatio,
        processor=utils.default_process,
        score_cutoff=_LEAST_SCORE,
        limit=None,
    )
    for name, score, one in matches:
        # Two digits: more would only be noise of the scorer.
        scored[one] = (Decimal(f"{score / 100:.2f}"), f'{what} "{text}" resembles "{name}"')
    if inputs.key in known:
        scored[inputs.key] = (_SAME, "same id")
    ranked = sorted(scored.items(), key=lambda item: (-item[1][0], item[1][1] != "same id", item[0]))
    return tuple(
        Candidate(id=one, name=known[one], score=score, why=words.clip(why))
        for one, (score, why) in ranked[:_CANDIDATES]
    )

"""What is billed for each expected line: the posted lines that answer it, or what its agreement is set to bill."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import NamedTuple

from shared.events.contracts import FlatPrice, UnitPrice
from shared.events.discrepancies import Source
from shared.kernel.money import exponent, money, split_largest_remainder
from shared.kernel.periods import Period
from shared.reconciliation import words
from shared.reconciliation.allocation import Offered, Wanted, allocate
from shared.reconciliation.case import Billed, Charge, Expected
from shared.reconciliation.chains import Chain
from shared.reconciliation.inputs import InvoiceLineFacts
from shared.reconciliation.rating import fraction
from shared.reconciliation.rating.fraction import WHOLE, Share, share_of
from shared.reconciliation.rating.grid import zone_of
from shared.reconciliation.rating.model import Number
from shared.reconciliation.rating.numbers import plus
from shared.reconciliation.usage import Demand, Group, parts_meeting
from shared.reconciliation.verdict import Waiting
from shared.reconciliation.views import sample

_ZERO = Decimal(0)
_UNITS = 9


@dataclass(slots=True)
class Answers:
    """Who answers what."""

    charges: dict[tuple[str, ...], list[Charge]] = field(default_factory=dict)
    """By the key of the expected line."""
    left: dict[str, list[Charge]] = field(default_factory=dict)
    """By product: lines that answer no expected line."""
    troubles: dict[tuple[str, ...], list[Waiting]] = field(default_factory=dict)
    """By the key of the expected line: posted lines that cannot be laid on its parts."""
    strays: list[tuple[InvoiceLineFacts, Waiting]] = field(default_factory=list)
    """Lines of the month whose part began in an earlier one, that cannot be laid on its parts, or that no invoice of
    the month stands beside."""


class _Piece(NamedTuple):
    """A posted line, or the share of it that lies in one part."""

    charge: Charge
    period: Period

    @property
    def key(self) -> tuple[str, ...]:
        return (*self.charge.key, self.period.start.isoformat())


def answers(group: Group, found: Sequence[Demand], expected: Mapping[tuple[str, ...], Expected]) -> Answers:
    """Lay the posted lines on the expected ones: first in time, then by allocation on what is left of each."""
    result = Answers()
    posted = sorted(group.inputs.invoice_lines, key=posted_order)
    month = group.inputs.period
    # The usual case: every part is the month, and so is what is billed.
    plain = all(demand.period == month for demand in found) and bool(found or not group.chains)
    pieces = [
        piece
        for line in posted
        for piece in (
            [_Piece(Charge(line, line.quantity, line.amount), month)]
            if plain and line.period == month
            else _laid(group, found, line, result)
        )
    ]
    if len(found) == 1 and all(_touches(group, found[0].product, piece) for piece in pieces):
        # Whatever is posted answers the only line that asks: how well, is for the rules to say.
        product = found[0].product
        result.charges[found[0].key] = [
            piece.charge if _product(group, piece) == product else piece.charge.money_alone() for piece in pieces
        ]
        return result
    if found and pieces:
        pieces = _allocated(group, found, expected, pieces, result)
    for piece in pieces:
        result.left.setdefault(_product(group, piece), []).append(piece.charge)
    result.charges = {key: _joined(charges) for key, charges in result.charges.items()}
    result.left = {product: _joined(charges) for product, charges in result.left.items()}
    return result


def _joined(charges: list[Charge]) -> list[Charge]:
    """Shares of one line as one."""
    if len(charges) < 2:
        return charges
    joined: dict[tuple[str, ...], Charge] = {}
    for one in charges:
        before = joined.get(one.key)
        if before is not None:
            amount = before.amount + one.amount
            whole = amount == one.line.amount and before.quantity
            one = Charge(one.line, one.line.quantity if whole else before.quantity + one.quantity, amount)
        joined[one.key] = one
    return list(joined.values())


def posted_order(line: InvoiceLineFacts) -> tuple[str, str, str]:
    return (line.source, line.invoice, line.line)


def _product(group: Group, piece: _Piece) -> str:
    return group.product_of(piece.charge.line.product)


def _touches(group: Group, product: str, piece: _Piece) -> bool:
    other = _product(group, piece)
    if other == product:
        return True
    return other in group.kin.get(product, ()) and other not in group.used


# --- in time -----------------------------------------------------------------------------------------------------
def _laid(group: Group, found: Sequence[Demand], line: InvoiceLineFacts, result: Answers) -> list[_Piece]:
    """A posted line as it lies on the parts of the month: whole on the one part that it meets, split over several that
    it fills. What belongs to another month is not here."""
    month = group.inputs.period
    charge = Charge(line, line.quantity, line.amount)
    of = _meant(group, line)
    met = sorted({(part.start, part.end) for chain in of for part in parts_meeting(chain, line.period)})
    met += [
        (one.part.start, one.part.end)
        for one in found
        if one.over and one.chains[0] in of and _meet(one.period, line.period)
    ]
    here = [span for span in met if month.contains(span[0])]
    if (line.period.start, line.period.end) in met:
        return [_Piece(charge, line.period)] if here else []
    if len(met) == 1:
        if here:
            return [_Piece(charge, Period(*here[0]))]
        if month.contains(line.period.start):
            began = f"{line.invoice} line {line.line} bills {words.month(line.period)} of what began on {met[0][0]}"
            result.strays.append((line, Waiting("partial_period", words.clip(began), None)))
        return []
    if not met:
        if not of and line.period != month:
            return [_Piece(charge, line.period)] if month.contains(line.period.start) else []
        return [_Piece(charge, month)] if month.contains(line.period.start) else []
    if any(one[1] > two[0] for one, two in pairwise(met)) and line.period == month:
        return [_Piece(charge, month)]  # several lines at a time: which of them it bills is a matter of allocation
    if _holds(line.period, met):
        return _split(of, found, charge, met, month)
    what = Waiting("partial_period", f"{line.invoice} line {line.line} bills {words.month(line.period)}", None)
    if month.contains(line.period.start):
        result.strays.append((line, what))
    for demand in found:
        if demand.chains[0] in of and _meet(demand.period, line.period):
            result.troubles.setdefault(demand.key, []).append(what)
    return []


def _meant(group: Group, line: InvoiceLineFacts) -> list[Chain]:
    """The contract lines that a posted line may bill: the one it names, those of its contract, of its product, or of a
    product that it touches."""
    product = group.product_of(line.product)
    named = [chain for chain in group.chains if chain.contract == line.contract and line.contract is not None]
    exactly = [chain for chain in named if chain.line == line.contract_line]
    same = [chain for chain in group.chains if chain.product == product]
    touching = [chain for chain in group.chains if chain.product in group.kin.get(product, ())]
    return exactly or [chain for chain in named if chain.product == product] or same or touching


def _meet(one: Period, other: Period) -> bool:
    return one.start < other.end and other.start < one.end


def _holds(period: Period, met: Sequence[tuple[date, date]]) -> bool:
    """Whether a period holds all parts that it meets, one after the other."""
    apart = all(one[1] <= two[0] for one, two in pairwise(met))
    return apart and period.start <= met[0][0] and met[-1][1] <= period.end


def _split(
    of: Sequence[Chain], found: Sequence[Demand], charge: Charge, met: Sequence[tuple[date, date]], month: Period
) -> list[_Piece]:
    """Money by the parts' fractions of their periods; units are what stood all along, unless they add up."""
    line = charge.line
    known = {
        (part.start, part.end): fraction(chain.service, part)
        for chain in of
        for part in parts_meeting(chain, line.period)
    }
    known |= {(one.part.start, one.part.end): fraction(one.service, one.part) for one in found if one.over}
    weights = [Fraction(known[span]) for span in met]
    scale = max(exponent(line.currency), -int(line.amount.as_tuple().exponent))
    amounts = split_largest_remainder(line.amount, weights, scale)
    adds_up = _at_one_parts_price(of, charge, sum(weights, Fraction(0))) or any(
        demand.supply.measured is not None and demand.supply.measured.kind == "counter"
        for demand in found
        if demand.chains[0] in of and not isinstance(demand.terms.price, FlatPrice)
    )
    quantities = [line.quantity] * len(met)
    if adds_up:
        units = max(_UNITS, -int(line.quantity.as_tuple().exponent))
        quantities = split_largest_remainder(line.quantity, weights, units)
    return [
        _Piece(Charge(line, quantity, amount), Period(*span))
        for span, quantity, amount in zip(met, quantities, amounts, strict=True)
        if month.contains(span[0])
    ]


def _at_one_parts_price(of: Sequence[Chain], charge: Charge, parts_: Fraction) -> bool:
    """Whether a line over several parts bills each unit once a part (``30 x 4.00``), and not once in all
    (``10 x 12.00``)."""
    price = of[0].terms.price
    if not isinstance(price, UnitPrice) or not charge.quantity:
        return False
    one, billed = Fraction(price.unit_amount), Fraction(charge.amount) / Fraction(charge.quantity)
    return abs(billed - one) < abs(billed - one * parts_)


# --- among the lines that ask ----------------------------------------------------------------------------------------
def _allocated(
    group: Group,
    found: Sequence[Demand],
    expected: Mapping[tuple[str, ...], Expected],
    pieces: list[_Piece],
    result: Answers,
) -> list[_Piece]:
    """Shares the pieces out; what is left over."""
    by_key = {piece.key: piece for piece in pieces}
    kin = {one.id: one.components for one in group.products.values() if one.components}
    pools = {chain.key: demand.chains[0] for demand in found for chain in demand.chains}
    given = allocate(
        [_wanted(demand, expected[demand.key]) for demand in found],
        [_offered(group, piece, pools) for piece in pieces],
        kin,
    )
    for share in given.shares:
        piece = by_key[share.offered]
        charge = Charge(piece.charge.line, share.quantity, share.amount)
        if share.by == "kin":
            charge = charge.money_alone()
        result.charges.setdefault(share.wanted, []).append(charge)
    originals = dict(given.duplicates)
    answered = {share.offered: share.wanted for share in given.shares}
    left = []
    for one in given.offered:
        piece = by_key[one.key]
        charge = Charge(piece.charge.line, one.quantity or _ZERO, one.amount or _ZERO)
        whose = answered.get(originals.get(one.key, ())) or _asker(found, piece, _product(group, piece))
        if whose is None:
            left.append(_Piece(charge, piece.period))
        else:
            result.charges.setdefault(whose, []).append(charge)
    return left


def _asker(found: Sequence[Demand], piece: _Piece, product: str) -> tuple[str, ...] | None:
    """Who answers for a line that nothing asked for: the contract line that it names, else the product's only line
    that is billed by use."""
    line = piece.charge.line
    mine = [demand for demand in found if demand.product == product and _meet(demand.period, piece.period)]
    for demand in mine:
        if any((chain.contract, chain.line) == (line.contract, line.contract_line) for chain in demand.chains):
            return demand.key
    by_use = [demand for demand in mine if not isinstance(demand.terms.price, FlatPrice)]
    return by_use[0].key if len(by_use) == 1 else None


def _wanted(demand: Demand, expected: Expected) -> Wanted:
    chain = demand.chains[0]
    return Wanted(
        key=demand.key,
        source=chain.source,
        contract=chain.contract,
        line=chain.line,
        product=demand.product,
        period=demand.period,
        quantity=None if expected.quantity is None else words.shown(expected.quantity),
        # A flat price is known by its amount: so its line is found among others by the nearest price.
        unit_price=expected.amount if expected.quantity is None else expected.unit_price,
        amount=expected.amount,
    )


def _offered(group: Group, piece: _Piece, pools: Mapping[tuple[str, str, str], Chain]) -> Offered:
    charge, line = piece.charge, piece.charge.line
    contract, contract_line = line.contract, line.contract_line
    if contract is not None and contract_line is not None:
        pool = pools.get((line.source, contract, contract_line))
        contract, contract_line = (pool.contract, pool.line) if pool is not None else (contract, contract_line)
    if line.discount:
        charge = charge.money_alone()
    price = Fraction(charge.amount) / Fraction(charge.quantity) if charge.quantity else None
    return Offered(
        key=piece.key,
        source=line.source,
        invoice=line.invoice,
        contract=contract,
        contract_line=contract_line,
        product=_product(group, piece),
        period=piece.period,
        quantity=charge.quantity,
        unit_price=price,
        amount=charge.amount,
        kind=line.kind,
        corrects=line.corrects,
        scale=max(exponent(line.currency), -int(charge.amount.as_tuple().exponent)),
    )


# --- the billed side -----------------------------------------------------------------------------------------------
def invoiced(charges: Sequence[Charge], expected: Expected | None = None) -> Billed | None:
    """What posted lines bill together. A line that bills a tier's flat, the rest of a commitment or a discount, and a
    credit of a sum, have no units of what was used."""
    if not charges:
        return None
    flats = [one.total for one in expected.components if _unitless(one.component)] if expected is not None else []
    quantity: Number = _ZERO
    amount = _ZERO
    figures = []
    for charge in charges:
        amount += charge.amount
        if charge.amount in flats and abs(charge.quantity) <= 1:
            flats.remove(charge.amount)
        elif not (charge.line.discount or _is_sum(charge, charges, expected)):
            quantity = plus(quantity, _standing(charge, expected))
        figures.append(_figures(charge))
    first = charges[0].line
    follows = (
        len(charges) == 1
        and charges[0].whole
        and quantity == first.quantity != 0
        and money(first.quantity * first.unit_price, first.currency) == amount
    )
    return Billed(
        quantity,
        Fraction(amount) / Fraction(quantity) if quantity else None,
        amount,
        " + ".join(figures),
        words.more([charge.ref for charge in charges]),
        sample(charge.line.record for charge in charges),
        len({charge.key for charge in charges}),
        first.unit_price if follows else None,
    )


def _is_sum(charge: Charge, charges: Sequence[Charge], expected: Expected | None) -> bool:
    """Whether a credit is of a sum (``-1 x 10.00``), and of no unit: nothing is billed or agreed at its price."""
    if charge.amount >= 0 or abs(charge.quantity) != 1 or expected is None or expected.unit_price is None:
        return False
    price = Fraction(charge.amount) / Fraction(charge.quantity)
    asked = [Fraction(one.amount) / Fraction(one.quantity) for one in charges if one.amount > 0 and one.quantity]
    return bool(asked) and price not in asked and price != Fraction(expected.unit_price)


def _standing(charge: Charge, expected: Expected | None) -> Number:
    """A charge's units. Those that were added inside the part, at the price of the days that were left, count for these
    days: ``10 x 1.60`` for 16 of 31 days at 3.10 are 5.16 units."""
    part = None if expected is None else expected.stands
    if part is None or expected is None or expected.unit_price is None or not charge.quantity:
        return charge.quantity
    line, whole = charge.line.period, Fraction(expected.unit_price)
    if line == part or line.start < part.start or part.end < line.end:
        return charge.quantity
    share = Fraction((line.end - line.start).days, (part.end - part.start).days)
    price = Fraction(charge.amount) / Fraction(charge.quantity)
    return charge.quantity if abs(price - whole) <= abs(price - whole * share) else Fraction(charge.quantity) * share


def _unitless(component: str) -> bool:
    return component == "minimum" or component.endswith("flat")


def _figures(charge: Charge) -> str:
    line = charge.line
    if not charge.whole:
        return f"{words.price(charge.amount, line.currency)} of {charge.ref}"
    return (
        f"{words.quantity(line.quantity)} x {words.price(line.unit_price, line.currency)} = "
        f"{words.price(line.amount, line.currency)}"
    )


class _Stretch(NamedTuple):
    """Days of a part under one recurring quantity and price."""

    share: Share
    days: int
    quantity: Decimal
    price: Decimal
    record: Source


def agreed(demand: Demand) -> Billed | None:
    """What the agreement is set to bill for the part; ``None`` where it does not say."""
    currency = demand.chains[0].currency
    found = [(chain, one) for chain in demand.chains for one in [_stretches(demand, chain)] if one]
    if not found:
        return None
    quantity: Number = _ZERO
    amount = _ZERO
    figures: list[str] = []
    for _, stretches in found:
        exact: Number = _ZERO
        whole = len(stretches) == 1
        days = sum(one.days for one in stretches)
        for one in stretches:
            if one.share == WHOLE:
                exact = exact + one.quantity * one.price if isinstance(exact, Decimal) else exact
            else:
                exact = Fraction(exact) + Fraction(one.quantity * one.price) * Fraction(one.share.value)
            text = f"{words.quantity(one.quantity)} x {words.price(one.price, currency)}"
            figures.append(text if one.share == WHOLE else f"{text} x {_portion(one.share)}")
        amount += money(exact, currency)
        if whole:
            quantity = plus(quantity, stretches[0].quantity)
        else:
            units = sum((one.quantity * one.days for one in stretches), _ZERO)
            quantity = plus(quantity, Fraction(units) / days)
    only = found[0][1][0] if len(found) == 1 and len(found[0][1]) == 1 else None
    # The agreement's own price, not the quotient of a rounded amount: it also stands when the quantity is zero.
    price: Number | None = None
    if only is not None:
        price = only.price if only.share == WHOLE else Fraction(only.price) * Fraction(only.share.value)
    elif quantity:
        price = Fraction(amount) / Fraction(quantity)
    records = [one.record for _, stretches in found for one in stretches]
    return Billed(
        quantity,
        price,
        amount,
        " + ".join(figures),
        words.clip(f"{words.more([chain.ref for chain, _ in found])}, recurring"),
        sample(records),
        len(set(records)),
    )


def _portion(share: Share) -> str:
    counted = share.numerator if isinstance(share.numerator, int) else words.quantity(share.numerator)
    return f"{counted}/{share.denominator}"


def _stretches(demand: Demand, chain: Chain) -> list[_Stretch]:
    part, terms = demand.part, demand.terms
    zone = zone_of(demand.service, terms)
    last = chain.last_at(part.start, part.end)
    spans = [(part.start, part.end, last)]
    held = chain.within(part.start, part.end)
    if len(held) > 1 and by_days(demand):
        spans = [
            (max(one.start, part.start), min(one.end or part.end, part.end), one.version)
            for one in held
            if max(one.start, part.start) < min(one.end or part.end, part.end)
        ]
    found = []
    for start, end, version in spans:
        if version.recurring is None:
            return []
        whole = (start, end) == (part.start, part.end) and part.whole
        share = WHOLE if whole else share_of(version.terms or terms, part, start, end, zone)
        recurring = version.recurring
        found.append(_Stretch(share, (end - start).days, recurring.quantity, recurring.unit_price, version.record))
    return found


def by_days(demand: Demand) -> bool:
    """Whether a change inside the part is billed from its day on. Else the PSA bills by its last quantity."""
    terms = demand.terms
    if terms.proration == "none" or terms.statistic != "prorated":
        return False
    measured = demand.supply.measured
    return isinstance(terms.price, FlatPrice) or (measured is not None and measured.kind == "gauge")


def unsaid(found: Iterable[Demand]) -> list[str]:
    """The contract lines that do not say what they are set to bill."""
    return [chain.ref for demand in found for chain in demand.chains if not _stretches(demand, chain)]

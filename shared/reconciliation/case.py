"""One expected line whose two sides can be set against each other: what the rules see, and how a break's body is made.

:mod:`shared.reconciliation.sides` makes cases; the rules read them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Literal, NamedTuple

from shared.events.contracts import FlatPrice, Recurring, Terms
from shared.events.discrepancies import (
    Code,
    Direction,
    DiscrepancyBody,
    Reached,
    Side,
    Source,
    Span,
    Standing,
    Step,
    Tolerance,
)
from shared.kernel.money import exponent, money
from shared.kernel.periods import Period
from shared.reconciliation import words
from shared.reconciliation.inputs import ClosedGroup, GroupInputs, InvoiceLineFacts, Product
from shared.reconciliation.measure import Quantity
from shared.reconciliation.rating.model import Component, Number, Part
from shared.reconciliation.remedies import remedy
from shared.reconciliation.verdict import FAMILIES, Waiting
from shared.reconciliation.views import sample

ZERO = Decimal(0)
Mode = Literal["invoice", "agreement"]
Repricer = Callable[[Mapping[str, object], Number | None], Decimal | None]
"""What the part would cost under changed terms, and by another billable quantity (``None``: the one it has)."""
_STEPS = 14
"""Of the arithmetic of what is due so many steps are shown: a body has room for twenty in all."""


@dataclass(frozen=True, slots=True)
class LineInForce:
    """A contract line that an expected line stands on."""

    source: str
    contract: str
    line: str
    currency: str
    terms: Terms
    recurring: Recurring | None
    record: Source

    @property
    def ref(self) -> str:
        return f"{self.contract} line {self.line}"


class Charge(NamedTuple):
    """An invoice's line, or the share of it, that answers an expected line."""

    line: InvoiceLineFacts
    quantity: Decimal
    amount: Decimal

    @property
    def whole(self) -> bool:
        return self.amount == self.line.amount and self.quantity == self.line.quantity

    def money_alone(self) -> Charge:
        """Of another product: its units are not those that are asked for."""
        return self._replace(quantity=ZERO)

    @property
    def ref(self) -> str:
        return f"{self.line.invoice} line {self.line.line}"

    @property
    def key(self) -> tuple[str, ...]:
        return ("invoice", self.line.source, self.line.invoice, self.line.line)


@dataclass(frozen=True, slots=True)
class Expected:
    """What is due."""

    quantity: Number | None
    """Billable units; ``None`` where only the amount counts: flat prices, shares of a cost or of transactions."""
    unit_price: Number | None
    """What one of these units comes to in this part; ``None`` where it depends on how many they are, and where no
    price is known."""
    amount: Decimal | None
    """``None`` where no price is known."""
    formula: str
    sources: tuple[Source, ...]
    components: tuple[Component, ...] = ()
    stands: Period | None = None
    """The part, where a unit is billed for the days that it stands; ``None``: where days make no difference."""


@dataclass(frozen=True, slots=True)
class Billed:
    """What is billed (invoice), or set to be billed (agreement)."""

    quantity: Number
    unit_price: Number | None
    """Amount over quantity; ``None`` if there are no units."""
    amount: Decimal
    formula: str
    ref: str
    sources: tuple[Source, ...]
    records: int
    stated_price: Decimal | None = None
    """The price that a single line states, if its amount follows from it: what is shown instead of the quotient."""

    @property
    def shown_price(self) -> Number | None:
        return self.unit_price if self.stated_price is None else self.stated_price


class Exchange(NamedTuple):
    """Contract and invoice are in two currencies."""

    agreed_in: str
    billed_in: str
    rate: Decimal | None
    """Of the invoice; ``None``: it names none, so the sides cannot be set against each other."""
    agreed: Decimal | None
    """What is due in the contract's currency."""


@dataclass(frozen=True, slots=True)
class Case:
    """One expected line, or what is billed or used without one."""

    inputs: GroupInputs
    key: tuple[str, ...]
    """Of its line of the statement."""
    stream: tuple[str, ...]
    """Its finest business identifiers: what its discrepancies are known by."""
    product: Product
    service: Period
    """The service period that it is about."""
    mode: Mode
    currency: str | None
    lines: tuple[LineInForce, ...]
    used: Quantity
    expected: Expected
    billed: Billed | None
    """``None``: nothing of it is billed."""
    usage_gaps: tuple[Waiting, ...]
    """What keeps an absence of usage from being concluded: no feed, or one that is not complete."""
    waiting: tuple[Waiting, ...] = ()
    """Why the sides cannot be compared at all; empty: they can."""
    charges: tuple[Charge, ...] = ()
    part: Part | None = None
    prorated: bool = False
    """Days make a difference: it is a piece of a period, or its level changed inside."""
    over: bool = False
    """The contract has ended: its last terms say what the usage after it would have cost."""
    excluded: bool = False
    """The contract names the product to exclude it."""
    exchange: Exchange | None = None
    reprice: Repricer | None = field(default=None, compare=False)
    records: int = 0
    """How many records the group's figures rest on."""
    closed: ClosedGroup | None = None
    """What the group came to when its period was closed, where this is the line that its usage belongs to."""
    owes: bool = False
    """Something is due of it though its sides cannot be compared."""

    @property
    def terms(self) -> Terms | None:
        return self.lines[0].terms if self.lines else None

    @property
    def flat(self) -> bool:
        """Whether the price does not depend on usage."""
        return bool(self.lines) and isinstance(self.lines[0].terms.price, FlatPrice)

    @property
    def amounts_only(self) -> bool:
        """Whether amounts are compared as they are: a flat price, lines that bill an amount without units, or several
        lines that come to what is due, whatever each of them counts."""
        if bool(self.lines) and self.expected.quantity is None:
            return True
        if len(self.charges) > 1 and self.expected.amount and self.equals(self.expected.amount):
            return True
        return self.billed is not None and self.billed.quantity == 0 and self.billed.amount != 0

    @property
    def quantity_difference(self) -> Number | None:
        """Billed less billable units; ``None`` where units are not compared."""
        if self.billed is None or self.expected.quantity is None or self.amounts_only:
            return None
        billed, due = self.billed.quantity, self.expected.quantity
        if isinstance(billed, Decimal) and isinstance(due, Decimal):
            return billed - due
        return Fraction(billed) - Fraction(due)

    def key_of(self, charge: Charge) -> tuple[str, ...]:
        """What a discrepancy of one posted line is known by: the line, and where a share of it is meant, the case."""
        return charge.key if charge.whole else (*charge.key, *self.stream)

    def worth(self, difference: Number) -> Decimal | None:
        """What so many units more (or less) than are due come to, unsigned; ``None`` where no price is known."""
        if self.currency is None:
            return None
        if self.expected.unit_price is not None:
            return money(abs(Fraction(difference) * Fraction(self.expected.unit_price)), self.currency)
        due, other = self.expected.amount, self.amount_at(Fraction(self.expected.quantity or 0) + Fraction(difference))
        return None if due is None or other is None else abs(other - due)

    def amount_at(self, units: Number) -> Decimal | None:
        """What ``units`` billable units would cost."""
        if self.reprice is None or units < 0:
            return None
        return self.reprice({}, units)

    def under(self, **terms: object) -> Decimal | None:
        """What would be due under changed terms."""
        return None if self.reprice is None else self.reprice(terms, None)

    @property
    def rounding(self) -> Decimal:
        """By how much rounded lines may differ."""
        if self.currency is None:
            return ZERO
        lines = max(1, len(self.charges)) + max(1, len(self.expected.components))
        return self.inputs.settings.tolerance("rounding", self.currency, lines=lines).absolute

    def equals(self, amount: Decimal | None) -> bool:
        """Whether what is billed is ``amount``, up to rounding."""
        return amount is not None and self.billed is not None and abs(self.billed.amount - amount) <= self.rounding

    @property
    def owed(self) -> bool:
        """Whether something is due that no posted line answers."""
        if self.waiting:
            return self.owes
        return self.mode == "agreement" and (self.expected.amount is None or self.expected.amount > 0)

    @property
    def due_sources(self) -> tuple[Source, ...]:
        """The records that what is due rests on: contract lines and usage, the first twenty by id."""
        return sample((*self.expected.sources, *self.used.sources))

    @property
    def due_records(self) -> int:
        """How many they are in all."""
        return len(self.expected.sources) + self.used.records

    @property
    def reached(self) -> Reached:
        return Reached.CLIENT_INVOICE if self.mode == "invoice" else Reached.NOWHERE

    @property
    def contract_ref(self) -> str | None:
        return words.more([line.ref for line in self.lines]) or None

    def body(
        self,
        code: Code,
        direction: Direction,
        *,
        amount: Decimal | None,
        quantity: Number | None,
        why: str,
        tolerance: Tolerance,
        difference: str,
        billed: Side | None = None,
        steps: tuple[Step, ...] = (),
    ) -> DiscrepancyBody:
        """The body of a break. ``difference`` is the arithmetic of its amount, after ``steps`` of its own; ``billed``
        replaces the line's side."""
        inputs = self.inputs
        client, product, period = inputs.client, self.product, inputs.period
        last = []
        if amount is not None:
            last.append(step("difference", difference, amount, rounding=self._rounding))
        return DiscrepancyBody(
            code=code,
            family=FAMILIES[code],
            client=client.id,
            client_name=client.name,
            product=product.id,
            product_name=product.name,
            period=Span(from_=period.start, to=period.end),
            direction=direction,
            amount=amount,
            currency=self.currency,
            quantity=None if quantity is None else words.shown(quantity),
            standing=standing(inputs, self.reached, amount),
            remedy=remedy(code, direction),
            expected=self._expected_side(),
            billed=billed or self._billed_side(),
            tolerance=tolerance,
            reached=self.reached,
            deadline=deadline(inputs.as_of, period, client.bill_cycle_day),
            why=words.clip(why, words.SENTENCE),
            contract_ref=self.contract_ref,
            derivation=(*self.steps(), *steps, *last),
        )

    def _expected_side(self) -> Side:
        expected = self.expected
        listed = not self.lines and expected.amount is not None and self.billed is None
        return Side(
            quantity=None if expected.quantity is None else words.shown(expected.quantity),
            unit_price=None if expected.unit_price is None else words.shown(expected.unit_price),
            amount=expected.amount,
            ref=self.contract_ref or ("list price" if listed else None),
        )

    def _billed_side(self) -> Side | None:
        billed = self.billed
        if billed is None:
            return None
        return Side(
            quantity=words.shown(billed.quantity),
            unit_price=None if billed.shown_price is None else words.shown(billed.shown_price),
            amount=billed.amount,
            ref=billed.ref,
        )

    @property
    def _rounding(self) -> str | None:
        return f"half_up {exponent(self.currency)}" if self.currency else None

    def steps(self) -> tuple[Step, ...]:
        """The arithmetic of both sides, as it was computed."""
        steps: list[Step] = []
        used, expected, billed = self.used, self.expected, self.billed
        if not self.flat:
            steps.append(step("used", used.formula, used.value, used.sources, used.records))
        if expected.amount is not None:
            steps += self._due_steps()
        if billed is not None:
            steps.append(step("billed", billed.formula, billed.amount, billed.sources, billed.records))
        elif self.mode == "invoice" and self.inputs.invoices.headers:
            headers, complete = self.inputs.invoices.headers, self.inputs.invoices.complete
            what = "no line on the month's invoice" + (f"s, {complete} of them" if complete > 1 else "")
            steps.append(step("billed", what, ZERO, headers, complete))
        return tuple(steps)

    def _due_steps(self) -> list[Step]:
        """The steps of what is due: one where a single figure says it, else each component's, then their sum."""
        expected = self.expected
        assert expected.amount is not None
        sources, shown = expected.sources, self._rounding
        formulas = [one for component in expected.components for one in component.steps if one.label != "used"]
        distinct = list(dict.fromkeys((one.label, one.formula, one.result, one.rounding) for one in formulas))
        single = len(expected.components) == 1 and not (expected.components[0].discounts or len(distinct) > 2)
        if not distinct or (single and self.exchange is None):
            text = "; ".join(formula for _, formula, _, _ in distinct) or expected.formula
            return [step("expected", text, expected.amount, sources, len(sources), shown)]
        steps = [
            step(label, formula, words.shown(result), rounding=rounding)
            for label, formula, result, rounding in distinct[:_STEPS]
        ]
        return [*steps, step("expected", expected.formula, expected.amount, sources, len(sources), shown)]


def step(
    label: str,
    formula: str,
    result: Decimal,
    sources: tuple[Source, ...] = (),
    records: int = 0,
    rounding: str | None = None,
) -> Step:
    return Step(
        label=label,
        formula=words.clip(formula, words.SENTENCE),
        result=words.field(result),
        rounding=rounding,
        sources=sources,
        records=records,
    )


def standing(inputs: GroupInputs, reached: Reached, amount: Decimal | None) -> Standing | None:
    """What kind of money it is: what stands on a document is owed, what does not is at risk, and what is too old to be
    billed is lost."""
    if amount is None:
        return None
    if inputs.as_of is not None and inputs.period.end + timedelta(inputs.settings.backbill_days) <= inputs.as_of:
        return Standing.LOST
    return Standing.AT_RISK if reached is Reached.NOWHERE else Standing.OWED


def deadline(as_of: date | None, period: Period, bill_cycle_day: int) -> date:
    """The client's next bill-cycle day: the last chance before the error repeats."""
    after = period.start if as_of is None else max(as_of, period.start)
    return words.next_cycle_day(after, bill_cycle_day)

"""One group whose two sides can be set against each other: what the rules see, and how a break's body is made.

:mod:`shared.reconciliation.sides` makes cases; the rules read them.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Literal

from shared.events.contracts import FlatPrice, Recurring, Terms
from shared.events.discrepancies import Code, Direction, DiscrepancyBody, Reached, Side, Source, Span, Step, Tolerance
from shared.kernel.money import money
from shared.kernel.periods import Period
from shared.reconciliation import words
from shared.reconciliation.inputs import GroupInputs
from shared.reconciliation.measure import Quantity
from shared.reconciliation.rating.whole_month import rounding
from shared.reconciliation.verdict import FAMILIES, Waiting
from shared.reconciliation.views import sample


@dataclass(frozen=True, slots=True)
class LineInForce:
    """A contract line whose terms hold through the whole month."""

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


@dataclass(frozen=True, slots=True)
class Expected:
    """What is due."""

    quantity: Decimal | None
    """Billable units; ``None`` for flat prices."""
    unit_price: Decimal | Fraction | None
    """``None`` for flat prices, and where no price is known."""
    amount: Decimal | None
    """``None`` where no price is known."""
    formula: str
    sources: tuple[Source, ...]


@dataclass(frozen=True, slots=True)
class Billed:
    """What is billed (invoice), or set to be billed (agreement)."""

    quantity: Decimal
    unit_price: Decimal | Fraction | None
    """Amount over quantity; ``None`` if there are no units."""
    amount: Decimal
    formula: str
    ref: str
    sources: tuple[Source, ...]
    records: int
    stated_price: Decimal | None = None
    """The price that a single line states, if its amount follows from it: what is shown instead of the quotient."""

    @property
    def shown_price(self) -> Decimal | Fraction | None:
        return self.unit_price if self.stated_price is None else self.stated_price


@dataclass(frozen=True, slots=True)
class Case:
    """One group whose sides can be set against each other."""

    inputs: GroupInputs
    mode: Literal["invoice", "agreement"]
    currency: str | None
    lines: tuple[LineInForce, ...]
    used: Quantity
    expected: Expected
    billed: Billed | None
    """``None``: nothing of the product is billed."""
    usage_gaps: tuple[Waiting, ...]
    """What keeps an absence of usage from being concluded: no feed, or one that is not complete."""

    @property
    def flat(self) -> bool:
        """Whether the price does not depend on usage."""
        return bool(self.lines) and isinstance(self.lines[0].terms.price, FlatPrice)

    @property
    def amounts_only(self) -> bool:
        """Whether amounts are compared as they are: a flat price, or lines that bill an amount without units."""
        return self.flat or (self.billed is not None and self.billed.quantity == 0 and self.billed.amount != 0)

    @property
    def quantity_difference(self) -> Decimal | None:
        """Billed less billable units; ``None`` where units are not compared."""
        if self.billed is None or self.expected.quantity is None or self.amounts_only:
            return None
        return self.billed.quantity - self.expected.quantity

    def worth(self, units: Decimal) -> Decimal | None:
        """What so many units come to; ``None`` where no price is known."""
        if self.currency is None or self.expected.unit_price is None:
            return None
        return money(Fraction(units) * Fraction(self.expected.unit_price), self.currency)

    @property
    def owed(self) -> bool:
        """Whether something is due that no posted line answers."""
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

    def body(
        self,
        code: Code,
        direction: Direction,
        *,
        amount: Decimal | None,
        quantity: Decimal | None,
        why: str,
        tolerance: Tolerance,
        difference: str,
        billed: Side | None = None,
    ) -> DiscrepancyBody:
        """The body of a break. ``difference`` is the arithmetic of its amount; ``billed`` replaces the group's side."""
        inputs = self.inputs
        client, product, period = inputs.client, inputs.product, inputs.period
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
            quantity=None if quantity is None else words.field(quantity),
            expected=self._expected_side(),
            billed=billed or self._billed_side(),
            tolerance=tolerance,
            reached=self.reached,
            deadline=deadline(inputs.as_of, period, client.bill_cycle_day),
            why=words.clip(why, words.SENTENCE),
            contract_ref=words.more([line.ref for line in self.lines]) or None,
            derivation=self._derivation(amount, difference),
        )

    def _expected_side(self) -> Side:
        expected = self.expected
        listed = not self.lines and expected.amount is not None and self.billed is None
        return Side(
            quantity=None if expected.quantity is None else words.field(expected.quantity),
            unit_price=None if expected.unit_price is None else words.shown(expected.unit_price),
            amount=expected.amount,
            ref=words.more([line.ref for line in self.lines]) or ("list price" if listed else None),
        )

    def _billed_side(self) -> Side | None:
        billed = self.billed
        if billed is None:
            return None
        return Side(
            quantity=words.field(billed.quantity),
            unit_price=None if billed.shown_price is None else words.shown(billed.shown_price),
            amount=billed.amount,
            ref=billed.ref,
        )

    def _derivation(self, amount: Decimal | None, difference: str) -> tuple[Step, ...]:
        steps = []
        used, expected, billed = self.used, self.expected, self.billed
        round_words = rounding(self.currency) if self.currency else None
        if not self.flat:
            steps.append(_step("used", used.formula, words.field(used.value), used.sources, used.records))
        if expected.amount is not None:
            sources = expected.sources
            steps.append(_step("expected", expected.formula, expected.amount, sources, len(sources), round_words))
        if billed is not None:
            steps.append(_step("billed", billed.formula, billed.amount, billed.sources, billed.records))
        elif self.inputs.invoices.headers:
            headers, complete = self.inputs.invoices.headers, self.inputs.invoices.complete
            what = "no line on the month's invoice" + (f"s, {complete} of them" if complete > 1 else "")
            steps.append(_step("billed", what, Decimal(0), headers, complete))
        if amount is not None:
            steps.append(_step("difference", difference, amount, rounding_words=round_words))
        return tuple(steps)


def _step(
    label: str,
    formula: str,
    result: Decimal,
    sources: tuple[Source, ...] = (),
    records: int = 0,
    rounding_words: str | None = None,
) -> Step:
    return Step(
        label=label,
        formula=words.clip(formula, words.SENTENCE),
        result=result,
        rounding=rounding_words,
        sources=sources,
        records=records,
    )


def deadline(as_of: date | None, period: Period, bill_cycle_day: int) -> date:
    """The client's next bill-cycle day: the last chance before the error repeats."""
    after = period.start if as_of is None else max(as_of, period.start)
    return words.next_cycle_day(after, bill_cycle_day)

"""Hours that the contract does not bill: what they would have come to."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction

from shared.events.discrepancies import Code, Direction, Reached, Tolerance
from shared.kernel.money import money
from shared.reconciliation import words
from shared.reconciliation.bodies import body, step
from shared.reconciliation.rating.labour import Outcome, Piece
from shared.reconciliation.rules.base import EXACT
from shared.reconciliation.rules.labour.base import LabourCase, LabourLine, hours
from shared.reconciliation.verdict import Break


def beyond(
    case: LabourCase, line: LabourLine, code: Code, found: Sequence[tuple[Outcome, Piece]], what: str, *, lost: bool
) -> Break | None:
    """The break over these hours at the rate of their entries; ``None`` without any beyond the tolerance of time."""
    quantity = hours(sum((Fraction(piece.hours) for _, piece in found), Fraction(0)))
    tolerance: Tolerance = EXACT if lost else case.frame["settings"].tolerance("time", unit="h")
    if not quantity or quantity <= tolerance.absolute:
        return None
    worth = sum(
        (Fraction(piece.hours) * Fraction(one.rate) for one, piece in found if one.rate is not None), Fraction(0)
    )
    amount = money(worth, line.currency) if line.currency and worth else None
    names = ", ".join(dict.fromkeys(one.entry.id for one, _ in found))
    return Break(
        line.break_key,
        body(
            case.frame,
            code,
            Direction.CLIENT_OWES_US,
            reached=Reached.NOWHERE,
            product=line.product,
            amount=amount,
            currency=line.currency if amount is not None else None,
            quantity=quantity,
            tolerance=tolerance,
            lost=lost,
            why=f"{words.quantity(quantity)} h {what}: {words.clip(names, 120)}",
            contract_ref=line.ref,
            steps=(
                step(
                    "beyond",
                    " + ".join(f"{words.quantity(hours(piece.hours))} h of {one.entry.id}" for one, piece in found),
                    quantity,
                    [one.entry.record for one, _ in found if one.entry.record is not None],
                ),
                *([step("at their rates", f"{words.quantity(quantity)} h", amount)] if amount is not None else []),
            ),
        ),
        "none",
    )

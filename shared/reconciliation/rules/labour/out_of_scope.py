"""OUT_OF_SCOPE: work of a kind, or on a product, that the contract names to exclude it: approve it, or bill it."""

from __future__ import annotations

from collections.abc import Sequence

from shared.events.discrepancies import Code, Direction, Reached
from shared.reconciliation import words
from shared.reconciliation.bodies import Frame, body, step
from shared.reconciliation.inputs import Product, TimeEntry
from shared.reconciliation.rules.base import EXACT
from shared.reconciliation.rules.labour.base import entry_names, worked
from shared.reconciliation.verdict import Break


def out_of_scope(
    frame: Frame, product: Product, ref: str, key: tuple[str, ...], entries: Sequence[TimeEntry]
) -> Break | None:
    """One break for the entries of a line or product; no amount: the contract has no price for them."""
    found = sorted(entries, key=lambda one: (one.worked_on, one.source, one.entry))
    if not found:
        return None
    kinds = sorted({one.work_type for one in found if one.work_type})
    of = f" of {words.more(kinds)}" if kinds else ""
    quantity = worked(found)
    return Break(
        key,
        body(
            frame,
            Code.OUT_OF_SCOPE,
            Direction.CLIENT_OWES_US,
            reached=Reached.NOWHERE,
            product=product,
            quantity=quantity,
            tolerance=EXACT,
            why=f"{words.quantity(quantity)} h{of} are excluded by {ref}: {entry_names(found)}",
            contract_ref=ref,
            steps=(step("worked", f"{words.quantity(quantity)} h", quantity, [one.record for one in found]),),
        ),
        "none",
    )

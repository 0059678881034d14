"""The algebra of the fold: a map of max-registers (protocols.md section 7).

``put`` keeps the greater rank, ``merge`` takes the greater of each cell. Merge is commutative, associative and
idempotent, so any order and any repetition of a set of facts ends in one state. What the state *means* is in
:mod:`shared.reconciliation.views`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from shared.reconciliation.facts import Cell, Fact, Slot

MeterKey = tuple[str, str, str, str, str, str, str | None]
"""(tenant, source, account, sku, meter, kind, unit): a source that mixes kinds or units has several meters."""
CellKey = tuple[str, str, tuple[str, ...]]
"""(tenant, kind, key)."""
NameKey = tuple[str, str, str, str]
"""(tenant, ``account`` or ``sku``, source, identifier)."""


class Name(NamedTuple):
    """What a vendor calls an identifier, by the latest assertion that names it; of equal ones the least name."""

    asserted_at: datetime
    run: int
    name: str

    def over(self, other: Name) -> bool:
        """Whether this name takes the other's place."""
        mine, theirs = (self.asserted_at, self.run), (other.asserted_at, other.run)
        return mine > theirs or (mine == theirs and self.name < other.name)


def meter_key(slot: Slot) -> MeterKey:
    return (slot.tenant, slot.source, slot.account, slot.sku, slot.meter, slot.kind, slot.unit)


def names_of(fact: Fact) -> list[tuple[NameKey, Name]]:
    """The names that a record gives to a vendor's identifiers."""
    if isinstance(fact, Slot):
        account, sku, account_name, sku_name = fact.account, fact.sku, fact.account_name, fact.sku_name
    elif fact.kind == "vendor_bill_line" and fact.value is not None:
        value = fact.value
        account, sku, account_name, sku_name = value["account"], value["sku"], value["account_name"], value["sku_name"]
    else:
        return []
    stated = (("account", account, account_name), ("sku", sku, sku_name))
    return [
        ((fact.tenant, kind, fact.source, key), Name(fact.rank.asserted_at, fact.rank.run, name))
        for kind, key, name in stated
        if name is not None
    ]


@dataclass(eq=True)
class Registers:
    """The state: slots by meter, the other cells, the names of identifiers."""

    meters: dict[MeterKey, dict[str, Slot]] = field(default_factory=dict)
    cells: dict[CellKey, Cell] = field(default_factory=dict)
    names: dict[NameKey, Name] = field(default_factory=dict)

    def put(self, fact: Fact) -> bool:
        """Folds one fact; ``True`` if it moved its cell (a repetition, or a fact of lesser rank, does not)."""
        for key, name in names_of(fact):
            held = self.names.get(key)
            if held is None or name.over(held):
                self.names[key] = name
        if isinstance(fact, Slot):
            slots = self.meters.setdefault(meter_key(fact), {})
            before = slots.get(fact.slot)
            if before is not None and before.rank >= fact.rank:
                return False
            slots[fact.slot] = fact
            return True
        cell_key = (fact.tenant, fact.kind, fact.key)
        cell = self.cells.get(cell_key)
        if cell is not None and cell.rank >= fact.rank:
            return False
        self.cells[cell_key] = fact
        return True

    def merge(self, other: Registers) -> Registers:
        """The join of two states; neither is changed."""
        joined = Registers({key: dict(slots) for key, slots in self.meters.items()}, dict(self.cells), dict(self.names))
        for slots in other.meters.values():
            for slot in slots.values():
                joined.put(slot)
        for cell in other.cells.values():
            joined.put(cell)
        # A name may come from a record that its cell no longer holds, so the names are joined by themselves.
        for key, name in other.names.items():
            held = joined.names.get(key)
            if held is None or name.over(held):
                joined.names[key] = name
        return joined

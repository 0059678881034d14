"""Master data: who is billed, and for what (topic ``catalog``)."""

from __future__ import annotations

from pydantic import Field

from shared.events.base import Currency, Data, Exact, Key, Label, ProductId, Zone


class ClientRecorded(Data):
    """A client of the MSP, as its PSA keeps it. A later record of the same client replaces the earlier one by rank."""

    client: Key
    """The client's id in the PSA, used by contracts and invoices."""
    name: Label
    """The organisation's name."""
    time_zone: Zone = "UTC"
    """The zone in which the client's billing periods begin and end."""
    bill_cycle_day: int = Field(default=1, ge=1, le=31)
    """Day of the month on which the next invoice is drawn."""
    currency: Currency | None = None
    """The currency that the client is invoiced in."""
    tags: tuple[Label, ...] = Field(default=(), max_length=50)
    """Free labels, for routes and filters."""


class ProductRecorded(Data):
    """A product or service that the MSP sells."""

    product: ProductId
    """The product's id in the PSA."""
    name: Label
    """Its name."""
    unit: Label | None = None
    """What one unit is, such as ``seat`` or ``GiB``."""
    category: Label | None = None
    """Such as ``backup`` or ``security``."""
    list_price: Exact | None = Field(default=None, ge=0)
    """Price of one unit where no contract says another, in ``currency``."""
    currency: Currency | None = None
    """Currency of the list price."""
    unit_cost: Exact | None = Field(default=None, ge=0)
    """What one unit costs at the vendor, as agreed, in ``cost_currency``."""
    cost_currency: Currency | None = None
    """Currency of the cost."""
    components: tuple[ProductId, ...] = Field(default=(), max_length=50)
    """The products that this one is a bundle of."""

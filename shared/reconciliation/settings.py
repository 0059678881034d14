"""What a tenant sets of the comparison: tolerances by class, periods of grace, the margin floor.

The keys and their checks are in :mod:`shared.events.setting_keys`; here is what they mean to a verdict.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Decimal
from functools import lru_cache
from typing import Literal

from shared.events.discrepancies import Tolerance
from shared.events.setting_keys import tolerance_key
from shared.kernel.money import exponent

ToleranceClass = Literal["quantity", "unit_price", "cost", "proration", "restated", "time", "rounding", "tax"]

_ZERO = Decimal(0)
_DEFAULTS: dict[str, tuple[Decimal | None, Decimal]] = {
    "cost": (Decimal("0.01"), Decimal("0.5")),
    "proration": (Decimal("0.01"), _ZERO),
    "restated": (_ZERO, Decimal(1)),
    "time": (Decimal("0.25"), _ZERO),
    "rounding": (None, _ZERO),
    "tax": (None, _ZERO),
}
"""(absolute, relative in percent) by class, from rating.md section 9; ``None``: one minor unit a rounded line."""
_FIXED = frozenset({"invoice.grace_days", "margin.floor_pct", "time.stale_days", "backbill.days"})


@dataclass(frozen=True, slots=True)
class Settings:
    """Tolerances and periods of grace, from ``setting.changed`` (keys in brackets)."""

    quantity_absolute: Decimal = _ZERO
    """[tolerance.quantity.absolute] units."""
    quantity_relative_pct: Decimal = _ZERO
    """[tolerance.quantity.relative_pct]"""
    unit_price_absolute: Decimal = Decimal("0.01")
    """[tolerance.unit_price.absolute] currency a unit."""
    unit_price_relative_pct: Decimal = Decimal("0.5")
    """[tolerance.unit_price.relative_pct]"""
    invoice_grace_days: int = 5
    """[invoice.grace_days] days after the period's end before a missing invoice is an error."""
    margin_floor_pct: Decimal | None = None
    """[margin.floor_pct] least margin in percent of what is billed; ``None``: only below cost is too little."""
    time_stale_days: int = 30
    """[time.stale_days] days after which billable time that is not approved or not invoiced is stale."""
    backbill_days: int = 365
    """[backbill.days] days after a period's end from which nothing is billed for it any more."""
    widths: tuple[tuple[str, Decimal], ...] = ()
    """[tolerance...] every other width that is set, by key: of the other classes, or of one currency or unit."""

    def tolerance(
        self, cls: ToleranceClass, currency: str | None = None, unit: str | None = None, lines: int = 1
    ) -> Tolerance:
        """The tolerance of a class: of the currency or unit if one is set, else of the class, else its default.

        ``absolute`` is in units (quantity), hours (time), currency a unit (unit_price, cost), or currency; of rounding
        and tax it is ``lines`` times one rounded line's. A difference is a break when it exceeds both widths.
        """
        return _tolerance(self, cls, currency, unit, lines)

    def width(self, cls: ToleranceClass, kind: str, currency: str | None, unit: str | None) -> Decimal | None:
        """One width as it is set, else the default; ``None``: one minor unit."""
        widths, key = dict(self.widths), f"tolerance.{cls}.{kind}"
        for of in (currency, unit):
            if of is not None and f"{key}.{of}" in widths:
                return widths[f"{key}.{of}"]
        if key in widths:
            return widths[key]
        if cls == "quantity":
            return self.quantity_absolute if kind == "absolute" else self.quantity_relative_pct
        if cls == "unit_price":
            return self.unit_price_absolute if kind == "absolute" else self.unit_price_relative_pct
        return _DEFAULTS[cls][0 if kind == "absolute" else 1]


@lru_cache(maxsize=4096)  # asked for by every line of every group; the answers are few
def _tolerance(
    settings: Settings, cls: ToleranceClass, currency: str | None, unit: str | None, lines: int
) -> Tolerance:
    absolute = settings.width(cls, "absolute", currency, unit)
    if absolute is None:
        absolute = Decimal(1).scaleb(-exponent(currency)) if currency else _ZERO
    if cls in ("rounding", "tax"):
        absolute *= lines
    relative_pct = settings.width(cls, "relative_pct", currency, unit) or _ZERO
    exactly = absolute == 0 and relative_pct == 0
    return Tolerance(name="exact" if exactly else cls, absolute=absolute, relative_pct=relative_pct)


def is_setting(key: str) -> bool:
    """Whether a verdict may depend on the setting of this key."""
    return key in _FIXED or tolerance_key(key) is not None


def settings_of(values: Mapping[str, str]) -> Settings:
    """Settings from the values that are set, by key; keys of others are passed by. Values are as their checks keep
    them (:mod:`shared.events.setting_keys`)."""
    default = Settings()
    known = {"tolerance.quantity.absolute", "tolerance.quantity.relative_pct"}
    known |= {"tolerance.unit_price.absolute", "tolerance.unit_price.relative_pct"}
    widths = {key: Decimal(value) for key, value in values.items() if tolerance_key(key) is not None}
    floor = values.get("margin.floor_pct")
    return Settings(
        quantity_absolute=widths.get("tolerance.quantity.absolute", default.quantity_absolute),
        quantity_relative_pct=widths.get("tolerance.quantity.relative_pct", default.quantity_relative_pct),
        unit_price_absolute=widths.get("tolerance.unit_price.absolute", default.unit_price_absolute),
        unit_price_relative_pct=widths.get("tolerance.unit_price.relative_pct", default.unit_price_relative_pct),
        invoice_grace_days=int(values.get("invoice.grace_days", default.invoice_grace_days)),
        margin_floor_pct=None if floor is None else Decimal(floor),
        time_stale_days=int(values.get("time.stale_days", default.time_stale_days)),
        backbill_days=int(values.get("backbill.days", default.backbill_days)),
        widths=tuple(sorted((key, width) for key, width in widths.items() if key not in known)),
    )

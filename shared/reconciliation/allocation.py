"""Which billed line answers which expected one: many to many, exclusive, on what is left of each.

Every unit and every minor unit of a billed line is given once. The passes go from the surest evidence to the weakest,
so nothing is ever taken first come: each pass works on blocks that share a key, sorted by the lines' own identifiers.
See docs/decisions/0104-allocation.md.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from decimal import Decimal
from fractions import Fraction
from itertools import combinations, pairwise
from typing import Generic, Literal, TypeVar

from shared.kernel.money import round_to, split_largest_remainder
from shared.kernel.periods import Period
from shared.reconciliation.exact import exact

Key = tuple[str, ...]
By = Literal["reference", "equal", "amount", "sum", "near", "kin", "rest", "credit"]
"""What a share rests on. ``rest``: what nothing asked for stays with the line's main partner."""

_ZERO = Decimal(0)
_UNITS = 9
"""Decimals of a quantity that is split by money: it is shown, no money is computed from it."""
_NEAREST = 8
"""Lines among which sums are searched..."""
_TERMS = 4
"""...of so many terms: at most 162 sums for each line that is still open."""
_KIN = 50
"""Expected lines of touching products over which one billed line is spread."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An expected line: one billing part of a contract line, or usage without one."""

    key: Key
    source: str
    contract: str | None
    line: str | None
    product: str
    period: Period
    quantity: Decimal | None
    """Billable units; ``None``: only the amount counts (flat prices)."""
    unit_price: Decimal | Fraction | None
    amount: Decimal | None
    """``None``: no price is known."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A billed line."""

    key: Key
    source: str
    invoice: str
    contract: str | None
    contract_line: str | None
    product: str
    period: Period
    quantity: Decimal
    unit_price: Decimal | Fraction | None
    amount: Decimal
    kind: Literal["invoice", "credit_note"] = "invoice"
    corrects: str | None = None
    """The invoice that its credit note corrects."""
    scale: int = 2
    """Decimals of its currency."""


@dataclass(frozen=True, slots=True, order=True)
class Share:
    """What of a billed line answers an expected one; negative for credits."""

    wanted: Key
    offered: Key
    quantity: Decimal
    amount: Decimal
    by: By


@dataclass(frozen=True, slots=True, order=True)
class Offset:
    """What of a credit note's line takes back of an invoice's line: neither answers anything with it."""

    credit: Key
    offered: Key
    quantity: Decimal
    amount: Decimal


@dataclass(frozen=True, slots=True, order=True)
class Left:
    """What is left of a line. Of an expected one: what nothing answers; ``None`` where it has no such figure."""

    key: Key
    quantity: Decimal | None
    amount: Decimal | None


@dataclass(frozen=True, slots=True)
class Allocation:
    """For each billed line: amount = its shares + its offsets (as a credit: less its offsets) + what is left; its
    quantity likewise. Everything is sorted."""

    shares: tuple[Share, ...]
    offsets: tuple[Offset, ...]
    wanted: tuple[Left, ...]
    """Expected lines that nothing answers, or not in full (by quantity; without one by amount)."""
    offered: tuple[Left, ...]
    """Billed lines that answer nothing."""
    duplicates: tuple[tuple[Key, Key], ...]
    """Of these, exact repetitions: (the line, the one that it repeats)."""


@dataclass(slots=True)
class _Want:
    line: Wanted
    quantity: Decimal | None
    amount: Decimal | None
    open: bool = True
    touched: bool = False

    @property
    def key(self) -> Key:
        return self.line.key


@dataclass(slots=True)
class _Offer:
    line: Offered
    quantity: Decimal
    amount: Decimal
    shares: list[tuple[_Want, Decimal, Decimal, By]] = field(default_factory=list)
    netted: bool = False

    @property
    def key(self) -> Key:
        return self.line.key

    @property
    def open(self) -> bool:
        return self.quantity > 0 or self.amount > 0 or not (self.shares or self.netted)

    @property
    def charges(self) -> bool:
        return self.line.amount > 0 or (self.line.amount == 0 and self.line.quantity >= 0)


_Side = TypeVar("_Side", _Want, _Offer)


@exact
def allocate(
    wanted: Sequence[Wanted], offered: Sequence[Offered], kin: Mapping[str, Iterable[str]] | None = None
) -> Allocation:
    """Give billed lines to expected ones. ``kin``: for a product those that it touches (a bundle's components), in
    either direction.

    Credits first take back from the lines of the invoice that they correct. Then, in this order:
    1. the contract line that the billed line names, then the contract: inside it equal lines, equal amounts, exact
       sums, then quantity by quantity;
    2. the same product, period, price and quantity; 3. the same product, period and amount;
    4. exact sums: several billed lines that equal one expected, one billed that equals several;
    5. the same product, period and quantity; then what is left, quantity by quantity: same product, period and price,
       same product and period, same product and overlapping periods; prices that are each other's nearest first;
    6. touching products: exact sums, then money in proportion, only between lines without a partner;
    7. what nothing asked for: with the line's main partner, the named contract line, or an expected line of equal
       product, period and price; else it is left over.
    The sum search looks at eight lines and four terms at most. Whoever finds no sum falls through to 5.

    O(n log n) in the lines: every pass is a sort by its block's key and one walk over the block.
    Raises ``ValueError`` for two lines of a side with one key.
    """
    run = _Run(wanted, offered, kin or {})
    run.net_credits()
    for step in (run.by_reference, run.by_equality, run.by_sums, run.by_nearness, run.by_kin):
        if run.unsettled():  # most groups are settled by the first passes
            step()
    duplicates = run.duplicates()
    run.keep_rests({key for key, _ in duplicates})
    run.place_credits()
    return run.result(duplicates)


def _sorted(side: Iterable[_Side]) -> list[_Side]:
    ordered = sorted(side, key=lambda one: one.key)
    for one, two in pairwise(ordered):
        if one.key == two.key:
            raise ValueError(f"two lines have the key {one.key}")
    return ordered


def _blocks(side: Iterable[_Side], key: Callable[[_Side], Hashable]) -> dict[Hashable, list[_Side]]:
    """Open lines by a key; lines whose key is ``None`` are left out. Blocks keep the order of the lines."""
    blocks: dict[Hashable, list[_Side]] = defaultdict(list)
    for one in side:
        if one.open and (found := key(one)) is not None:
            blocks[found].append(one)
    return blocks


def _price(one: _Want | _Offer) -> Fraction:
    price = one.line.unit_price
    return Fraction(-1) if price is None else Fraction(price)


def _overlap(one: _Want | _Offer, two: _Want | _Offer) -> bool:
    return one.line.period.start < two.line.period.end and two.line.period.start < one.line.period.end


def _share_of(value: Decimal, part: Decimal, whole: Decimal, scale: int) -> Decimal:
    """``value x part / whole``; all of it where the part is the whole."""
    return value if part == whole else round_to(Fraction(value) * Fraction(part) / Fraction(whole), scale)


class _Run:
    """One allocation under way: what is left of each line, and what has been given."""

    def __init__(self, wanted: Sequence[Wanted], offered: Sequence[Offered], kin: Mapping[str, Iterable[str]]) -> None:
        self.wants = _sorted(_Want(one, one.quantity, one.amount) for one in wanted)
        lines = _sorted(_Offer(one, one.quantity, one.amount) for one in offered)
        self.offers = [one for one in lines if one.charges]
        self.credits = [one for one in lines if not one.charges]
        self.offsets: list[Offset] = []
        self.kin: dict[str, set[str]] = defaultdict(set)
        for product, others in kin.items():
            for other in others:
                if other != product:
                    self.kin[product].add(other)
                    self.kin[other].add(product)

    def unsettled(self) -> bool:
        return bool(self.wants) and any(offer.open for offer in self.offers)

    # --- giving ---------------------------------------------------------------------------------------------------
    def give(self, want: _Want, offer: _Offer, quantity: Decimal, amount: Decimal, by: By) -> None:
        offer.shares.append((want, quantity, amount, by))
        offer.quantity -= quantity
        offer.amount -= amount
        want.touched = True

    def give_all(self, want: _Want, offer: _Offer, by: By, *, closes: bool = True) -> None:
        self.give(want, offer, offer.quantity, offer.amount, by)
        if closes:
            self.close(want)

    def close(self, want: _Want) -> None:
        want.open = False
        want.quantity = None if want.quantity is None else _ZERO
        want.amount = None if want.amount is None else _ZERO

    def meet(self, want: _Want, offer: _Offer, by: By) -> bool:
        """Give as much as both have, by quantity, else by money; whether anything was given."""
        scale = offer.line.scale
        if want.quantity is not None and want.quantity > 0 and offer.quantity > 0:
            units = min(want.quantity, offer.quantity)
            self.give(want, offer, units, _share_of(offer.amount, units, offer.quantity, scale), by)
            if units == want.quantity:
                self.close(want)
            else:
                if want.amount is not None:
                    want.amount -= _share_of(want.amount, units, want.quantity, scale)
                want.quantity -= units
            return True
        if want.quantity is None and want.amount is None:
            self.give_all(want, offer, by)
            return True
        if want.amount is None or want.amount <= 0 or offer.amount <= 0:
            return False
        if want.quantity is None:
            # A flat price has the line's units for itself: what the line bills beyond it is its own price.
            self.give(want, offer, offer.quantity, _ZERO, by)
        self.meet_by_money(want, offer, min(want.amount, offer.amount), by)
        return True

    def meet_by_money(self, want: _Want, offer: _Offer, amount: Decimal, by: By) -> None:
        assert want.amount is not None
        self.give(want, offer, _share_of(offer.quantity, amount, offer.amount, _UNITS), amount, by)
        if amount == want.amount:
            self.close(want)
            return
        if want.quantity is not None:
            want.quantity -= _share_of(want.quantity, amount, want.amount, _UNITS)
        want.amount -= amount

    # --- passes ---------------------------------------------------------------------------------------------------
    def net_credits(self) -> None:
        """Each credit takes back from the lines of its invoice: of the same contract line, product, then any."""

        def line(one: _Offer) -> Hashable:
            return (one.line.contract, one.line.contract_line, one.line.product)

        def product(one: _Offer) -> Hashable:
            return one.line.product

        def any_line(one: _Offer) -> Hashable:
            return ()

        correcting = [one for one in self.credits if one.line.corrects is not None]
        for part in (line, product, any_line) if correcting else ():
            for exactly in (True, False):
                blocks: dict[Hashable, list[_Offer]] = defaultdict(list)
                for offer in self.offers:
                    if offer.amount > 0:
                        blocks[(offer.line.invoice, part(offer))].append(offer)
                for credit in correcting:
                    if credit.amount < 0:
                        self._take_back(credit, blocks.get((credit.line.corrects, part(credit)), []), exactly)

    def _take_back(self, credit: _Offer, lines: list[_Offer], exactly: bool) -> None:
        if exactly:  # a line that it cancels in full comes before whatever is first
            equal = next((one for one in lines[:_KIN] if one.amount == -credit.amount), None)
            lines = [equal] if equal else []
        while lines and credit.amount < 0:
            offer = lines[0]
            amount = min(offer.amount, -credit.amount)
            if amount > 0:
                units = _share_of(-credit.quantity, amount, -credit.amount, _UNITS)
                units = max(min(units, offer.quantity), _ZERO)
                self.offsets.append(Offset(credit.key, offer.key, units, amount))
                offer.amount, offer.quantity = offer.amount - amount, offer.quantity - units
                credit.amount, credit.quantity = credit.amount + amount, credit.quantity + units
                offer.netted = credit.netted = True
            if offer.amount > 0:
                return
            lines.pop(0)

    def by_reference(self) -> None:
        sources: dict[tuple[str, str], set[str]] = defaultdict(set)
        for want in self.wants:
            if want.line.contract is not None and want.line.line is not None:
                sources[want.line.contract, want.line.line].add(want.line.source)
        contracts = {(want.line.source, want.line.contract) for want in self.wants}

        def named(offer: _Offer) -> Hashable:
            line = offer.line
            if line.contract is None or line.contract_line is None:
                return None
            found = sources.get((line.contract, line.contract_line), set())
            source = line.source if line.source in found else next(iter(found)) if len(found) == 1 else None
            return None if source is None else (source, line.contract, line.contract_line)

        def own(want: _Want) -> Hashable:
            line = want.line
            return None if line.contract is None or line.line is None else (line.source, line.contract, line.line)

        def contract(one: _Want | _Offer) -> Hashable:
            key = (one.line.source, one.line.contract)
            return (*key, one.line.product) if one.line.contract is not None and key in contracts else None

        self._reference(own, named)
        self._reference(contract, contract)

    def _reference(self, want_key: Callable[[_Want], Hashable], offer_key: Callable[[_Offer], Hashable]) -> None:
        wants = _blocks(self.wants, want_key)
        for key, offers in _blocks(self.offers, offer_key).items():
            block = wants.get(key)
            if block:
                self._equal(block, offers, _by_figures, _by_figures, "reference")
                self._equal(block, offers, _by_amount, _by_amount, "reference")
                self._sums(block, offers, "reference")
                self._sweep(block, offers, "reference")

    def by_equality(self) -> None:
        self._equal(self.wants, self.offers, _by_figures, _by_figures, "equal")
        self._equal(self.wants, self.offers, _by_amount, _by_amount, "amount")

    def _equal(
        self,
        wants: Iterable[_Want],
        offers: Iterable[_Offer],
        want_key: Callable[[_Want], Hashable],
        offer_key: Callable[[_Offer], Hashable],
        by: By,
    ) -> None:
        blocks = _blocks(wants, want_key)
        for key, block in _blocks(offers, offer_key).items():
            for want, offer in zip(blocks.get(key, []), block, strict=False):
                self.give_all(want, offer, by)

    def by_sums(self) -> None:
        for key in (_by_period, _by_product):
            wants = _blocks(self.wants, key)
            for found, offers in _blocks(self.offers, key).items():
                if found in wants:
                    self._sums(wants[found], offers, "sum")

    def _sums(self, wants: Sequence[_Want], offers: Sequence[_Offer], by: By) -> None:
        """Several billed lines that equal one expected, then one billed that equals several."""
        fresh = _Pool([one for one in offers if one.open and one.amount > 0 and not one.shares])
        for want in [one for one in wants if one.open and one.amount is not None and one.amount > 0]:
            assert want.amount is not None
            found = fresh.sum_to(want.amount, want)
            for offer in found:
                self.give_all(want, offer, by)
            fresh.drop(found)
        asked = _Pool([one for one in wants if one.open and one.amount is not None and one.amount > 0])
        for offer in fresh.lines():
            parts = asked.sum_to(offer.amount, offer)
            self._spread(offer, parts, by)
            asked.drop(parts)

    def _spread(self, offer: _Offer, wants: Sequence[_Want], by: By) -> None:
        """Give a billed line to expected ones that sum to it: each its amount, and its units if they sum too."""
        if not wants:
            return
        units = [want.quantity for want in wants]
        known = [one for one in units if one is not None]
        if len(known) < len(units) or sum(known, _ZERO) != offer.quantity:
            weights = [want.amount or _ZERO for want in wants]
            scale = max(_UNITS, -int(offer.quantity.as_tuple().exponent))
            known = split_largest_remainder(offer.quantity, weights, scale)
        for want, quantity in zip(wants, known, strict=True):
            self.give(want, offer, quantity, want.amount or _ZERO, by)
            self.close(want)

    def by_nearness(self) -> None:
        self._equal(self.wants, self.offers, _by_units, _by_units, "near")
        for key in (_by_price, _by_period, _by_product):
            wants = _blocks(self.wants, key)
            for found, offers in _blocks(self.offers, key).items():
                if found in wants:
                    self._nearest_prices(wants[found], offers)
                    self._sweep(wants[found], offers, "near")

    def _nearest_prices(self, wants: Sequence[_Want], offers: Sequence[_Offer]) -> None:
        """Prices that are each other's nearest meet before the order of prices decides."""
        left = _blocks(wants, _price)
        right = _blocks(offers, _price)
        asked, billed = sorted(map(_price, wants)), sorted(map(_price, offers))
        for price in dict.fromkeys(asked):
            found = _nearest(billed, price)
            if found in right and _nearest(asked, found) == price:
                self._sweep(left[price], right[found], "near")

    def _sweep(self, wants: Iterable[_Want], offers: Iterable[_Offer], by: By) -> None:
        """Both sides in order of period, price and key; each step uses one of them up or passes it by."""

        def order(one: _Want | _Offer) -> tuple[object, ...]:
            return (one.line.period.start, one.line.period.end, _price(one), one.key)

        left, right = sorted(wants, key=order), sorted(offers, key=order)
        i = j = 0
        while i < len(left) and j < len(right):
            want, offer = left[i], right[j]
            if not want.open:
                i += 1
            elif not offer.open:
                j += 1
            elif not _overlap(want, offer) and by != "reference":
                if want.line.period.end <= offer.line.period.start:
                    i += 1
                else:
                    j += 1
            elif offer.shares and (want.quantity is None or offer.quantity <= 0):
                j += 1  # what is left of a line that has its partner goes on by units only: money alone is its price
            elif not self.meet(want, offer, by):
                if want.quantity or want.amount:
                    j += 1
                else:
                    i += 1

    def by_kin(self) -> None:
        """Touching products: a bundle's line for its components, and the reverse. Only lines without a partner."""
        if not self.kin:
            return
        for step in (self._kin_sums, self._kin_money):
            asked = _blocks([one for one in self.wants if not one.touched], _by_product)
            offers = _blocks([one for one in self.offers if not one.shares and one.amount > 0], _by_product)
            for product in sorted(self.kin):
                wants = [one for other in sorted(self.kin[product]) for one in asked.get(other, []) if one.open]
                if wants and product in offers:
                    step(wants, offers[product])

    def _kin_sums(self, wants: list[_Want], offers: list[_Offer]) -> None:
        self._sums(wants, offers, "kin")

    def _kin_money(self, wants: list[_Want], offers: list[_Offer]) -> None:
        first = 0
        for offer in offers:
            while first < len(wants) and not wants[first].open:
                first += 1
            self._over_kin(offer, wants[first : first + _KIN])

    def _over_kin(self, offer: _Offer, wants: Sequence[_Want]) -> None:
        """Spread a line's money over expected lines of touching products, by what each still asks for."""
        found = [w for w in wants if w.open and w.amount is not None and w.amount > 0 and _overlap(w, offer)]
        asked = sum((want.amount or _ZERO for want in found), _ZERO)
        if not found:
            return
        if offer.amount >= asked:
            parts = [want.amount or _ZERO for want in found]
        else:
            scale = max(offer.line.scale, -int(offer.amount.as_tuple().exponent))
            parts = split_largest_remainder(offer.amount, [want.amount or _ZERO for want in found], scale)
        for want, part in zip(found, parts, strict=True):
            if part > 0:
                self.meet_by_money(want, offer, min(part, want.amount or _ZERO), "kin")

    # --- what is left ---------------------------------------------------------------------------------------------
    def duplicates(self) -> list[tuple[Key, Key]]:
        """Lines that answer nothing and repeat another one in every figure."""
        twins: dict[Hashable, list[_Offer]] = defaultdict(list)
        for offer in self.offers:
            if offer.amount > 0 or offer.shares:
                twins[_figures(offer.line)].append(offer)
        found = []
        for group in twins.values():
            # The one that answers something is the original, else the first.
            original = next((one for one in group if one.shares), group[0])
            found += [(one.key, original.key) for one in group if one is not original and not one.shares]
        return sorted(found)

    def keep_rests(self, repeated: set[Key]) -> None:
        """What nothing asked for stays with a partner, where one is sure."""
        named: dict[Hashable, _Want] = {}
        priced: dict[Hashable, _Want] = {}
        for want in self.wants:
            named.setdefault((want.line.contract, want.line.line), want)
            priced.setdefault(_by_price(want), want)
        for offer in self.offers:
            if not (offer.quantity or offer.amount) or offer.key in repeated:
                continue
            partner = max(offer.shares, key=lambda share: share[2], default=None)
            if partner is not None:
                self.give(partner[0], offer, offer.quantity, offer.amount, "rest")
                continue
            line = offer.line
            refers = line.contract is not None and line.contract_line is not None
            answer = named.get((line.contract, line.contract_line)) if refers else None
            answer = answer or priced.get(_by_price(offer))
            if answer is not None:
                self.give(answer, offer, offer.quantity, offer.amount, "rest")

    def place_credits(self) -> None:
        """What is left of credits lowers the expected line that they name, else one of their product."""
        given: dict[Key, Decimal] = defaultdict(Decimal)
        for offer in self.offers:
            for want, _, amount, _ in offer.shares:
                given[want.key] += amount
        named: dict[Hashable, list[_Want]] = defaultdict(list)
        products: dict[Hashable, list[_Want]] = defaultdict(list)
        # The most overbilled first: what a credit without an invoice to its name is most likely for.
        for want in sorted(self.wants, key=lambda one: ((one.line.amount or _ZERO) - given[one.key], one.key)):
            named[want.line.contract, want.line.line].append(want)
            products[want.line.product].append(want)
        for credit in self.credits:
            if not (credit.quantity or credit.amount):
                continue
            line = credit.line
            wants = named.get((line.contract, line.contract_line), []) if line.contract and line.contract_line else []
            wants = wants or products.get(line.product, [])
            meets = (one for one in wants[:_KIN] if _overlap(one, credit))
            answer = next(meets, wants[0] if wants else None)
            if answer is not None:
                self.give(answer, credit, credit.quantity, credit.amount, "credit")

    def result(self, duplicates: list[tuple[Key, Key]]) -> Allocation:
        lines = [*self.offers, *self.credits]
        shares: dict[tuple[Key, Key], Share] = {}
        for offer in lines:
            for want, quantity, amount, by in offer.shares:
                # One pair, one share: the first pass that joined them names it.
                before = shares.get((want.key, offer.key))
                if before is not None:
                    quantity, amount, by = before.quantity + quantity, before.amount + amount, before.by
                shares[want.key, offer.key] = Share(want.key, offer.key, quantity, amount, by)
        missing = [Left(one.key, one.quantity, one.amount) for one in self.wants if one.open]
        left = [Left(one.key, one.quantity, one.amount) for one in lines if not one.shares and _remains(one)]
        return Allocation(
            tuple(sorted(shares.values())),
            tuple(sorted(self.offsets)),
            tuple(sorted(missing, key=lambda one: one.key)),
            tuple(sorted(left, key=lambda one: one.key)),
            tuple(duplicates),
        )


class _Pool(Generic[_Side]):
    """Open lines by amount, among which sums are looked for."""

    def __init__(self, lines: Iterable[_Side]) -> None:
        items = [(one.amount or _ZERO, one.key, one) for one in lines]
        self.ordered: list[tuple[Decimal, Key, _Side]] = sorted(items, key=lambda item: item[:2])
        self.total: Decimal = sum((amount for amount, _, _ in self.ordered), _ZERO)
        self.at: dict[Key, Decimal] = {key: amount for amount, key, _ in self.ordered}

    def lines(self) -> list[_Side]:
        return [one for _, _, one in self.ordered]

    def drop(self, lines: Iterable[_Side]) -> None:
        for one in lines:
            amount = self.at.pop(one.key)
            del self.ordered[bisect_left(self.ordered, (amount, one.key), key=lambda item: item[:2])]
            self.total -= amount

    def sum_to(self, target: Decimal, whose: _Want | _Offer) -> list[_Side]:
        """Lines that overlap ``whose`` and sum to ``target``: the fewest of the largest, else all of them."""
        end = bisect_left(self.ordered, (target + 1,), key=lambda item: item[:1])
        near = [item for item in reversed(self.ordered[max(end - 2 * _NEAREST, 0) : end]) if item[0] <= target]
        near = [item for item in near if _overlap(item[2], whose)][:_NEAREST]
        for count in range(1, _TERMS + 1):
            for chosen in combinations(near, count):
                if sum((amount for amount, _, _ in chosen), _ZERO) == target:
                    return [one for _, _, one in chosen]
        if self.total == target and all(_overlap(one, whose) for _, _, one in self.ordered):
            return self.lines()
        return []


def _by_figures(one: _Want | _Offer) -> Hashable:
    """Product, period, price and quantity of what is left; ``None`` without a quantity."""
    if one.quantity is None:
        return None
    return (one.line.product, one.line.period, _price(one), one.quantity)


def _by_units(one: _Want | _Offer) -> Hashable:
    """Equal units at another price: a line that was repriced."""
    return (one.line.product, one.line.period, one.quantity) if one.quantity and not _given(one) else None


def _given(one: _Want | _Offer) -> bool:
    return one.touched if isinstance(one, _Want) else bool(one.shares)


def _nearest(prices: Sequence[Fraction], price: Fraction) -> Fraction:
    """The nearest of sorted prices; of two the lower."""
    at = bisect_left(prices, price)
    return min(prices[max(at - 1, 0) : at + 1], key=lambda one: (abs(one - price), one))


def _by_amount(one: _Want | _Offer) -> Hashable:
    if not one.amount or (isinstance(one, _Offer) and one.shares):
        return None
    return (one.line.product, one.line.period, one.amount)


def _by_price(one: _Want | _Offer) -> Hashable:
    return (one.line.product, one.line.period, _price(one))


def _by_period(one: _Want | _Offer) -> Hashable:
    return (one.line.product, one.line.period)


def _by_product(one: _Want | _Offer) -> Hashable:
    return one.line.product


def _figures(line: Offered) -> Hashable:
    """Everything that two charges have in common when one repeats the other."""
    price = None if line.unit_price is None else Fraction(line.unit_price)
    place = (line.source, line.contract, line.contract_line, line.product, line.period)
    return (*place, line.quantity, price, line.amount, line.kind, line.corrects)


def _remains(offer: _Offer) -> bool:
    return bool(offer.quantity or offer.amount) or not offer.netted

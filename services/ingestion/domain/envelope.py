"""From the JSON that a sender wrote to facts and rejects. Pure: bytes and the present instant in, drafts out.

A batch is validated once, as a whole, straight from its bytes. Only if something in it is wrong is it looked at item by
item, and each bad one becomes a reject that names the field, the reason and the fix, and keeps the sender's own bytes.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from functools import cached_property
from typing import Annotated, Any, Literal, Union

import orjson
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from services.ingestion.domain.facts import Fact, Fault, Rejected, Sender
from services.ingestion.domain.sense import nonsense
from services.ingestion.domain.words import fault_of
from shared.events.base import Instant, Key
from shared.events.catalogue import CATALOGUE, Kind
from shared.events.feeds import FeedObserved
from shared.events.record import MAX_BYTES, Assertion, Context, FactDrafter, RecordTooLarge

MAX_RECORDS = 5_000
MAX_DEPTH = 32
MAX_FAULTS = 10
"""Faults of one item that are told."""
_COUNTED_FAULTS_MAX = 1_000
MAX_ITEM_BYTES = 8 * MAX_BYTES
"""Of one item as it was sent: blanks and escapes come off, but this is no record any more."""
AHEAD = timedelta(days=1)
"""How far ahead a source's clock may be: what claims to be later is a mistake, and would outrank all that follows."""
OWN_SOURCES = "plumbline."
"""Sources that begin so are ours: no sender speaks for them."""
NOT_SENT = frozenset({"calendar.advanced.v1"})
"""Facts that ingestion itself makes."""
_TEXT_MAX = 200


class NotJson(ValueError):
    """The bytes are not JSON in UTF-8; the message says where."""


class TooDeep(ValueError):
    """The JSON is nested deeper than :data:`MAX_DEPTH`."""


class NotEvents(ValueError):
    """The JSON is neither one event nor a list of them."""


class TooMany(ValueError):
    """The list holds more than :data:`MAX_RECORDS` items."""


class ItemTooLarge(ValueError):
    """One item alone is over :data:`MAX_ITEM_BYTES`, and is no record."""


class Envelope(BaseModel):
    """A CloudEvents 1.0 event in structured mode, as senders write it. Closed: an unknown attribute is an error."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    specversion: Literal["1.0"]
    """Version of CloudEvents: ``1.0``."""
    id: Key
    """The source's own id of the record; the same id again is the same record."""
    source: Key
    """Who says it, such as ``huntress``; the API key's own source."""
    time: Instant
    """When it occurred."""
    subject: Key | None = None
    """What it is about; made from the data if left out."""
    tenant: Key | None = None
    """The tenant; it can only be the key's own."""
    datacontenttype: Literal["application/json"] | None = None
    """``application/json``, or left out."""
    dataschema: Annotated[str, Field(max_length=500)] | None = None
    """Read and not kept: the type names the schema."""
    assertedat: Instant | None = None
    """The source's own version of what it says: a later one outranks an earlier one. Left out: the time of arrival."""
    run: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Number of the source's run, which decides between equal ``assertedat``."""
    traceparent: Annotated[str, Field(pattern=r"^00-[0-9a-f]{32}-[0-9a-f]{16}-[0-9a-f]{2}$")] | None = None
    """W3C trace context."""


EVENTS: dict[str, type[Envelope]] = {
    row.name: create_model(
        f"{row.model.__name__}Event",
        __base__=Envelope,
        type=(Literal[row.name], ...),  # type: ignore[arg-type]
        data=(row.model, ...),
    )
    for row in CATALOGUE.values()
    if row.kind is Kind.FACT and row.name not in NOT_SENT
}
"""What may be sent: wire type -> model of the whole event."""
_EVENT = Annotated[Union[tuple(EVENTS.values())], Field(discriminator="type")]  # type: ignore[valid-type]  # noqa: UP007
_ONE: TypeAdapter[Any] = TypeAdapter(_EVENT)  # type: ignore[arg-type]
_LIST: TypeAdapter[list[Any]] = TypeAdapter(Annotated[list[_EVENT], Field(max_length=MAX_RECORDS)])  # type: ignore[valid-type,arg-type]


class Batch:
    """The items of one body, in order: each an event (an :class:`Envelope`) or the faults that keep it from being one.

    Raises :class:`NotJson`, :class:`TooDeep`, :class:`NotEvents`, :class:`TooMany`, :class:`ItemTooLarge`.
    """

    def __init__(self, body: bytes) -> None:
        single = body.lstrip(b" \t\r\n")[:1] == b"{"
        self._body = b"[" + body + b"]" if single else body
        self.items: list[Any] = self._all_at_once() or [
            self._item(value, raw) for value, raw in zip(self.values, self.raw, strict=True)
        ]
        if single and len(self.items) != 1:
            raise NotJson("two JSON values where one was expected")  # `{}, {}`: a list only inside our own brackets

    def _all_at_once(self) -> list[Any] | None:
        try:
            return _LIST.validate_json(self._body)
        except ValidationError:
            return None  # and the error, which may be larger than the body, is gone before we look closer

    @staticmethod
    def _item(value: Any, raw: bytes) -> Any:
        if len(raw) > MAX_ITEM_BYTES:
            raise ItemTooLarge(f"an item of {len(raw):,} bytes")
        try:
            return _ONE.validate_json(raw)
        except ValidationError as error:
            if error.error_count() > _COUNTED_FAULTS_MAX:
                fix = "Send the fields of the type, and no others."
                return [Fault("", f"has {error.error_count():,} faults", fix)]
            details = error.errors(include_url=False, include_input=False)
            return [fault_of(detail, value, tuple(EVENTS)) for detail in details[:MAX_FAULTS]]

    @cached_property
    def values(self) -> list[Any]:
        """The items as plain JSON values."""
        try:
            self._body.decode()
            values = orjson.loads(self._body)
        except UnicodeDecodeError as error:
            raise NotJson(f"not UTF-8 at byte {error.start}") from error
        except orjson.JSONDecodeError as error:
            raise NotJson(str(error)) from error
        if not isinstance(values, list):
            raise NotEvents("neither an object nor a list")
        if len(values) > MAX_RECORDS:
            raise TooMany(f"{len(values):,} records")
        if deeper_than(values, MAX_DEPTH):
            raise TooDeep(f"nested deeper than {MAX_DEPTH} levels")
        return values

    @cached_property
    def raw(self) -> list[bytes]:
        """The bytes of each item, exactly as they were sent."""
        assert self.values is not None  # what follows relies on checked depth and syntax
        return [part.encode() for part in _slices(self._body.decode())]


# Numbers stay text: only where an item ends is asked, and a long one would cost quadratic time.
_SCAN: Any = json.scanner.make_scanner(json.JSONDecoder(parse_int=str, parse_float=str))  # type: ignore[attr-defined]
_BLANK = " \t\r\n"


def _slices(text: str) -> Iterator[str]:
    position = text.index("[") + 1
    while True:
        while text[position] in _BLANK or text[position] == ",":
            position += 1
        if text[position] == "]":
            return
        _, end = _SCAN(text, position)
        yield text[position:end]
        position = end


def deeper_than(value: Any, depth: int) -> bool:
    """Whether ``value`` holds containers nested in more than ``depth`` levels. Never recurses."""
    level = [value]
    for _ in range(depth):
        level = [
            inner
            for outer in level
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, (dict, list))
        ]
        if not level:
            return False
    return True


def read(
    body: bytes,
    sender: Sender,
    now: datetime,
    *,
    asserted_at: datetime | None = None,
    causation_id: str | None = None,
    origin: tuple[str | None, str | None] = (None, None),
) -> list[Fact | Rejected]:
    """What a body holds, item by item, in order.

    ``now``: the time at the edge. ``asserted_at``: what the items assert that assert nothing themselves (left out:
    ``now``); ``causation_id`` and ``origin`` (document, locator): what all of them name.

    Raises what :class:`Batch` raises; for anything that is an item it never raises.
    """
    batch = Batch(body)
    desk = _Desk(sender, now, asserted_at or now, causation_id, origin)
    read_items: list[Fact | Rejected] = []
    for n, item in enumerate(batch.items):
        judged = item if isinstance(item, list) else desk.judge(item)
        read_items.append(
            _rejected(batch.values[n], batch.raw[n], judged, sender, origin) if isinstance(judged, list) else judged
        )
    return read_items


class _Desk:
    """Judges well-formed events of one sender at one instant."""

    def __init__(
        self,
        sender: Sender,
        now: datetime,
        asserted_at: datetime,
        causation_id: str | None,
        origin: tuple[str | None, str | None],
    ) -> None:
        self._sender = sender
        self._asserted_at = asserted_at
        self._limit = now + AHEAD
        self._document, self._locator = origin
        context = Context(sender.actor, sender.correlation_id, causation_id, sender.trace_parent)
        self._drafter = FactDrafter(sender.tenant, context, Assertion(asserted_at))

    def judge(self, event: Any) -> Fact | list[Fault]:
        if event.source != self._sender.source or event.tenant is not None:
            fault = self._not_theirs(event)
            if fault:
                return [fault]
        assertion = None
        if event.assertedat is not None or event.run is not None:
            assertion = Assertion(event.assertedat or self._asserted_at, event.run or 0)
            if assertion.asserted_at > self._limit:
                return [_ahead("assertedat")]
        if event.time > self._limit:
            return [_ahead("time")]
        if isinstance(event.data, FeedObserved) and (fault := self._not_observed(event.data)):
            return [fault]
        if fault := nonsense(event.data, event.time):
            return [fault]
        try:
            draft = self._drafter.draft(
                CATALOGUE[event.type],
                source=event.source,
                record_id=event.id,
                time=event.time,
                data=event.data,
                subject=event.subject,
                assertion=assertion,
                trace_parent=event.traceparent,
                origin_document=self._document,
                origin_locator=self._locator,
            )
        except RecordTooLarge as error:
            return [Fault("data", f"makes a record of {error}", f"Send less than {MAX_BYTES:,} bytes in one record.")]
        except OverflowError:
            # An instant within hours of the first or last year has no UTC.
            return [Fault("time", "or another instant is out of range", "Send instants of the years 2 to 9998.")]
        return Fact(event.source, event.id, draft)

    def _not_theirs(self, event: Any) -> Fault | None:
        if event.tenant is not None and event.tenant != self._sender.tenant:
            return Fault("tenant", "is another tenant", "Leave it out, or send it with a key of that tenant.")
        if self._sender.source is not None and event.source != self._sender.source:
            return Fault(
                "source", "does not belong to this key", f"Send {self._sender.source!r}, or use a key of that source."
            )
        if event.source.startswith(OWN_SOURCES):
            return Fault("source", f"begins with {OWN_SOURCES!r}, which is ours", "Send the vendor's own name.")
        return None

    def _not_observed(self, data: FeedObserved) -> Fault | None:
        if data.asserted_at > self._limit:
            return _ahead("data.asserted_at")
        if data.covers_from > data.covers_to:
            return Fault("data.covers_to", "lies before covers_from", "Send the end of the span, exclusive.")
        if data.covers_to > data.asserted_at:
            return Fault(
                "data.covers_to", "lies after asserted_at", "A run can only cover what was over when it began."
            )
        return None


def _ahead(field: str) -> Fault:
    return Fault(field, "lies more than one day ahead", "Correct the date, or the sender's clock.")


def _rejected(
    value: Any, raw: bytes, faults: Sequence[Fault], sender: Sender, origin: tuple[str | None, str | None]
) -> Rejected:
    fields = value if isinstance(value, dict) else {}
    claimed = _text(fields.get("source")) or ""
    return Rejected(
        source=sender.source or ("" if claimed.startswith(OWN_SOURCES) else claimed),
        record_id=_text(fields.get("id")),
        type=_text(fields.get("type")),
        item=raw,
        faults=faults,
        origin_document=origin[0],
        origin_locator=origin[1],
    )


def _text(value: Any) -> str | None:
    """``value`` if a column can hold it."""
    return value if isinstance(value, str) and 0 < len(value) <= _TEXT_MAX and "\x00" not in value else None

"""Drafts for tests of the log: a usage fact, a command on a setting, a derived verdict, each by its telling parts."""

from __future__ import annotations

from datetime import UTC, date, datetime
from decimal import Decimal

from shared.events.catalogue import CATALOGUE, setting_stream
from shared.events.discrepancies import Basis, Code, Direction, DiscrepancyBody, DiscrepancyDetected, Reached
from shared.events.record import Assertion, Context, Draft, draft_decision, draft_derived, draft_fact
from shared.events.settings import SettingChanged
from shared.events.usage import UsageMetered
from shared.kernel.identity import decision_id, derived_id, stream_id

TIME = datetime(2026, 3, 1, tzinfo=UTC)


def fact(
    name: str | int,
    quantity: int = 1,
    *,
    tenant: str = "acme",
    account: str | None = None,
    correlation: str | None = None,
    asserted_at: datetime = TIME,
    document: str | None = None,
) -> Draft:
    """A usage fact with id ``name``; its account (by default one for each name) chooses the partition."""
    return draft_fact(
        CATALOGUE["usage.metered.v1"],
        tenant=tenant,
        source="vendor",
        record_id=str(name),
        time=TIME,
        data=UsageMetered(
            account=account or f"account-{name}",
            sku="backup",
            kind="gauge",
            quantity=Decimal(quantity),
            event=str(name),
        ),
        assertion=Assertion(asserted_at),
        context=Context("service:ingestion", correlation_id=correlation),
        origin_document=document,
    )


def command(
    key: str, expected: int, *, name: str, values: tuple[str, ...] = ("1",), tenant: str = "acme"
) -> list[Draft]:
    """The command ``name`` on a setting's stream: one record per value, decided on version ``expected``."""
    return [
        draft_decision(
            CATALOGUE["setting.changed.v1"],
            tenant=tenant,
            source="plumbline.ingestion",
            record_id=decision_id(name, n),
            time=TIME,
            data=SettingChanged(key=key, value=value),
            command={"name": "change_setting", "key": key, "values": list(values), "n": n, "actor": "key:abc"},
            stream=setting_stream(tenant, key),
            expected=expected,
            n=n,
            context=Context("key:abc"),
        )
        for n, value in enumerate(values, 1)
    ]


def derived(client: str, expected: int, *, amount: str = "1.00", tenant: str = "acme") -> Draft:
    """Version ``expected + 1`` of a client's discrepancy."""
    stream = stream_id("discrepancies", tenant, "discrepancy", client)
    return draft_derived(
        CATALOGUE["discrepancy.detected.v1"],
        tenant=tenant,
        source="plumbline.matching",
        record_id=derived_id(stream, expected + 1),
        time=TIME,
        data=DiscrepancyDetected(
            body=DiscrepancyBody(
                code=Code.QTY_UNDER,
                family="QTY",
                client=client,
                direction=Direction.CLIENT_OWES_US,
                amount=Decimal(amount),
                currency="USD",
                reached=Reached.NOWHERE,
                why="one seat is not billed",
            ),
            basis=Basis(cut={"usage": (0,) * 12}, epoch=1, as_of=date(2026, 3, 1), rules=1),
        ),
        stream=stream,
        expected=expected,
        context=Context("service:matching"),
    )

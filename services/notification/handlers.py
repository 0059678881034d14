"""The consumer ``notification.alerts``: each record about a discrepancy becomes one intent, each setting is folded."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import ValidationError

from services.notification.domain.message import Verdict, payload
from services.notification.store import Intent, plan, set_secret, set_url
from shared.events.catalogue import CATALOGUE
from shared.events.record import Draft
from shared.events.settings import SettingChanged
from shared.kernel.canonical import canonical
from shared.kernel.identity import effect_id
from shared.messaging.consumer import BadRecord, Consumer, Received

CONSUMER = "notification.alerts"
URL_KEY = "notification.webhook.url"
SECRET_KEY = "notification.webhook.secret"  # noqa: S105 - the name of a setting
_ALERTS = ("discrepancy.detected.v1", "discrepancy.changed.v1", "discrepancy.cleared.v1")
_SETTING = "setting.changed.v1"


class Alerts:
    """The handler. ``on_planned`` is called when intents were planned in a transaction that is about to commit."""

    def __init__(self, on_planned: Callable[[], None]) -> None:
        self._on_planned = on_planned

    async def handle(self, tx: Any, batch: Sequence[Received]) -> Mapping[str, Sequence[Draft]]:
        for record in batch:
            if record.type == _SETTING:
                await _fold(tx, record)
        intents = [intent_of(record) for record in batch if record.type in _ALERTS]
        if intents:
            await plan(tx, intents)
            self._on_planned()
        return {}


def consumer(on_planned: Callable[[], None]) -> Consumer:
    """Ordered: a discrepancy that was cleared is not announced while its detection is set aside."""
    return Consumer(
        name=CONSUMER,
        schema="notification",
        topics=("discrepancies", "settings"),
        handler=Alerts(on_planned),
        ordered=True,
    )


def intent_of(record: Received) -> Intent:
    """The message about one version of a discrepancy. Its id comes from the record alone: whoever plans it again, after
    a crash or on another machine, plans the same one. Raises :class:`BadRecord`."""
    fields = record.fields
    verdict: Verdict = _data(record)
    stream, version, place = UUID(hex=fields["stream"]), fields["streamversion"], str(record.place)
    message = payload(record.type, record.recorded_at, record.tenant, stream, version, place, verdict)
    return Intent(
        tenant=record.tenant,
        intent=f"msg_{effect_id(CONSUMER, fields['id'], 1)}",
        stream=stream,
        version=version,
        type=record.type,
        place=place,
        recorded_at=record.recorded_at,
        record_id=fields["id"],
        correlation_id=fields.get("correlationid"),
        payload=canonical(message).decode(),
    )


async def _fold(tx: Any, record: Received) -> None:
    setting: SettingChanged = _data(record)
    version = record.fields["streamversion"]
    if setting.key == URL_KEY:
        await set_url(tx, record.tenant, setting.value, version, record.recorded_at)
    elif setting.key == SECRET_KEY:
        await set_secret(tx, record.tenant, setting.secret, version, record.recorded_at)


def _data(record: Received) -> Any:
    try:
        return CATALOGUE[record.type].model.model_validate(record.fields["data"])
    except ValidationError as error:
        raise BadRecord(f"{record.place} does not hold what its type says: {error.errors()[0]['msg']}") from error

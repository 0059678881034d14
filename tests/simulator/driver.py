"""Speaks to Plumbline as a PSA and as vendors do: CSV files and batches of CloudEvents over HTTP.

Every answer is added up, so that at the end what was sent can be held against what was stored; the time of each answer
is kept by the place of the record, so that an alert's latency counts from the answer that its cause got.
"""

from __future__ import annotations

import asyncio
import csv
import io
import json
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime
from pathlib import Path

import httpx
import orjson

_RETRIED = {429, 502, 503, 504}
_TRIES = 60
_LOOK_S, _QUIET_LOOKS = 0.3, 5


@dataclass
class Tally:
    """What was sent, counted here, and what the service says became of it."""

    sent: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)

    def add(self, sent: int, receipt: dict[str, int]) -> None:
        self.sent += sent
        for outcome in ("stored", "duplicate", "quarantined"):
            self.outcomes[outcome] += receipt[outcome]

    @property
    def balanced(self) -> bool:
        return self.sent == sum(self.outcomes.values())


_DOCUMENT = {"invoices": "invoice", "vendor-bills": "bill"}
"""Profiles whose rows are lines of documents, and the column that names the document."""


def _records_of(profile: str, rows: list[dict[str, str]]) -> int:
    """How many records a file must make: one a row, and a header for each document."""
    name = _DOCUMENT.get(profile)
    return len(rows) + (len({row[name] for row in rows}) if name else 0)


def as_csv(rows: Iterable[dict[str, str]]) -> str:
    """Rows as one CSV file; a cell that a row does not have is empty."""
    rows = list(rows)
    out = io.StringIO()
    writer = csv.DictWriter(out, fieldnames=list(dict.fromkeys(name for row in rows for name in row)), restval="")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


class Refused(Exception):
    """An answer that a retry cannot mend."""


class Driver:
    """One tenant's outside world. Use as an async context manager."""

    def __init__(self, home: Path, tenant: str) -> None:
        self.endpoints: dict[str, str] = json.loads((home / "run" / "endpoints.json").read_text())
        admin = (home / "secrets" / "admin_token").read_text().strip()
        self.tenant = tenant
        self.tally = Tally()
        self.answered: dict[str, float] = {}
        """Place -> monotonic second at which its record's HTTP answer came."""
        self._http = httpx.AsyncClient(
            timeout=60,
            trust_env=False,
            headers={"Authorization": f"Bearer {admin}", "Plumbline-Tenant": tenant},
            limits=httpx.Limits(max_connections=32),
        )
        self._keys: dict[str, str] = {}

    async def __aenter__(self) -> Driver:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.aclose()

    async def call(self, service: str, method: str, path: str, **options: object) -> httpx.Response:
        """One request, again while the service is away or says to wait; raises :class:`Refused` on any other error."""
        for attempt in range(_TRIES):
            try:
                answer = await self._http.request(method, self.endpoints[service] + path, **options)  # type: ignore[arg-type]
            except httpx.TransportError:
                await asyncio.sleep(min(0.1 * 2**attempt, 1.0))
                continue
            if answer.status_code in _RETRIED:
                await asyncio.sleep(min(float(answer.headers.get("Retry-After", "0.5")), 1.0))
                continue
            if answer.is_error:
                raise Refused(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
            return answer
        raise Refused(f"{method} {path}: {service} did not answer in {_TRIES} tries")

    # --- setting up -----------------------------------------------------------------------------------------------
    async def create_tenant(self, name: str, zone: str) -> None:
        await self.call(
            "ingestion", "POST", "/v1/admin/tenants", json={"tenant": self.tenant, "name": name, "time_zone": zone}
        )

    async def create_key(self, source: str) -> None:
        body = {"tenant": self.tenant, "source": source}
        self._keys[source] = (await self.call("ingestion", "POST", "/v1/admin/keys", json=body)).json()["data"]["token"]

    async def set(self, key: str, value: str, *, secret: bool = False) -> None:
        await self.call("ingestion", "PUT", f"/v1/settings/{key}", json={"secret" if secret else "value": value})

    # --- files ----------------------------------------------------------------------------------------------------
    async def upload(self, profile: str, rows: Iterable[dict[str, str]], *, source: str) -> None:
        """Send rows as one CSV file of a profile."""
        rows = list(rows)
        if not rows:
            return
        answer = await self.call(
            "ingestion",
            "POST",
            "/v1/files",
            params={"profile": profile, "source": source, "filename": f"{profile}.csv"},
            content=as_csv(rows).encode(),
            headers={"Content-Type": "text/csv"},
        )
        self.tally.add(_records_of(profile, rows), answer.json()["receipt"])

    # --- records --------------------------------------------------------------------------------------------------
    async def send(self, source: str, batch: list[dict[str, object]], batch_id: str) -> dict[str, object]:
        """Post one batch with the source's own key. The batch id makes a retry safe: it gets the first answer again."""
        headers = {
            "Authorization": f"Bearer {self._keys[source]}",
            "Idempotency-Key": batch_id,
            "Content-Type": "application/cloudevents-batch+json",
        }
        answer = await self.call("ingestion", "POST", "/v1/records", content=orjson.dumps(batch), headers=headers)
        now = time.monotonic()
        body = answer.json()
        self.tally.add(len(batch), body["receipt"])
        for record in body["records"]:
            if record["outcome"] == "stored":
                self.answered[record["place"]] = now
        return body

    async def stream(
        self, source: str, events: Iterator[dict[str, object]], *, batch: int = 50, per_second: float = 0
    ) -> int:
        """Post events in batches, paced to ``per_second`` (0: as fast as it goes); returns how many were sent."""
        started, sent, number = time.monotonic(), 0, 0
        chunk: list[dict[str, object]] = []
        for event in events:
            chunk.append(event)
            if len(chunk) == batch:
                await self.send(source, chunk, f"{source}/{number}")
                sent, number, chunk = sent + len(chunk), number + 1, []
                if per_second:
                    await asyncio.sleep(max(0.0, started + sent / per_second - time.monotonic()))
        if chunk:
            await self.send(source, chunk, f"{source}/{number}")
            sent += len(chunk)
        return sent

    async def observed(self, source: str, covers_from: str, covers_to: str) -> None:
        """The vendor declares a span complete."""
        body = {"covers_from": covers_from, "covers_to": covers_to}
        answer = await self.call(
            "ingestion",
            "POST",
            f"/v1/feeds/{source}/usage/observed",
            json=body,
            headers={"Idempotency-Key": f"observed/{source}"},
        )
        self.answered[answer.json()["data"]["place"]] = time.monotonic()

    async def missed(self, source: str, due_at: datetime) -> None:
        """A run of the source's feed that was due has not come."""
        at = due_at.isoformat()
        envelope = {"specversion": "1.0", "type": "feed.missed.v1", "source": source, "id": f"usage/missed/{source}"}
        data = {"feed": "usage", "run": 1, "due_at": at}
        await self.send(source, [{**envelope, "time": at, "assertedat": at, "run": 1, "data": data}], "missed")

    async def close(self, client: str, month: date) -> None:
        """Close a client's month, whatever is open in it."""
        path = f"/v1/statements/{client}/{month:%Y-%m}/close"
        headers = {"Idempotency-Key": f"close/{client}/{month}"}
        await self.call("matching", "POST", path, json={"reason": "the month is over"}, headers=headers)

    # --- waiting and looking --------------------------------------------------------------------------------------
    async def settled(self, timeout_s: float = 60) -> None:
        """Wait until nothing is on its way: relays and consumers have caught up, nothing is due, each message is out.

        A service looks at its own lag once a second, so it must be quiet for longer than that.
        """
        deadline, quiet = time.monotonic() + timeout_s, 0
        while quiet < _QUIET_LOOKS:
            waiting = await self._waiting()
            quiet = 0 if waiting else quiet + 1
            if time.monotonic() > deadline:
                raise Refused(f"not settled after {timeout_s:.0f} s: {waiting}")
            await asyncio.sleep(_LOOK_S)

    async def _waiting(self) -> list[str]:
        found = []
        for service in ("ingestion", "matching", "notification"):
            state = (await self.call(service, "GET", "/health/ready")).json()
            messaging = state["messaging"]
            found += [
                f"relay of {relay['topic']}: {relay['behind']}" for relay in messaging["relays"] if relay["behind"]
            ]
            for consumer in messaging["consumers"]:
                lag = sum(topic["records"] for topic in consumer["lag"].values())
                found += [f"{consumer['consumer']}: {lag} behind"] if lag else []
            found += [f"{service}: {state['due']} due"] if state.get("due") else []
        for state_name in ("planned", "sending"):
            params = {"state": state_name, "limit": "1"}
            page = (await self.call("notification", "GET", "/v1/notifications", params=params)).json()
            found += [f"a message is {state_name}"] if page["data"] else []
        return found

    async def discrepancies(self, state: str = "open") -> list[dict[str, object]]:
        """Every discrepancy in a state, all pages."""
        found: list[dict[str, object]] = []
        cursor: str | None = None
        while True:
            params = {"state": state, "limit": "500"} | ({"cursor": cursor} if cursor else {})
            body = (await self.call("matching", "GET", "/v1/discrepancies", params=params)).json()
            found += body["data"]
            cursor = body["meta"]["next"]
            if not cursor:
                return found

    async def discrepancy_records(self) -> int:
        """How many records topic ``discrepancies`` holds: each of them is a message."""
        count, after = 0, None
        while True:
            params = {"topic": "discrepancies", "limit": "1000"} | ({"after": after} if after else {})
            body = (await self.call("ingestion", "GET", "/v1/records", params=params)).json()
            if not body["data"]:
                return count
            count, after = count + len(body["data"]), body["meta"]["next"]

"""Identities, places and partitions (protocols.md section 1). Every value here is pinned by golden vectors in the
tests: changing one would give old records a second identity."""

from __future__ import annotations

import hashlib
from uuid import UUID


def _digest(*parts: str) -> bytes:
    return hashlib.sha256("\x00".join(parts).encode()).digest()


def id_hash(tenant: str, source: str, record_id: str) -> UUID:
    """Who a record is: the first 16 bytes of SHA-256 over tenant, source and id."""
    return UUID(bytes=_digest(tenant, source, record_id)[:16])


def content_hash(content: bytes) -> UUID:
    """What a record says: the first 16 bytes of SHA-256 over its canonical content."""
    return UUID(bytes=hashlib.sha256(content).digest()[:16])


def partition_of(tenant: str, key: str, partitions: int) -> int:
    """The partition of a key; the key is a function of the record's own identifiers, never of a mapping."""
    return int.from_bytes(_digest(tenant, key)[:8], "big") % partitions


def join_key(*parts: str) -> str:
    """One key out of several identifiers, without two different tuples ever meeting."""
    return "\x00".join(parts)


def stream_id(topic: str, tenant: str, kind: str, *entity: str) -> UUID:
    """The stream of one entity: its decisions or derived records, in versions 1..n."""
    return UUID(bytes=_digest(topic, tenant, kind, *entity)[:16])


def derived_id(stream: UUID, version: int) -> str:
    """The id of version ``version`` of a stream: never random, so that a retry is a duplicate."""
    return _digest(str(stream), str(version)).hex()[:32]


def decision_id(command_id: str, n: int) -> str:
    """The id of the n-th record (from 1) of one command."""
    return _digest(command_id, str(n)).hex()[:32]


def effect_id(consumer: str, cause_id: str, n: int) -> str:
    """The id of the n-th effect (from 1) that a consumer has of one cause."""
    return _digest(consumer, cause_id, str(n)).hex()[:32]

"""Invalid items under seal: each is ciphertext under a key of its own, wrapped by the vault's master key, in its row.

They may hold anything. In the row and not in the vault's tables because the item, its receipt and its sums then commit
in one transaction, and because erasing it is to empty the row.
"""

from __future__ import annotations

from uuid import UUID

from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from services.ingestion.store import Sealed
from shared.vault.keys import KEY_BYTES, NONCE_BYTES, Master, Random, aad, opened

# The key serves this item alone, so one fixed nonce never repeats.
_NONCE = bytes(NONCE_BYTES)
_PART = "quarantine"


def seal(master: Master, tenant: str, item_id: UUID, item: bytes, random: Random) -> Sealed:
    """``item`` as it is kept, bound to its tenant and id."""
    key = random(KEY_BYTES)
    ciphertext = AESGCM(key).encrypt(_NONCE, item, aad(tenant, item_id, _PART))
    return Sealed(ciphertext, master.wrap(tenant, item_id, key, random), master.version)


def unseal(master: Master, tenant: str, item_id: UUID, sealed: Sealed) -> bytes:
    """The item as it was sent. Raises :class:`~shared.vault.keys.VaultError` if it cannot be opened."""
    key = master.unwrap(tenant, item_id, sealed.master, sealed.wrapped)
    return opened(AESGCM(key), _NONCE, sealed.item, aad(tenant, item_id, _PART))

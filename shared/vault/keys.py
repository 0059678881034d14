"""The master key, and what is derived from it: how objects are sealed and opened."""

from __future__ import annotations

import hmac
import stat
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

MASTER_FILE = "vault_master"
KEY_BYTES = 32
NONCE_BYTES = 12

Random = Callable[[int], bytes]
"""So many bytes that nobody can guess: ``secrets.token_bytes`` at the edge, a seeded source in a simulation."""
Db = asyncpg.Pool | asyncpg.Connection | Any
"""A pool (one transaction of the tenant is opened) or the connection of a transaction that is already open."""


class VaultError(Exception):
    """Something about the vault that a person has to know; the message says what to do."""


class MasterKeyRefused(VaultError):
    """The master key's file cannot be used."""


class WrongMasterKey(VaultError):
    """The object was sealed under another master key than the one in the file."""


class Damaged(VaultError):
    """The ciphertext is not what was stored for this tenant and object: it was altered, moved or cut short."""


class Erased(VaultError):
    """The object was erased on request; nothing can bring it back."""


class NotInVault(VaultError):
    """This tenant has no such object."""


@dataclass(frozen=True, slots=True)
class Master:
    """The master key. It never seals data itself: keys for each tenant and purpose are derived from it."""

    key: bytes = field(repr=False)

    @classmethod
    def load(cls, secrets_dir: Path) -> Master:
        """From the file ``vault_master`` (64 hex digits, mode 600). Raises :class:`MasterKeyRefused`."""
        path = secrets_dir / MASTER_FILE
        try:
            mode = path.stat().st_mode
            text = path.read_text().strip()
        except (OSError, UnicodeDecodeError) as error:
            raise MasterKeyRefused(f"cannot read the vault's master key {path}: {error}") from error
        if not stat.S_ISREG(mode) or mode & 0o077:
            raise MasterKeyRefused(f"{path} can be read by others (mode {stat.S_IMODE(mode):o}). fix: chmod 600 {path}")
        try:
            key = bytes.fromhex(text)
        except ValueError:
            key = b""
        if len(key) != KEY_BYTES:
            raise MasterKeyRefused(f"{path} must hold {KEY_BYTES} bytes as {2 * KEY_BYTES} hex digits")
        return cls(key)

    @property
    def version(self) -> str:
        """Names the key without giving it away; stored with each wrapped key."""
        return _derive(self.key, "version", "")[:8].hex()

    def mac(self, tenant: str, purpose: str, plaintext: bytes) -> bytes:
        """A keyed hash that finds the same plaintext again inside one tenant; without the master it tells nothing."""
        return hmac.digest(_derive(self.key, f"mac {purpose}", tenant), plaintext, "sha256")

    def wrap(self, tenant: str, obj: UUID, key: bytes, random: Random) -> bytes:
        """``key`` as it may be stored: nonce and ciphertext, bound to the tenant and the object."""
        nonce = random(NONCE_BYTES)
        return nonce + AESGCM(_derive(self.key, "wrap", tenant)).encrypt(nonce, key, aad(tenant, obj, "key"))

    def unwrap(self, tenant: str, obj: UUID, version: str, wrapped: bytes) -> bytes:
        """The object's key. Raises :class:`WrongMasterKey`, :class:`Damaged`."""
        if version != self.version:
            raise WrongMasterKey(
                f"object {obj} was sealed under master key {version}, but the file {MASTER_FILE} holds {self.version}."
                " fix: put back the file that this database was filled with"
            )
        cipher = AESGCM(_derive(self.key, "wrap", tenant))
        return opened(cipher, wrapped[:NONCE_BYTES], wrapped[NONCE_BYTES:], aad(tenant, obj, "key"))


@lru_cache(maxsize=4096)
def _derive(key: bytes, purpose: str, tenant: str) -> bytes:
    info = f"plumbline vault\x00{purpose}\x00{tenant}".encode()
    return HKDF(algorithm=hashes.SHA256(), length=KEY_BYTES, salt=None, info=info).derive(key)


def aad(tenant: str, obj: UUID, part: str) -> bytes:
    """What a ciphertext is bound to: opening it as any other part of any other object of any other tenant fails."""
    return b"\x00".join((tenant.encode(), obj.hex.encode(), part.encode()))


def opened(cipher: AESGCM, nonce: bytes, ciphertext: bytes, bound_to: bytes) -> bytes:
    """The plaintext; raises :class:`Damaged`."""
    try:
        return cipher.decrypt(nonce, ciphertext, bound_to)
    except (InvalidTag, ValueError) as error:
        raise Damaged("the ciphertext is not the one that was stored for this tenant and object") from error

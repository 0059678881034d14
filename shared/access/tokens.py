"""API keys as text: ``pl_<prefix>_<secret>``.

The prefix names the key, the secret is 256 random bits, and only an HMAC of the whole token, under a pepper outside the
database, is ever stored.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from base64 import b32encode, urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass, field

_TOKEN = re.compile(r"pl_([a-z0-9]{10})_([A-Za-z0-9_-]{43})", re.ASCII)


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token at the only moment at which it exists in the clear."""

    prefix: str
    token: str = field(repr=False)

    @property
    def ending(self) -> str:
        """The last four characters, by which a person recognises the key in a list."""
        return self.token[-4:]


def new_token(random_bytes: Callable[[int], bytes]) -> NewToken:
    """A fresh token; ``random_bytes`` is ``secrets.token_bytes`` outside tests."""
    prefix = b32encode(random_bytes(8)).decode().lower()[:10]
    secret = urlsafe_b64encode(random_bytes(32)).decode().rstrip("=")
    return NewToken(prefix, f"pl_{prefix}_{secret}")


def prefix_of(token: str) -> str | None:
    """The prefix of a well-formed token, else ``None``."""
    match = _TOKEN.fullmatch(token)
    return match[1] if match else None


def mac_of(pepper: bytes, token: str) -> bytes:
    """What is stored of a token: HMAC-SHA256, 32 bytes."""
    return hmac.new(pepper, token.encode(), hashlib.sha256).digest()

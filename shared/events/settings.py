"""What is set (topic ``settings``): each change is a record, each service folds the keys that it needs."""

from __future__ import annotations

from pydantic import Field

from shared.events.base import Data, Key, Sha256


class SettingChanged(Data):
    """One setting of a tenant has a new value."""

    key: Key
    """The setting, such as ``notification.webhook.url``."""
    value: str | None = Field(default=None, max_length=4096)
    """The value as text; empty: back to the default."""
    secret: Sha256 | None = None
    """A secret value's document in the vault; the record never holds the secret itself."""

"""What a vendor's identifiers mean here (topic ``mappings``): decisions of people."""

from __future__ import annotations

from decimal import Decimal
from typing import Literal

from pydantic import Field, model_validator

from shared.events.base import Data, Day, Exact, Key, Sha256


class MappingTarget(Data):
    """One target of a mapping."""

    id: Key
    """The client (of an account) or product (of a sku)."""
    share: Exact = Field(default=Decimal(1), gt=0, le=1)
    """Share of what is measured that goes there."""


class Exclusion(Data):
    """The identifier is known and not billed."""

    reason: Literal["internal", "not_billed", "test", "other"]
    """Why."""
    until: Day | None = None
    """When to look again."""
    note: Sha256 | None = None
    """A note's document in the vault."""


class MappingConfirmed(Data):
    """An account is a client, or a sku is a product; or it is excluded."""

    kind: Literal["account", "sku"]
    """What is mapped."""
    source: Key
    """The source whose identifier it is."""
    key: Key
    """The identifier, as the source spells it."""
    targets: tuple[MappingTarget, ...] = Field(default=(), max_length=20)
    """Where it goes; several with shares that come to at most 1."""
    excluded: Exclusion | None = None
    """Set instead of targets when it goes nowhere."""

    @model_validator(mode="after")
    def _target_or_exclusion(self) -> MappingConfirmed:
        if bool(self.targets) == (self.excluded is not None):
            raise ValueError("give targets, or an exclusion, not both")
        if len({target.id for target in self.targets}) < len(self.targets):
            raise ValueError("a target is named twice; name each once with its whole share")
        if sum(target.share for target in self.targets) > 1:
            raise ValueError("the shares of the targets come to more than 1; lower them")
        if self.kind == "sku" and any(target.id == "*" for target in self.targets):
            raise ValueError("* stands for all products of a client; give the id of one")
        return self


class MappingWithdrawn(Data):
    """The mapping was wrong: the identifier is unmapped again."""

    kind: Literal["account", "sku"]
    """What was mapped."""
    source: Key
    """The source whose identifier it is."""
    key: Key
    """The identifier."""

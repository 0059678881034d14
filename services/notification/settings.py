"""What notification is told by its environment."""

from __future__ import annotations

from pydantic import Field

from shared.runtime.settings import ServiceSettings


class NotificationSettings(ServiceSettings):
    """See :class:`~shared.runtime.settings.ServiceSettings`, and:"""

    webhook_timeout_s: float = Field(default=10.0, gt=0, le=30)
    """How long a receiver may take, from connecting to the end of its answer. An attempt is given up as lost after
    twice the greatest value."""

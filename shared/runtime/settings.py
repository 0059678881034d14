"""What every service is told by its environment. Values that are secrets never appear in a repr or a log."""

from __future__ import annotations

from pathlib import Path

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class ServiceSettings(BaseSettings):
    """Environment variables ``PLUMBLINE_*``; the supervisor sets them for the services that it starts."""

    model_config = SettingsConfigDict(env_prefix="PLUMBLINE_", frozen=True)

    api_database_url: SecretStr
    """PostgreSQL, as the service's ``_api`` role (row-level security)."""
    work_database_url: SecretStr
    """PostgreSQL, as the service's ``_work`` role (consumers, over all tenants)."""
    kafka_bootstrap: str
    """``host:port`` of a Kafka broker."""
    cell: str = Field(default="plumbline", pattern=r"^[a-z][a-z0-9-]{0,30}$")
    """Topic names start with it."""
    secrets_dir: Path
    """Folder (mode 700) of ``key_pepper``, ``admin_token`` and ``vault_master``, each a file of mode 600."""
    host: str = "127.0.0.1"
    """Address to listen on: loopback unless told."""
    port: int = Field(ge=1, le=65535)
    """Port to listen on."""
    log_level: str = "INFO"

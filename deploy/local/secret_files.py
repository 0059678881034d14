"""The secrets of one installation: made at the first start, kept in files that only their owner may read."""

from __future__ import annotations

import json
import secrets
from pathlib import Path

from deploy.local.home import Home, write_atomically
from shared.runtime.migrate import new_passwords


def make_secrets(home: Home) -> None:
    """Make what is missing, and close what stands open: the folder 700, each file 600."""
    home.secrets.mkdir(parents=True, exist_ok=True)
    home.secrets.chmod(0o700)
    _make(home.secrets / "admin_token", secrets.token_urlsafe(32))
    _make(home.secrets / "key_pepper", secrets.token_hex(32))
    _make(home.secrets / "vault_master", secrets.token_hex(32))
    _make(home.secrets / "postgres_password", secrets.token_urlsafe(32))
    _make(_logins(home), json.dumps(new_passwords(), indent=2))


def administrator_password(home: Home) -> str:
    """Of the embedded PostgreSQL."""
    return (home.secrets / "postgres_password").read_text()


def login_passwords(home: Home) -> dict[str, str]:
    """Login role -> password; a role that a newer release added gets one now."""
    known: dict[str, str] = json.loads(_logins(home).read_text())
    passwords = {**new_passwords(), **known}
    if passwords != known:
        write_atomically(_logins(home), json.dumps(passwords, indent=2), 0o600)
    return passwords


def _logins(home: Home) -> Path:
    return home.secrets / "database_logins.json"


def _make(path: Path, text: str) -> None:
    if path.exists():
        path.chmod(0o600)
    else:
        write_atomically(path, text, 0o600)

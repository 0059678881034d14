"""Migrations: numbered SQL files of each room, run in order by an administrator, each in one transaction.

``docs/decisions/0003-migrations-are-sql-files.md`` says why this is no framework. Files are never edited once landed:
the stored digest is compared, and a database that a newer release has touched is refused.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from dataclasses import dataclass
from pathlib import Path

import asyncpg

ROOT = Path(__file__).resolve().parents[2]
SERVICES = ("ingestion", "matching", "notification")
ROOMS = (
    "shared/eventlog",
    "shared/messaging",
    "shared/vault",
    "shared/access",
    "services/ingestion",
    "services/matching",
    "services/notification",
)
"""In this order: a room may refer to what the rooms before it made."""

_LOCK = 0x706C756D62  # "plumb": one migration at a time, whoever starts it


class MigrationRefused(Exception):
    """The database is not what this release can work on; the message says what differs and what to do."""


@dataclass(frozen=True, slots=True)
class Migration:
    room: str
    name: str
    sql: str

    @property
    def digest(self) -> str:
        return hashlib.sha256(self.sql.encode()).hexdigest()


def migrations(root: Path = ROOT) -> list[Migration]:
    """Every migration of this release, in the order in which it is applied."""
    found = []
    for room in ROOMS:
        for path in sorted((root / room / "migrations").glob("[0-9][0-9][0-9][0-9]_*.sql")):
            found.append(Migration(room, path.stem, path.read_text()))
    return found


def logins() -> list[str]:
    """Every login role: ``plumbline_<service>_api`` serves requests under row-level security,
    ``plumbline_<service>_work`` runs consumers over all tenants."""
    return [f"plumbline_{service}_{kind}" for service in SERVICES for kind in ("api", "work")]


def new_passwords() -> dict[str, str]:
    """A random password for each login role."""
    return {login: secrets.token_urlsafe(32) for login in logins()}


async def _roles(connection: asyncpg.Connection, passwords: dict[str, str]) -> None:
    existing = {row["rolname"] for row in await connection.fetch("SELECT rolname FROM pg_roles")}
    for service in SERVICES:
        group = f"plumbline_{service}"
        if group not in existing:
            await connection.execute(f"CREATE ROLE {group} NOLOGIN NOBYPASSRLS")
        for kind, bypass in (("api", "NOBYPASSRLS"), ("work", "BYPASSRLS")):
            login = f"{group}_{kind}"
            if login not in existing:
                rights = f"LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE {bypass} IN ROLE {group}"
                await connection.execute(f"CREATE ROLE {login} {rights}")
            # token_urlsafe holds no quote; anything else is refused before it reaches SQL.
            if not re.fullmatch(r"[A-Za-z0-9_-]{20,100}", passwords[login]):
                raise MigrationRefused(f"the password of {login} must be 20 to 100 letters, digits, - or _")
            await connection.execute(f"ALTER ROLE {login} PASSWORD '{passwords[login]}'")
    if "log_owner" not in existing:
        await connection.execute("CREATE ROLE log_owner NOLOGIN BYPASSRLS")


async def migrate(admin_url: str, passwords: dict[str, str], *, root: Path = ROOT) -> int:
    """Bring the database up to this release; returns how many migrations were applied.

    Raises :class:`MigrationRefused` if a landed migration was edited, or if the database holds one that this release
    does not know (a newer release wrote it).
    """
    connection = await asyncpg.connect(admin_url, server_settings={"timezone": "UTC"})
    try:
        await connection.execute("SELECT pg_advisory_lock($1)", _LOCK)
        await _roles(connection, passwords)
        await connection.execute(
            "CREATE SCHEMA IF NOT EXISTS plumbline; CREATE TABLE IF NOT EXISTS plumbline.migration"
            " (room text, name text, digest text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now(),"
            " PRIMARY KEY (room, name))"
        )
        applied = {
            (row["room"], row["name"]): row["digest"]
            for row in await connection.fetch("SELECT room, name, digest FROM plumbline.migration")
        }
        wanted = migrations(root)
        unknown = sorted(applied.keys() - {(m.room, m.name) for m in wanted})
        if unknown:
            room, name = unknown[0]
            raise MigrationRefused(
                f"this database was written by a newer release: it holds migration {room}/{name}, which this one"
                " does not know. Use that release, or point PLUMBLINE_DATABASE_URL at another database (embedded: move"
                " var/ away)"
            )
        count = 0
        for migration in wanted:
            digest = applied.get((migration.room, migration.name))
            if digest == migration.digest:
                continue
            if digest is not None:
                raise MigrationRefused(
                    f"migration {migration.room}/{migration.name} differs from the one that this database ran."
                    " Landed migrations are never edited: add a new one, or start from an empty database"
                )
            async with connection.transaction():
                await connection.execute(migration.sql)
                await connection.execute(
                    "INSERT INTO plumbline.migration (room, name, digest) VALUES ($1, $2, $3)",
                    migration.room,
                    migration.name,
                    migration.digest,
                )
            count += 1
        return count
    finally:
        await connection.close()

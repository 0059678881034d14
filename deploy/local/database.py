"""The database before the services: made if it is ours to make, migrated, and refused in words."""

from __future__ import annotations

from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from deploy.local.errors import PlatformError
from shared.runtime import migrate

DATABASE = "plumbline"
"""Name of the database in the embedded server; an external one's is in its address."""


async def create_database(admin_url: str) -> None:
    """Make the database that ``admin_url`` names, if it does not exist."""
    parts = urlsplit(admin_url)
    name = parts.path.lstrip("/")
    connection = await asyncpg.connect(urlunsplit(parts._replace(path="/postgres")))
    try:
        if not await connection.fetchval("SELECT 1 FROM pg_database WHERE datname = $1", name):
            await connection.execute(f'CREATE DATABASE "{name}"')
    finally:
        await connection.close()


async def migrate_database(admin_url: str, passwords: dict[str, str]) -> int:
    """Roles, passwords and migrations; how many migrations were applied. Raises :class:`PlatformError`."""
    try:
        return await migrate.migrate(admin_url, passwords)
    except migrate.MigrationRefused as error:
        raise PlatformError(str(error), where=without_password(admin_url)) from error
    except (OSError, TimeoutError, ValueError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise PlatformError(
            f"the database cannot be prepared: {error or type(error).__name__}",
            where=without_password(admin_url),
            fix="PLUMBLINE_DATABASE_URL must name a running server and an administrator who may make roles"
            " (postgresql://user:password@host:port/database); unset it to use the embedded one",
        ) from error


def with_login(url: str, user: str, password: str) -> str:
    """The same database, as another role."""
    parts = urlsplit(url)
    return urlunsplit(parts._replace(netloc=f"{quote(user)}:{quote(password)}@{address(url)}"))


def address(url: str) -> str:
    """``host:port`` of a database's URL."""
    return urlsplit(url).netloc.rpartition("@")[2]


def without_password(url: str) -> str:
    """A URL that may be shown."""
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}@{address(url)}" if user else address(url)))

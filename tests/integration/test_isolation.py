"""Tenants apart in every schema, by the catalogue: a new table with a tenant column is attacked without being named."""

from __future__ import annotations

import asyncpg
import pytest

from shared.runtime.migrate import logins
from tests.conftest import Database
from tests.integration.isolation import violations

SCHEMAS = ("log", "messaging", "vault", "access", "ingestion", "matching", "notification")


@pytest.mark.parametrize("schema", SCHEMAS)
async def test_no_api_role_reaches_another_tenant(database: Database, schema: str) -> None:
    assert await violations(database, schema) == []


async def test_the_attack_sees_every_kind_of_hole(database: Database) -> None:
    """The proof of the proof: a table for each mistake, and what is said of it."""
    admin = await asyncpg.connect(database.admin)
    await admin.execute(
        """
        CREATE SCHEMA holes; GRANT USAGE ON SCHEMA holes TO plumbline_matching;
        CREATE TABLE holes.no_policy (tenant text, n int);
        CREATE TABLE holes.reads_empty (tenant text, n int);
        CREATE TABLE holes.reads_all (tenant text, n int);
        CREATE TABLE holes.writes (tenant text, n int);
        CREATE TABLE holes.updates (tenant text, n int);
        CREATE TABLE holes.truncates (tenant text, n int);
        CREATE TABLE holes.leaf (tenant text, n int) PARTITION BY LIST (n);
        CREATE TABLE holes.leaf_1 PARTITION OF holes.leaf FOR VALUES IN (1);
        CREATE VIEW holes.view AS SELECT * FROM holes.reads_empty;
        """
    )
    for table in ("reads_empty", "reads_all", "writes", "updates", "truncates", "leaf", "leaf_1"):
        await admin.execute(f"ALTER TABLE holes.{table} ENABLE ROW LEVEL SECURITY, FORCE ROW LEVEL SECURITY")
    await admin.execute(
        """
        CREATE POLICY p ON holes.reads_empty
          USING (coalesce(current_setting('plumbline.tenant', true), '') IN ('', tenant));
        CREATE POLICY p ON holes.reads_all USING (true);
        CREATE POLICY r ON holes.writes FOR SELECT USING (tenant = current_setting('plumbline.tenant', true));
        CREATE POLICY w ON holes.writes FOR INSERT WITH CHECK (true);
        CREATE POLICY r ON holes.updates FOR SELECT USING (tenant = current_setting('plumbline.tenant', true));
        CREATE POLICY w ON holes.updates FOR UPDATE USING (true);
        CREATE POLICY p ON holes.leaf USING (tenant = current_setting('plumbline.tenant', true));
        CREATE POLICY p ON holes.leaf_1 USING (true);
        GRANT SELECT ON ALL TABLES IN SCHEMA holes TO plumbline_matching;
        GRANT INSERT ON holes.writes TO plumbline_matching;
        GRANT UPDATE (n) ON holes.updates TO plumbline_matching;
        GRANT TRUNCATE ON holes.truncates TO plumbline_matching;
        """
    )
    await admin.close()
    found = await violations(database, "holes")
    assert all("matching_api" in what or "not enabled" in what for what in found)
    for hole, words in {
        "no_policy": "not enabled",
        "reads_empty": "reads ['tenant-a', 'tenant-b'] with the setting ''",
        "reads_all": "reaches tenant-b as tenant-a by SELECT",
        "writes": "succeeds with INSERT",
        "updates": "succeeds with UPDATE",
        "truncates": "succeeds with TRUNCATE",
        '"leaf_1"': "is let in by SELECT",
        ".view": "runs as its owner",
    }.items():
        assert [what for what in found if hole in what and words in what], hole


async def test_what_an_api_role_reads_beside_tenants_tables_is_named_here(database: Database) -> None:
    """A table without a tenant column has no owner to check: it holds nobody's data, or says here what guards it."""
    admin = await asyncpg.connect(database.admin)
    rows = await admin.fetch(
        "SELECT DISTINCT n.nspname || '.' || c.relname AS name"
        " FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace CROSS JOIN pg_roles r"
        " WHERE n.nspname = ANY($1) AND c.relkind IN ('r', 'p', 'v', 'm') AND r.rolname = ANY($2)"
        " AND has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE') AND NOT EXISTS"
        " (SELECT 1 FROM pg_attribute a WHERE a.attrelid = c.oid AND a.attname = 'tenant')",
        SCHEMAS,
        [login for login in logins() if login.endswith("_api")],
    )
    await admin.close()
    positions_and_marks = {"log.meta", "log.topic", "log.head", "log.relay", "log.lease"}
    visible_as_their_record_is = {"log.identity", "log.stream"}
    assert {row["name"] for row in rows} == positions_and_marks | visible_as_their_record_is


async def test_no_login_is_more_than_it_says(database: Database) -> None:
    """An ``_api`` role is no owner, no superuser, bypasses nothing, and cannot become a role that does."""
    admin = await asyncpg.connect(database.admin)
    for login in logins():
        row = await admin.fetchrow("SELECT * FROM pg_roles WHERE rolname = $1", login)
        powers = {power for power in ("rolsuper", "rolcreaterole", "rolcreatedb", "rolreplication") if row[power]}
        assert powers == set(), login
        assert row["rolbypassrls"] == login.endswith("_work"), login
        reachable = await admin.fetch(
            "SELECT r.rolname FROM pg_roles r WHERE r.rolname <> $1 AND pg_has_role($1, r.oid, 'MEMBER')"
            " AND (r.rolsuper OR r.rolbypassrls OR r.rolcreaterole)",
            login,
        )
        assert reachable == [], login
        owned = await admin.fetch("SELECT relname FROM pg_class WHERE pg_has_role($1, relowner, 'MEMBER')", login)
        assert owned == [], login
    await admin.close()

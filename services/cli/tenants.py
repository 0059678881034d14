"""``plumbline tenants``, ``keys`` and ``settings``: who may send, and what is set."""

from __future__ import annotations

import sys
from typing import Annotated, Any

import typer

from services.cli.api import segment
from services.cli.faults import Fault
from services.cli.frame import current
from services.cli.output import Column

tenants = typer.Typer(help="The MSPs of this installation.", no_args_is_help=True)
keys = typer.Typer(help="API keys: one for each source that sends.", no_args_is_help=True)
settings = typer.Typer(help="What is set; each change is a record.", no_args_is_help=True)


@tenants.command("add")
def add_tenant(
    tenant: Annotated[str, typer.Argument(help="Its id, such as harbor-msp.")],
    name: Annotated[str | None, typer.Option(help="Its name; default: the id.")] = None,
    zone: Annotated[str, typer.Option(help="Its time zone, IANA.")] = "UTC",
) -> None:
    """Add a tenant. Its calendar begins at once."""
    body = {"tenant": tenant, "name": name or tenant, "time_zone": zone}
    answer = current().admin("ingestion").post("/v1/admin/tenants", json=body)
    current().out.document(answer["data"], show=lambda: current().out.say(f"added tenant {tenant} ({zone})"))
    current().out.note(f"next: plumbline keys create --source NAME --tenant {tenant}")


@tenants.command("list")
def list_tenants() -> None:
    """List the tenants."""
    rows = list(current().admin("ingestion").pages("/v1/admin/tenants"))
    columns = [Column("tenant", "TENANT"), Column("name", "NAME"), Column("time_zone", "ZONE", drop=1)]
    current().out.rows(rows, columns, empty="no tenants yet; plumbline tenants add ID")


@keys.command("create")
def create_key(
    source: Annotated[
        str | None, typer.Option(help="The source that will send with it; none: an operator's key.")
    ] = None,
) -> None:
    """Make a key. Its token is shown once and never again."""
    frame = current()
    answer = frame.admin("ingestion").post("/v1/admin/keys", json={"tenant": frame.tenant, "source": source})
    frame.out.document(answer["data"], show=lambda: frame.out.say(answer["data"]["token"]))
    frame.out.note(f"key {answer['data']['prefix']} of {source or 'an operator'}: keep the token now, it is not stored")


@keys.command("list")
def list_keys() -> None:
    """List the tenant's keys, without their secrets."""
    frame = current()
    rows = list(frame.admin("ingestion").pages("/v1/admin/keys", tenant=frame.tenant))
    columns = [
        Column("prefix", "KEY"),
        Column("source", "SOURCE", show=lambda value: value or "(operator)"),
        Column("ending", "ENDS WITH", drop=2),
        Column("created_at", "MADE", drop=1),
        Column("revoked_at", "REVOKED"),
    ]
    frame.out.rows(rows, columns, empty="no keys yet; plumbline keys create --source NAME")


@keys.command("revoke")
def revoke_key(prefix: Annotated[str, typer.Argument(help="The key's prefix, as listed.")]) -> None:
    """Revoke a key for good; it stops working within a second."""
    frame = current()
    frame.confirm(f"Revoke key {prefix} of {frame.tenant}?")
    answer = frame.admin("ingestion").delete(f"/v1/admin/keys/{segment(prefix)}", params={"tenant": frame.tenant})
    frame.out.document(answer["data"] if answer else {}, show=lambda: frame.out.say(f"revoked {prefix}"))


@settings.command("list")
def list_settings() -> None:
    """List the settings, their values and defaults. Secrets are never shown."""
    rows = list(current().api("ingestion").pages("/v1/settings"))
    columns = [
        Column("key", "SETTING"),
        Column("shown", "VALUE"),
        Column("default", "DEFAULT", drop=1),
        Column("description", "MEANING", drop=2),
    ]
    out = current().out
    out.rows(rows if out.for_programs else [row | {"shown": _shown(row)} for row in rows], columns)


def _shown(row: dict[str, Any]) -> str | None:
    """A setting's value for people; of a secret, that there is one."""
    if row.get("is_secret"):
        return "(set)" if row.get("is_set") else None
    return None if row["value"] is None else str(row["value"])


@settings.command("set")
def set_setting(
    key: Annotated[str, typer.Argument(help="The setting; `plumbline settings list` names them.")],
    value: Annotated[
        str | None, typer.Argument(help="Its value; `-` reads it from standard input; none: the default again.")
    ] = None,
) -> None:
    """Change a setting. A secret goes to the vault; give it as `-` so that it stays out of the shell's history."""
    frame = current()
    if value == "-":
        value = sys.stdin.readline().rstrip("\n")
        if not value:
            raise Fault("standard input held no value")
    api = frame.api("ingestion")
    known = {row["key"]: row for row in api.pages("/v1/settings")}
    secret = bool(known.get(key, {}).get("is_secret"))
    answer = api.put(f"/v1/settings/{segment(key)}", json={"secret" if secret else "value": value})
    frame.out.document(answer["data"], show=lambda: frame.out.say(f"set {key}" + ("" if secret else f" = {value}")))

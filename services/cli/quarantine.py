"""``plumbline quarantine``: what was refused, why, and how to mend it."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from services.cli.api import segment
from services.cli.faults import Exit, Fault
from services.cli.frame import current
from services.cli.output import Column

app = typer.Typer(help="Records that could not be taken as they are; nothing is lost.", no_args_is_help=True)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option(min=1, max=500)] = 100,
    cursor: Annotated[str | None, typer.Option(help="Next page, from the last answer.")] = None,
) -> None:
    """List what waits in quarantine, newest first."""
    answer = current().api("ingestion").get("/v1/quarantine", limit=limit, cursor=cursor)
    columns = [
        Column("id", "ID"),
        Column("source", "SOURCE", drop=2),
        Column("type", "TYPE", drop=3),
        Column("record_id", "RECORD", drop=1),
        Column("field", "FIELD"),
        Column("reason", "REASON"),
        Column("fix", "FIX", drop=4),
        Column("state", "STATE"),
    ]
    current().out.rows(answer["data"], columns, answer["meta"], empty="nothing in quarantine")
    if answer["meta"].get("next"):
        current().out.note(f"more: --cursor {answer['meta']['next']}")


@app.command("show")
def show(item: Annotated[str, typer.Argument(help="The item's id.")]) -> None:
    """Show one item whole: the record as it came, the field, the reason and the fix."""
    data = current().api("ingestion").get(f"/v1/quarantine/{segment(item)}")["data"]

    def people() -> None:
        for name, value in data.items():
            current().out.say(
                f"{name:<12} {value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)}"
            )

    current().out.document(data, show=people)


@app.command("resubmit")
def resubmit(
    item: Annotated[str, typer.Argument(help="The item's id.")],
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", help="A corrected field, as data.quantity=7 (=null: taken out); repeatable."),
    ] = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", help="A field to take out; repeatable.")] = None,
) -> None:
    """Send an item again, as it is or with corrected fields; the original stays, and the new record names it."""
    corrections: dict[str, str | None] = dict.fromkeys(unset or [])
    for text in set_ or []:
        field, equals, value = text.partition("=")
        if not equals:
            raise Fault(f"--set {text!r} is not FIELD=VALUE", fix="for instance --set data.quantity=7")
        corrections[field] = None if value == "null" else value
    frame = current()
    answer = frame.api("ingestion").post(f"/v1/quarantine/{segment(item)}/resubmit", json={"set": corrections})["data"]

    def people() -> None:
        where = f" at {answer['place']}" if answer.get("place") else ""
        frame.out.say(f"{item}: {answer['outcome']}{where}")
        if answer["outcome"] == "quarantined":
            frame.out.say(f"  {answer['field']}: {answer['reason']}. Fix: {answer['fix']}")

    frame.out.document(answer, show=people)
    if answer["outcome"] == "quarantined":
        raise typer.Exit(Exit.QUARANTINED)

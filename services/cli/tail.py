"""``plumbline tail``: records as they are committed."""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer

from services.cli.faults import Fault
from services.cli.frame import current
from services.cli.output import Output
from shared.events.catalogue import WRITERS

_POLL_S = 0.5


def tail(
    topic: Annotated[
        list[str] | None, typer.Option("--topic", help="Only this topic; repeatable. Default: all.")
    ] = None,
    last: Annotated[
        int, typer.Option("-n", "--last", min=0, max=500, help="Begin so many records back, of each topic.")
    ] = 5,
    follow: Annotated[bool, typer.Option("--follow/--no-follow", help="Go on until Ctrl-C.")] = True,
) -> None:
    """Print records as they are committed, oldest first."""
    frame = current()
    api = frame.api("ingestion")
    if frame.out.as_json and follow:
        raise Fault("--json is one document, and following has no end", fix="--ndjson, or --no-follow")
    cursors: dict[str, str | None] = {}
    seen: list[dict[str, Any]] = []
    for name in topic or WRITERS:
        page = api.get("/v1/records", topic=name, last=last)
        seen += page["data"]
        if not frame.out.as_json:
            _print(frame.out, page["data"])
        cursors[name] = page["meta"]["next"]
    if frame.out.as_json:
        frame.out.document(seen, show=lambda: None)
    while follow:
        quiet = True
        for name, cursor in cursors.items():
            page = api.get("/v1/records", topic=name, after=cursor, limit=500)
            _print(frame.out, page["data"])
            quiet = quiet and not page["data"]
            cursors[name] = page["meta"]["next"] or cursor
        if quiet:
            time.sleep(_POLL_S)


def _print(out: Output, records: list[dict[str, Any]]) -> None:
    for item in records:
        if out.for_programs:
            out.line(item)
            continue
        record = item["record"]
        head = f"{record['recordedat'][11:23]}  {item['place']:<24} {record['type']:<26} {record['subject']}"
        out.say(f"{head}  {_gist(record['data'])}")


def _gist(data: dict[str, Any]) -> str:
    data = data.get("body", data)
    shown = {
        name: data[name]
        for name in ("quantity", "amount", "direction", "why", "targets", "value")
        if data.get(name) is not None
    }
    return json.dumps(shown, ensure_ascii=False)[1:-1][:160]

"""``plumbline ingest``: files of declared formats, with a bar, idempotently."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from services.cli.faults import Exit, Fault
from services.cli.frame import current
from services.cli.output import Column
from services.ingestion.domain import profiles

app = typer.Typer(help="Read files; formats are profiles (docs/formats.md).", no_args_is_help=True)

_PIECE = 256 * 1024
_TIMEOUT_S = 3_600


@app.command("file")
def file(
    path: Annotated[Path, typer.Argument(help="The file.")],
    profile: Annotated[str, typer.Option(help="Its format; `plumbline ingest profiles` lists them.")],
    source: Annotated[str | None, typer.Option(help="Whose data it is; default: the profile's own.")] = None,
    complete: Annotated[bool, typer.Option("--complete", help="Usage: nothing of its months is missing.")] = False,
    covers_from: Annotated[str | None, typer.Option(help="With --complete: start of what it covers.")] = None,
    covers_to: Annotated[str | None, typer.Option(help="With --complete: its end, exclusive.")] = None,
    asserted_at: Annotated[str | None, typer.Option(help="When the source wrote it; default: now.")] = None,
) -> None:
    """Ingest one file. The same file again stores nothing; exit 5 if something was quarantined, 7 if completeness was
    withheld."""
    frame = current()
    try:
        handle = path.open("rb")
        about = os.fstat(handle.fileno())
    except OSError as error:
        raise Fault(f"{path} cannot be read: {error.strerror}", fix="check the path") from error
    params = {
        "profile": profile,
        "source": source,
        "complete": "true" if complete else None,
        "covers_from": covers_from,
        "covers_to": covers_to,
        "asserted_at": asserted_at,
        "filename": path.name,
    }
    # A pipe has no size, and a file may grow while it is read: the body goes in chunks, the size moves the bar alone.
    size = about.st_size if stat.S_ISREG(about.st_mode) else None
    with handle, frame.out.progress(path.name, size) as advance:

        def pieces() -> Iterator[bytes]:
            while piece := handle.read(_PIECE):
                yield piece
                advance(len(piece))

        headers = {"Content-Type": "text/csv"}
        answer = frame.api("ingestion").post(
            "/v1/files", params=params, content=pieces(), headers=headers, timeout=_TIMEOUT_S
        )
    frame.out.document(answer, show=lambda: _show(path.name, answer))
    if answer["receipt"]["quarantined"]:
        raise typer.Exit(Exit.QUARANTINED)
    if answer.get("withheld"):
        raise typer.Exit(Exit.NOT_COMPARABLE)


def _show(name: str, answer: dict[str, Any]) -> None:
    out, receipt = current().out, answer["receipt"]
    out.say(
        f"{name}: {answer['rows']:,} rows, {receipt['accepted']:,} records = {receipt['stored']:,} stored"
        f" + {receipt['duplicate']:,} duplicate + {receipt['quarantined']:,} quarantined"
    )
    out.say(f"document sha256:{answer['document']}")
    for group in answer.get("quarantine", []):
        where = f"{group['rows']:,} rows, first {group['first']}"
        out.say(f"  {where}: {group['field']}: {group['reason']}. Fix: {group['fix']}")
    if answer.get("observed"):
        out.say(f"complete: {answer['observed']}")
    if answer.get("withheld"):
        out.say(f"not declared complete: {answer['withheld']}")
    if receipt["quarantined"]:
        out.note("next: plumbline quarantine list")


@app.command("template")
def template(name: Annotated[str, typer.Argument(help="The profile.")]) -> None:
    """Print a file to start from: the header and example rows. Needs no server."""
    try:
        text = profiles.template(name)
    except profiles.UnknownProfile:
        raise Fault(
            f"there is no profile {name!r}", fix="`plumbline ingest profiles` lists them", exit=Exit.NOT_FOUND
        ) from None
    current().out.document({"profile": name, "template": text}, show=lambda: typer.echo(text, nl=False))


@app.command("profiles")
def list_profiles() -> None:
    """List the formats. Needs no server."""
    rows = [{"name": name, "title": declared.title} for name, declared in sorted(profiles.profiles().items())]
    current().out.rows(rows, [Column("name", "PROFILE"), Column("title", "WHAT IT READS")])

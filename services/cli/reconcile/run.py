"""One run of ``plumbline reconcile``: from its options to what it writes and how it leaves."""

from __future__ import annotations

import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import typer

from services.cli.faults import Exit, Fault
from services.cli.output import Output
from services.cli.reconcile import as_json, page, tables, terminal
from services.cli.reconcile.answer import Answer
from services.cli.reconcile.sheets import COMPARED, Sheet, sheet
from services.cli.reconcile.work import Asked, work
from shared.events.setting_keys import SETTING_KEYS
from shared.kernel.periods import Period, months, zone

_MONTH = re.compile(r"\d{4}-\d{2}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Options:
    """As they were typed."""

    inputs: Mapping[str, tuple[Sequence[str] | None, str | None]]
    """Kind -> (files, profile)."""
    period: str | None
    as_of: str | None
    zone: str
    partial: bool
    settings: Sequence[str]
    out: Path | None
    exit_code: bool


def run(options: Options, voice: Output) -> None:
    """Raises :class:`Fault`, and ``typer.Exit`` with the run's status."""
    with TemporaryDirectory(prefix="plumbline-") as folder:
        answer = work(asked(options), voice, Path(folder))
        whole = as_json.document(answer)
        voice.document(as_json.short(whole), show=lambda: terminal.show(voice, answer))
        if options.out is not None:
            _write(answer, whole, options.out, voice)
        elif not voice.for_programs:
            voice.note("--out DIR writes report.html, discrepancies.csv, statements.csv and result.json")
    _leave(answer, options.exit_code)


def asked(options: Options) -> Asked:
    return Asked(
        sheets=_sheets(options.inputs),
        periods=_periods(options.period),
        as_of=_day(options.as_of),
        zone=_zone(options.zone),
        partial=options.partial,
        settings=_settings(options.settings),
    )


def _sheets(inputs: Mapping[str, tuple[Sequence[str] | None, str | None]]) -> tuple[Sheet, ...]:
    found = tuple(
        sheet(kind, one, profile, run)
        for kind, (files, profile) in inputs.items()
        for run, one in enumerate(files or (), 1)
    )
    if not any(one.kind in COMPARED for one in found):
        raise Fault("there is nothing to compare", fix="give at least --contracts, --usage and --invoices")
    return found


def _periods(text: str | None) -> tuple[Period, ...] | None:
    if text is None:
        return None
    first, _, last = text.partition("..")
    try:
        if not all(_MONTH.fullmatch(one) for one in (first, last or first)):
            raise ValueError
        found = tuple(months(date.fromisoformat(f"{first}-01"), date.fromisoformat(f"{last or first}-01")))
    except ValueError:
        found = ()
    if not found:
        raise Fault(f"{text} is no month", where="--period", fix="write 2026-10, or 2026-08..2026-10")
    return found


def _day(text: str | None) -> date | None:
    try:
        return None if text is None else date.fromisoformat(text)
    except ValueError:
        raise Fault(f"{text} is no date", where="--as-of", fix="write it as 2026-11-01") from None


def _zone(name: str) -> str:
    try:
        zone(name)
    except Exception:
        raise Fault(f"{name} is no time zone", where="--zone", fix="write one such as Europe/Berlin") from None
    return name


def _settings(given: Sequence[str]) -> dict[str, str]:
    found = {}
    for one in given:
        key, _, value = one.partition("=")
        declared = SETTING_KEYS.get(key)
        if declared is None or key.startswith("notification."):
            known = ", ".join(name for name in SETTING_KEYS if not name.startswith("notification."))
            raise Fault(f"there is no setting {key}", where="--set", fix=f"write KEY=VALUE; there are {known}")
        try:
            found[key] = declared.check(value)
        except ValueError as error:
            reason, _, fix = str(error).partition("; ")
            raise Fault(f"{key} {reason}", where="--set", fix=fix) from None
    return found


def _write(answer: Answer, whole: Mapping[str, Any], folder: Path, out: Output) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    written = {
        "report.html": page.report(answer),
        "discrepancies.csv": tables.discrepancies(answer),
        **({"statements.csv": tables.lines(answer)} if answer.lines_csv is None else {}),
        "result.json": as_json.written(whole).decode(),
        **({"rejected.csv": tables.rejected(answer)} if answer.rejected else {}),
    }
    for name, text in written.items():
        (folder / name).write_text(text, encoding="utf-8")
    if answer.lines_csv is not None:
        shutil.move(answer.lines_csv, folder / "statements.csv")
    out.note(f"written to {folder}: {', '.join(sorted({*written, 'statements.csv'}))}")


def _leave(answer: Answer, exit_code: bool) -> None:
    if answer.rejected:
        raise typer.Exit(Exit.QUARANTINED)
    if exit_code and answer.discrepancies:
        raise typer.Exit(Exit.DIFFERENCE)
    if exit_code and (not answer.compared or any(True for _ in answer.pending())):
        raise typer.Exit(Exit.NOT_COMPARABLE)

"""The report: one self-contained page that prints, without a script and without anything to fetch.

Everything that stands in it goes through :func:`tag`, which escapes it.
"""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from html import escape
from importlib.resources import files

from services.cli.reconcile import terminal
from services.cli.reconcile.answer import Answer, Summary, sums
from services.cli.reconcile.terminal import DIRECTIONS, STANDINGS, count, money
from shared.events.discrepancies import DiscrepancyBody, Step
from shared.kernel.money import amount_text
from shared.reconciliation import words
from shared.reconciliation.statement import Totals
from shared.reconciliation.verdict import LineState, StatementLine

DISCREPANCIES_MAX, STATEMENTS_MAX, LINES_MAX = 500, 200, 500
"""What one page shows; the rest is in the tables."""
_ZERO = Decimal(0)
_STATES = {
    LineState.MATCHED: "✓ matched",
    LineState.EXPLAINED: "≈ explained",
    LineState.PENDING: "… pending",
    LineState.BREAK: "✗ break",
}


class Markup(str):
    """Text that is HTML already."""

    __slots__ = ()


def tag(name: str, *inner: object, **attributes: object) -> Markup:
    """An element. What is no :class:`Markup` is escaped; ``None`` is nothing."""
    said = "".join(
        f' {key.rstrip("_").replace("_", "-")}="{escape(str(value))}"'
        for key, value in attributes.items()
        if value is not None
    )
    return Markup(f"<{name}{said}>{''.join(map(_text, inner))}</{name}>")


def _text(inner: object) -> str:
    return inner if isinstance(inner, Markup) else "" if inner is None else escape(str(inner))


def _all(parts: Iterator[Markup]) -> Markup:
    return Markup("".join(parts))


def report(answer: Answer) -> str:
    """The whole page."""
    style = Markup((files("services.cli.reconcile") / "page.css").read_text(encoding="utf-8"))
    title = f"Reconciliation of {terminal.months_of(answer.periods)}"
    head = tag(
        "head",
        Markup('<meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">'),
        Markup('<meta name="color-scheme" content="light dark">'),
        tag("title", title),
        tag("style", style),
    )
    body = tag("body", tag("main", tag("h1", title), _all(_sections(answer))))
    return f"<!doctype html>\n{tag('html', head, body, lang='en')}\n"


def _sections(answer: Answer) -> Iterator[Markup]:
    yield tag("p", terminal.headline(answer), class_="lead")
    if not answer.compared:
        yield tag("p", "Nothing was compared. That is not the same as clean.", class_="warn")
    yield _assumed(answer)
    yield _rejected(answer)
    yield _sums(answer)
    yield _discrepancies(answer)
    yield tag("h2", "Statements")
    yield tag("p", "Differences are drawn to a scale of their own: they are small beside the sums.")
    for one in answer.statements[:STATEMENTS_MAX]:
        yield _statement(answer, one)
    if len(answer.statements) > STATEMENTS_MAX:
        yield tag("p", f"{len(answer.statements) - STATEMENTS_MAX:,} more clients stand in statements.csv.")
    yield _read(answer)


def _listed(title: str, items: list[str], more: int = 0) -> Markup:
    if not items:
        return Markup("")
    rest = [tag("li", f"and {more:,} more")] if more > 0 else []
    return tag("section", tag("h2", title), tag("ul", *(tag("li", item) for item in items), *rest))


def _assumed(answer: Answer) -> Markup:
    return _listed("Taken for granted", [*answer.assumed])


def _rejected(answer: Answer) -> Markup:
    shown = answer.rejected[:50]
    items = [f"{one.file}, row {one.row}: {one.field or 'row'}: {one.reason}. {one.fix}" for one in shown]
    return _listed("Rows that could not be read", items, len(answer.rejected) - len(shown))


def _table(columns: list[tuple[str, bool]], rows: list[list[object]], caption: str) -> Markup:
    """``columns``: title, and whether figures stand in it. A narrow screen shows each cell under its title."""
    heads = [tag("th", title, scope="col", class_="n" if figures else None) for title, figures in columns]
    body = [
        tag(
            "tr",
            *(
                tag("td", cell, data_title=title, class_="n" if figures else None)
                for cell, (title, figures) in zip(row, columns, strict=True)
            ),
        )
        for row in rows
    ]
    return tag("table", tag("caption", caption), tag("thead", tag("tr", *heads)), tag("tbody", *body))


def _sums(answer: Answer) -> Markup:
    rows: list[list[object]] = [
        [
            DIRECTIONS[one.direction],
            STANDINGS[one.standing],
            f"{money(one.amount, one.currency)} {one.currency or ''}",
            f"{one.discrepancies:,}",
        ]
        for one in sums(answer.discrepancies)
    ]
    if not rows:
        return tag("p", "No discrepancy.") if answer.compared else Markup("")
    columns = [("Direction", False), ("Money is", False), ("Amount", True), ("Discrepancies", True)]
    return tag("section", tag("h2", "Totals"), _table(columns, rows, "By direction, standing and currency"))


def _discrepancies(answer: Answer) -> Markup:
    if not answer.discrepancies:
        return Markup("")
    shown = answer.discrepancies[:DISCREPANCIES_MAX]
    rows: list[list[object]] = [
        [
            tag("code", body.code),
            terminal.who(answer, body),
            terminal.what(answer, body),
            f"{body.period.from_:%Y-%m}" if body.period else "",
            f"{money(body.amount, body.currency)} {body.currency or ''}",
            DIRECTIONS[body.direction],
            tag("details", tag("summary", body.why), _steps(body.derivation, body.currency), _remedy(body)),
        ]
        for body in shown
    ]
    columns = [
        *(("Code", False), ("Client", False), ("Product", False), ("Period", False)),
        *(("Amount", True), ("Direction", False), ("Why", False)),
    ]
    rest = len(answer.discrepancies) - len(shown)
    note = tag("p", f"{rest:,} more stand in discrepancies.csv.") if rest else None
    return tag("section", tag("h2", "Discrepancies"), _table(columns, rows, "The largest first"), note)


def _remedy(body: DiscrepancyBody) -> Markup | None:
    return tag("p", "Usually: ", body.remedy) if body.remedy else None


def _steps(steps: tuple[Step, ...], currency: str | None) -> Markup | None:
    if not steps:
        return None
    return tag("ol", *(_step(step) for step in steps), class_="steps")


def _step(step: Step) -> Markup:
    names = ", ".join(one.id for one in step.sources[:3])
    more = step.records - min(3, len(step.sources))
    evidence = f"{names}{f' and {more:,} more' if more > 0 else ''}" if names else None
    return tag(
        "li",
        tag("b", step.label),
        f" {words.quantity(step.result)} = {step.formula}",
        f" ({step.rounding})" if step.rounding else None,
        tag("small", evidence) if evidence else None,
    )


# --- statements ------------------------------------------------------------------------------------------------------
def _statement(answer: Answer, one: Summary) -> Markup:
    counts = one.counts
    said = [
        f"{counts.matched:,} matched",
        *([f"{counts.explained:,} explained"] if counts.explained else []),
        *([f"{counts.pending:,} pending"] if counts.pending else []),
        *([count(counts.broken, "break")] if counts.broken else []),
    ]
    title = answer.client(one.client)
    head = tag("h3", title, tag("small", f" {words.month(one.period)}: {one.state.replace('_', ' ')}"))
    return tag(
        "section",
        head,
        tag("p", f"{count(counts.lines, 'line')}: {', '.join(said)}."),
        *(_bridge(totals) for totals in one.totals),
        _lines(answer, one),
        class_="statement",
    )


def _bridge(totals: Totals) -> Markup:
    """From what is due to what is billed, with what lies between."""
    parts = [("explained", totals.explained), ("pending", totals.pending), ("breaks", totals.broken)]
    steps = [
        ("Expected", totals.expected),
        *((name, value) for name, value in parts if value),
        ("Billed", totals.billed),
    ]
    shown = [(name, amount_text(value, totals.currency)) for name, value in steps]
    cost = "" if totals.cost is None else f" Vendors billed {amount_text(totals.cost, totals.currency)}."
    sentence = ", ".join(f"{name.lower()} {text}" for name, text in shown)
    caption = tag("figcaption", f"{totals.currency}: {sentence}.{cost}")
    return tag("figure", _drawn(totals, steps), caption)


def _drawn(totals: Totals, steps: list[tuple[str, Decimal]]) -> Markup:
    """The bridge as bars; the differences are drawn to their own scale, for they are small beside the sums."""
    most = max([abs(totals.expected), abs(totals.billed), Decimal(1)])
    least = max([abs(value) for _, value in steps[1:-1]], default=Decimal(1))
    bars = []
    for place, (name, value) in enumerate(steps):
        whole = place in (0, len(steps) - 1)
        width = max(1, int(abs(value) / (most if whole else least) * (150 if whole else 75)))
        y = 4 + 22 * place
        kind = "whole" if whole else "less" if value < 0 else "more"
        sign = "" if whole else "−" if value < 0 else "+"
        bars += [
            tag("text", name.capitalize(), x=0, y=y + 12),
            tag("rect", x=84, y=y, width=width, height=16, rx=2, class_=kind),
            tag("text", f"{sign}{amount_text(abs(value), totals.currency)}", x=92 + width, y=y + 12, class_="amount"),
        ]
    height = 22 * len(steps) + 4
    name = f"Bridge from expected to billed in {totals.currency}"
    return tag("svg", *bars, viewBox=f"0 0 360 {height}", role="img", aria_label=name, class_="bridge")


def _lines(answer: Answer, one: Summary) -> Markup | None:
    lines = [line for group in one.groups for line in group.lines]
    if not lines:
        return tag("p", f"All {one.left_out:,} lines match; they stand in statements.csv.") if one.left_out else None
    ordered = sorted(lines, key=lambda line: line.state is LineState.MATCHED)[:LINES_MAX]
    rest = one.left_out + len(lines) - len(ordered)
    columns = [
        *(("State", False), ("Product", False), ("Expected", True), ("Billed", True)),
        *(("Difference", True), ("From", False), ("Arithmetic", False)),
    ]
    table = _table(columns, [_row(answer, line) for line in ordered], "Lines")
    note = tag("p", f"{rest:,} more lines stand in statements.csv.") if rest else None
    return tag("div", table, note)


def _row(answer: Answer, line: StatementLine) -> list[object]:
    known = line.expected is not None and line.billed is not None
    difference = (line.billed or _ZERO) - (line.expected or _ZERO) if known else None
    why = line.by or (" ".join(line.codes) if line.codes else "both sides agree")
    refs = " / ".join(ref for ref in (line.contract_ref, line.billed_ref) if ref)
    until = f" (due {line.until})" if line.until else ""
    return [
        tag("span", _STATES[line.state], class_=line.state),
        answer.product(line.product),
        money(line.expected, line.currency),
        money(line.billed, line.currency),
        money(difference, line.currency),
        refs,
        tag("details", tag("summary", f"{why}{until}"), _steps(line.steps, line.currency))
        if line.steps
        else why + until,
    ]


def _read(answer: Answer) -> Markup:
    rows: list[list[object]] = [
        [one.name, one.profile, one.source, f"{one.rows:,}", f"{one.rejected:,}"] for one in answer.files
    ]
    columns = [("File", False), ("Format", False), ("Source", False), ("Rows", True), ("Not read", True)]
    return tag("section", tag("h2", "What was read"), _table(columns, rows, "Files"))

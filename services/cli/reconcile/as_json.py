"""The answer as plain JSON values: what ``result.json`` and ``--json`` hold."""

from __future__ import annotations

from collections.abc import Mapping
from decimal import Decimal
from typing import Any

import orjson

from services.cli.reconcile.answer import Answer, Summary, sums
from shared.events.discrepancies import DiscrepancyBody
from shared.kernel.canonical import canonical, decimal_text
from shared.kernel.periods import Period
from shared.reconciliation.statement import Totals

_FILE = ("name", "kind", "profile", "source", "rows", "records", "rejected")
_LINES = ("digest", "left_out", "groups")
_REJECTED = ("file", "row", "field", "reason", "fix")
_TOTALS = ("expected", "billed", "cost", "explained", "pending", "broken", "residual")


def document(answer: Answer) -> dict[str, Any]:
    """The whole answer."""
    return {
        "periods": [_span(period) for period in answer.periods],
        "as_of": answer.as_of.isoformat(),
        "files": [{name: getattr(one, name) for name in _FILE} for one in answer.files],
        "assumed": list(answer.assumed),
        "compared_lines": answer.compared,
        "totals": [one._asdict() | {"amount": text(one.amount)} for one in sums(answer.discrepancies)],
        "discrepancies": [body(one) for one in answer.discrepancies],
        "statements": [_statement(answer, one) for one in answer.statements],
        "rejected": [{name: getattr(one, name) for name in _REJECTED} for one in answer.rejected],
    }


def short(whole: Mapping[str, Any]) -> dict[str, Any]:
    """The same with totals and counts alone of the statements."""
    statements = [{name: one[name] for name in one if name not in _LINES} for one in whole["statements"]]
    return {**whole, "statements": statements}


def written(whole: Mapping[str, Any]) -> bytes:
    """``result.json``: sorted keys, so that the same facts give the same bytes."""
    return orjson.dumps(whole, option=orjson.OPT_SORT_KEYS | orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)


def body(one: DiscrepancyBody) -> dict[str, Any]:
    return one.model_dump(mode="json", exclude_defaults=True)


def _span(period: Period) -> dict[str, str]:
    return {"from": period.start.isoformat(), "to": period.end.isoformat()}


def _statement(answer: Answer, one: Summary) -> dict[str, Any]:
    return {
        "client": one.client,
        "client_name": answer.client(one.client),
        "period": _span(one.period),
        "state": one.state,
        "totals": [_totals(totals) for totals in one.totals],
        "counts": one.counts._asdict(),
        "digest": one.digest,
        "left_out": one.left_out,
        "groups": orjson.loads(canonical([group.document() for group in one.groups])),
    }


def _totals(totals: Totals) -> dict[str, Any]:
    return {"currency": totals.currency, **{name: text(getattr(totals, name)) for name in _TOTALS}}


def text(value: Decimal | None) -> str | None:
    return None if value is None else decimal_text(value)

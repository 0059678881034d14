"""``plumbline rate``: what should have been billed, from one JSON document, without a server."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from decimal import Decimal
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple, NoReturn

import typer

from services.cli.faults import Fault
from services.cli.frame import current
from services.cli.output import Column, table

# The engine is imported where it runs: no other command should wait for it.
if TYPE_CHECKING:
    from shared.reconciliation.rating.document import RatingAnswer, RatingDocument

MAX_BYTES = 8 * 1024 * 1024
MAX_DEPTH = 32
_FAULTS_MAX = 20
_DIGITS_MAX = 60
_EMPTY = "is empty"
_EXAMPLES = "docs/examples/rate has documents that work"


class Wrong(NamedTuple):
    """One thing that is wrong with the document."""

    field: str
    """JSON path, such as ``terms.price.tiers.1.up_to``; empty: the document as a whole."""
    reason: str
    fix: str


class WrongDocument(Fault):
    """The document cannot be rated; every field that is wrong is named."""

    def __init__(self, name: str, wrong: list[Wrong]) -> None:
        super().__init__("the document cannot be rated", where=name)
        self.wrong = wrong

    def parts(self) -> dict[str, Any]:
        if current().out.for_programs:
            return {
                "error": self.what,
                "where": self.where,
                "faults": [one._asdict() for one in self.wrong[:_FAULTS_MAX]],
            }
        said: dict[str, Any] = {"error": f"{self.what} ({self.where})"}
        for one in self.wrong[:_FAULTS_MAX]:
            said[one.field or "document"] = f"{one.reason}. {one.fix}"
        if len(self.wrong) > _FAULTS_MAX:
            said["and"] = f"{len(self.wrong) - _FAULTS_MAX} more"
        return said


def rate(
    file: Annotated[Path | None, typer.Argument(help="The document, JSON; - reads standard input.")] = None,
    explain: Annotated[bool, typer.Option("--explain", help="A table, with the arithmetic of every line.")] = False,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema of the document, and stop.")] = False,
) -> None:
    """What should have been billed: terms and what was measured in, lines and their arithmetic out. Needs no server;
    docs/examples/rate has a document of each price model."""
    from shared.reconciliation.rating.document import json_schema

    out = current().out
    if schema:
        sys.stdout.write(json.dumps(json_schema(), ensure_ascii=False, indent=2, sort_keys=True) + "\n")
        return
    if file is None:
        raise Fault("which document?", fix=f"plumbline rate FILE, or - for standard input; {_EXAMPLES}")
    name = "standard input" if str(file) == "-" else str(file)
    answered = _answer(_read(file), name)
    document = answered.model_dump(mode="json", by_alias=True, exclude_none=True)

    def show() -> None:
        if explain:
            _show(answered)
        else:
            sys.stdout.write(json.dumps(document, ensure_ascii=False, indent=2) + "\n")

    out.document(document, show=show)


def _read(file: Path) -> bytes:
    if str(file) == "-":
        body = sys.stdin.buffer.read(MAX_BYTES + 1)
    else:
        with file.open("rb") as handle:
            body = handle.read(MAX_BYTES + 1)
    if len(body) > MAX_BYTES:
        raise Fault(
            f"{file} is over {MAX_BYTES:,} bytes", fix="rate one contract line and one part of a period at a time"
        )
    return body


def _answer(body: bytes, name: str) -> RatingAnswer:
    from pydantic import ValidationError

    from shared.reconciliation.rating.question import Refused, answer, question

    document = _document(body, name)
    try:
        return answer(question(document))
    except Refused as error:
        raise WrongDocument(name, [Wrong(error.field, error.reason, error.fix)]) from error
    except (ArithmeticError, ValidationError) as error:  # beyond what is exact, or what a record's field holds
        wrong = Wrong(
            "", "leads to figures with more digits than money has", "Correct the figures; 20 before the point."
        )
        raise WrongDocument(name, [wrong]) from error
    except ValueError as error:
        reason, _, fix = str(error).partition("; ")
        raise WrongDocument(name, [Wrong("", reason, _sentence(fix) or "Correct it.")]) from error


def _document(body: bytes, name: str) -> RatingDocument:
    from pydantic import ValidationError

    from shared.reconciliation.rating.document import RatingDocument
    from shared.reconciliation.rating.spelling import respelled

    value = respelled(_parsed(body, name))
    try:
        return RatingDocument.model_validate_json(json.dumps(value))
    except ValidationError as error:
        wrong = {_wrong(dict(detail), value) for detail in error.errors(include_url=False, include_input=False)}
        # A list that seems empty because its entries are wrong is not told beside them.
        told = sorted(one for one in wrong if one.reason != _EMPTY or not _holds_others(one.field, wrong))
        raise WrongDocument(name, told) from error


def _holds_others(field: str, wrong: set[Wrong]) -> bool:
    return any(one.field.startswith(f"{field}.") for one in wrong)


def _parsed(body: bytes, name: str) -> Any:
    from services.ingestion.domain.envelope import deeper_than

    def refuse(reason: str, fix: str, cause: Exception | None = None) -> NoReturn:
        raise WrongDocument(name, [Wrong("", reason, fix)]) from cause

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [key for key, _ in pairs]
            twice = next(key for key in names if names.count(key) > 1)
            refuse(f"names {json.dumps(twice[:_DIGITS_MAX])} twice in one object", "Leave one of them out.")
        return found

    def constant(text: str) -> NoReturn:
        refuse(f"holds {text}, which is no figure", "Send a decimal as text, or leave the field out.")

    try:
        value = json.loads(
            body.decode("utf-8-sig"),
            # Digits stay text until they are decimals: 12.40 is never a binary float.
            parse_float=str,
            parse_int=lambda digits: int(digits) if len(digits) <= _DIGITS_MAX else digits,
            parse_constant=constant,
            object_pairs_hook=once,
        )
    except UnicodeDecodeError as error:
        refuse(f"is not UTF-8 at byte {error.start}", "Save it as UTF-8.", error)
    except json.JSONDecodeError as error:
        refuse(
            f"is not JSON: {error.msg}, line {error.lineno} column {error.colno}",
            f"Correct it there; {_EXAMPLES}.",
            error,
        )
    except RecursionError as error:
        refuse(f"is nested deeper than {MAX_DEPTH} levels", "Flatten it.", error)
    if not isinstance(value, dict):
        refuse("is not an object", f"Send an object, in {{braces}}; {_EXAMPLES}.")
    if deeper_than(value, MAX_DEPTH):
        refuse(f"is nested deeper than {MAX_DEPTH} levels", "Flatten it.")
    return value


def _wrong(detail: dict[str, Any], value: Any) -> Wrong:
    """One validation error, with the JSON path and what would be right there."""
    from services.ingestion.domain.words import fault_of, path_of

    kind, context = detail["type"], detail.get("ctx", {})
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        field = f"{path_of(detail['loc'], value)}.{context['discriminator'].strip(chr(39))}"
        reason = "is missing" if kind == "union_tag_not_found" else "is not one of the allowed values"
        tags = context.get("expected_tags") or ", ".join(map(repr, _known(detail["loc"], value)))
        return Wrong(field, reason, f"Send one of {tags.replace(chr(39), '')}." if tags else "Send one.")
    if kind == "json_invalid":  # our own JSON of what was read: only half a pair of surrogates gets this far
        return Wrong("", "holds text that is not Unicode", "Correct its \\u escapes.")
    if kind == "too_short":
        return Wrong(path_of(detail["loc"], value), _EMPTY, "Send at least one, or leave it out.")
    fault = fault_of(detail, value, ())
    properties = _properties(detail["loc"][:-1], value)
    if kind == "missing":
        about = properties.get(str(detail["loc"][-1]), {}).get("description", "")
        return Wrong(fault.field, fault.reason, f"Add it. {about}".strip())
    if kind == "extra_forbidden" and properties:
        close = get_close_matches(str(detail["loc"][-1]), properties, 1)
        fix = f"Did you mean {close[0]}?" if close else f"Remove it; there are {', '.join(sorted(properties))}."
        return Wrong(fault.field, fault.reason, fix)
    return Wrong(*fault)


def _known(location: tuple[str | int, ...], value: Any) -> list[str]:
    """Values of ``kind`` where an object of several kinds is expected."""
    kinds = [schema.get("properties", {}).get("kind", {}).get("const") for schema in _schemas(location, value)]
    return [kind for kind in kinds if kind]


def _properties(location: tuple[str | int, ...], value: Any) -> dict[str, Any]:
    """The fields that the object at ``location`` may have, by the JSON Schema."""
    here = value
    for part in location:
        inside = isinstance(here, dict) and part in here
        here = here[part] if inside or (isinstance(here, list) and isinstance(part, int) and part < len(here)) else here
    objects = [schema["properties"] for schema in _schemas(location, value) if "properties" in schema]
    kind = here.get("kind") if isinstance(here, dict) else None
    of_kind = [one for one in objects if one.get("kind", {}).get("const") == kind]
    return next(iter(of_kind or objects), {})


def _schemas(location: tuple[str | int, ...], value: Any) -> list[dict[str, Any]]:
    """The schemas that may hold at ``location``. Names of union members, which pydantic puts between, lead nowhere."""
    from shared.reconciliation.rating.document import json_schema

    schema = json_schema()

    def plain(one: dict[str, Any]) -> Iterator[dict[str, Any]]:
        if "$ref" in one:
            yield from plain(schema["$defs"][one["$ref"].rpartition("/")[2]])
        elif "anyOf" in one or "oneOf" in one:
            for inner in one.get("anyOf") or one["oneOf"]:
                yield from plain(inner)
        else:
            yield one

    here = list(plain(schema))
    for part in location:
        if isinstance(part, int):
            below = [inner for one in here if "items" in one for inner in plain(one["items"])]
        else:
            below = [
                inner for one in here if part in one.get("properties", {}) for inner in plain(one["properties"][part])
            ]
        here = below or here
    return here


def _sentence(text: str) -> str:
    return f"{text[:1].upper()}{text[1:].rstrip('.')}." if text else ""


def _show(answered: RatingAnswer) -> None:
    """A table of the lines, each followed by its arithmetic."""
    from shared.kernel.money import amount_text
    from shared.reconciliation.words import price, quantity

    out, currency = current().out, answered.currency

    def money(value: Any) -> str:
        return amount_text(value, currency) if value else ""

    columns = [
        Column("component", "COMPONENT"),
        Column("quantity", "QUANTITY", right=True),
        Column("unit_price", "UNIT PRICE", right=True),
        Column("amount", "AMOUNT", right=True),
        Column("discounts", "DISCOUNTS", right=True),
        Column("charges", "CHARGES", right=True),
        Column("total", "TOTAL", right=True),
    ]
    rows = [
        {
            "component": line.component,
            "quantity": quantity(line.quantity),
            "unit_price": "" if line.unit_price is None else price(_six(line.unit_price), currency),
            "amount": amount_text(line.amount, currency),
            "discounts": money(-line.discounts),
            "charges": money(line.charges),
            "total": amount_text(line.total or Decimal(0), currency),
        }
        for line in answered.lines
    ]
    out.say(
        f"{answered.part.from_} to {answered.part.to}, of the period {answered.period.from_} to {answered.period.to}"
    )
    if not rows:
        out.say("nothing is to be billed")
    if answered.outside:
        out.say(f"{answered.outside} measured outside this part, not billed here")
    head, *body = table(rows, columns, None)
    if rows:
        out.say(head, style="bold")
    for text, line in zip(body, answered.lines, strict=True):
        out.say(text)
        for step in line.steps:
            rounded = f"  ({step.rounding})" if step.rounding else ""
            out.say(f"    {step.label}: {step.formula}{rounded}", style="dim")
        if line.corrects:
            out.say(f"    corrects: {line.corrects}", style="dim")
        if line.flags:
            out.say(f"    {', '.join(line.flags)}", style="dim")
    out.say(f"total {amount_text(answered.total, currency)} {currency}", style="bold")
    if answered.tax:
        tax = answered.tax
        out.say(
            f"tax {quantity(tax.rate_pct)} % of {amount_text(tax.base, currency)} = {amount_text(tax.tax, currency)};"
            f" with tax {amount_text(tax.total, currency)} {currency}"
        )
    for block in answered.blocks:
        unit = "h" if block.unit == "hours" else currency
        rolled = f" (rolled over from {block.rolled_from})" if block.rolled_from else ""
        fates = (
            (block.drawn, "drawn"),
            (block.rolled_over, "rolled over"),
            (block.expired, "expired"),
            (block.left, "left"),
        )
        told = ", ".join(f"{quantity(value)} {word}" for value, word in fates if value or word in ("drawn", "left"))
        out.say(f"block {block.block}{rolled}: {quantity(block.held)} {unit}, {told}")
    for entry in answered.entries:
        why = f": {'; '.join(entry.why)}" if entry.why else ""
        out.say(f"entry {entry.id} {entry.state.replace('_', ' ')}, {amount_text(entry.amount, currency)}{why}")


def _six(value: Decimal) -> Decimal:
    from shared.kernel.money import round_to

    return round_to(value, 6) if -int(value.as_tuple().exponent) > 6 else value

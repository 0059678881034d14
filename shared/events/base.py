"""The field types that all records share, and the base of every data model."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainSerializer,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import core_schema

from shared.kernel.canonical import decimal_text
from shared.kernel.periods import zone


class Data(BaseModel):
    """The ``data`` of one record type: immutable, closed (an unknown field is an error, never silently dropped)."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_by_name=True,
        validate_by_alias=True,
        serialize_by_alias=True,
    )


_WHOLE_SECONDS = len("2026-09-01T10:00:00")


# As a cell of a CSV: what Python's Decimal reads beyond this (1_000, digits of other scripts, spaces) is a mistake.
_DECIMAL = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def _plain(value: Any) -> Any:
    if isinstance(value, str) and not _DECIMAL.fullmatch(value):
        raise ValueError('is not a decimal; send digits alone, such as "12.40"')
    if isinstance(value, float):
        raise ValueError('a JSON number with a fraction is a binary float; send it as a string, such as "12.40"')
    if isinstance(value, bool):
        raise ValueError('is not a decimal; send it as a string, such as "12.40"')
    return value


def utc_text(value: datetime) -> str:
    """An instant in UTC: ``2026-09-01T10:00:00Z``, with as many decimals of a second as it has."""
    text = value.astimezone(UTC).isoformat()[:-6]
    return (text.rstrip("0") if len(text) > _WHOLE_SECONDS else text) + "Z"


def _known_zone(name: str) -> str:
    try:
        zone(name)
    except Exception as error:
        raise ValueError("is not an IANA time zone; send one such as Europe/Berlin") from error
    return name


def _no_nul(value: str) -> str:
    if "\x00" in value:
        raise ValueError("holds a NUL character; remove it")
    return value


# Sources send up to 15 decimals; 38 digits hold them with room for any quantity of bytes.
_DIGITS, _PLACES = 38, 18


class _TellPlaces:
    """The schema tells how many decimals there may be."""

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        return {**handler(schema), "decimal_places": _PLACES}


Exact = Annotated[
    Decimal,
    Field(max_digits=_DIGITS, decimal_places=_PLACES),  # before our own check: so pydantic needs no call for them
    BeforeValidator(_plain),
    _TellPlaces(),
    PlainSerializer(decimal_text, return_type=str, when_used="json"),
]
"""A decimal, exact, as a JSON string (a whole JSON number is read too; a fraction as a JSON number is refused)."""


DATE_FIRST = r"^\d{4}-\d\d-\d\d"
"""How every date and instant begins, in text."""


class _TextInJson:
    """In JSON a time is text that begins with a date: ``20260901`` (bare or quoted) would be read as seconds since
    1970, and nobody would see it."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        plain = handler(source)
        dated = core_schema.chain_schema([core_schema.str_schema(pattern=DATE_FIRST), plain])
        return core_schema.json_or_python_schema(json_schema=dated, python_schema=plain)

    def __get_pydantic_json_schema__(
        self, schema: core_schema.CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        while "python_schema" not in schema:  # a field's own validator stands around it
            schema = schema["schema"]
        return handler(schema["python_schema"])


YEARS = (1970, 2199)
"""First and last year of a record's times: what lies outside is a mistake, and would be reckoned with for ever."""


def _in_years(value: Any) -> Any:
    if not YEARS[0] <= value.year <= YEARS[1]:
        raise ValueError(f"is out of range; send a time of the years {YEARS[0]} to {YEARS[1]}")
    return value


Instant = Annotated[
    AwareDatetime,
    AfterValidator(_in_years),
    _TextInJson(),
    PlainSerializer(utc_text, return_type=str, when_used="json"),
]
"""An instant with its offset, kept in UTC."""

Day = Annotated[date, AfterValidator(_in_years), _TextInJson()]
"""A local date, ``YYYY-MM-DD``."""

SPAN_DAYS_MAX = 3_700
"""The longest service or billing period: ten years. Each month of one is compared."""


def check_span(start: Any, end: Any, start_name: str, end_name: str) -> None:
    """Raises ``ValueError`` unless ``[start, end)`` (two dates or two instants) is a span of at most ten years."""
    if not start < end:
        raise ValueError(f"{end_name} is exclusive and must lie after {start_name}")
    if (end - start).days > SPAN_DAYS_MAX:
        raise ValueError(f"{start_name} to {end_name} is over ten years; send the period that is billed")


Key = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_nul)]
"""An identifier of a source, as the source spells it."""


def _one_product(value: str) -> str:
    if value == "*":
        raise ValueError("stands for all products of a client; send the id of one")
    return value


ProductId = Annotated[Key, AfterValidator(_one_product)]
"""A product's id in the PSA."""

Label = Annotated[str, Field(max_length=300), AfterValidator(_no_nul)]
"""The name of an organisation, a product or a meter. Never a person's, never free text: those go to the vault."""

Currency = Annotated[str, Field(pattern=r"^[A-Z]{3}$")]
"""An ISO 4217 code."""

Zone = Annotated[str, Field(max_length=64), AfterValidator(_known_zone)]
"""An IANA time zone."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
"""A SHA-256 in hex. Of a document in the vault: of its ciphertext."""

Person = Annotated[str, Field(pattern=r"^person:[0-9a-f-]{36}$")]
"""A person, by the vault's id: ``person:<uuid>``. Names and addresses live beside the log, never in it."""

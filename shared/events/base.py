"""The field types that all records share, and the base of every data model."""

from __future__ import annotations

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


def _no_float(value: Any) -> Any:
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
Exact = Annotated[
    Decimal,
    BeforeValidator(_no_float),
    Field(max_digits=38, decimal_places=18),
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
        return handler(schema["python_schema"])


Instant = Annotated[AwareDatetime, _TextInJson(), PlainSerializer(utc_text, return_type=str, when_used="json")]
"""An instant with its offset, kept in UTC."""

Day = Annotated[date, _TextInJson()]
"""A local date, ``YYYY-MM-DD``."""

Key = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_no_nul)]
"""An identifier of a source, as the source spells it."""

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

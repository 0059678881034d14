"""Profiles: how a table's columns become records. One TOML file each, in ``services/ingestion/profiles``.

To read another vendor's CSV, write another file there; no code changes. A profile says which columns there are (their
other names, types and meaning), which records a row makes (from which columns, under which id), which document the rows
belong to, if any, and an example that doubles as the template people start from. ``docs/formats.md`` is made from it.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from functools import lru_cache
from importlib.resources import files
from typing import Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from services.ingestion.domain.cells import Type
from shared.events.catalogue import CATALOGUE, Kind

_FOLDER = files("services.ingestion") / "profiles"
_OF_THE_TABLE = (
    "delimiter", "decimal_mark", "thousands_mark", "date_formats", "time_formats", "zone", "empty",
    "column", "derive", "identity", "template",
)  # fmt: skip
"""What a profile takes over that names another one as ``table_of``: the same file, read for other records."""
ENGINE_VALUES = frozenset({"@version", "@line", "@lines", "@digest", "@total", "@from", "@to", "@key"})
"""What the file as a whole supplies: see :class:`Document` and :attr:`Profile.identity`."""


class _Declared(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Column(_Declared):
    """One column that the profile reads; all others are left alone."""

    name: str
    aliases: tuple[str, ...] = ()
    """Other headings that mean the same. Case, spaces, ``_`` and ``-`` never matter."""
    type: Type = "text"
    required: bool = False
    """The file must have the column, and each row a value in it."""
    default: str | None = None
    """What an empty cell means; ``@zone`` is the tenant's time zone."""
    choices: tuple[str, ...] = ()
    """The only values, if there are few."""
    private: bool = False
    """Holds a person or free text: its cells go to the vault, never into a record, a reject or a log."""
    about: str
    """For ``docs/formats.md``: what it means."""


class Derived(_Declared):
    """A value made of columns: the first of ``first`` that is not empty, a ``constant``, a ``text`` with places, or the
    product of ``times``."""

    first: tuple[str, ...] = ()
    words: Mapping[str, str] = Field(default_factory=dict)
    """What a word of ``first`` is called here, in whatever case it is written; any other word stays as it is."""
    constant: str | bool | None = None
    text: str | None = None
    """Such as ``{account}/{period:%Y-%m}``; empty as soon as one of its places is."""
    type: Type = "text"
    """What ``text`` is read as, like a cell."""
    times: tuple[str, ...] = ()
    """Figures that are multiplied, kept to 15 decimals; empty as soon as one of them is."""
    when: Mapping[str, str] = Field(default_factory=dict)
    """Only in rows in which each of these columns has this value; ``*`` is any value, ``a|b`` either."""


class RecordRule(_Declared):
    """One record that a row makes (or, in a document's header, that a document makes)."""

    type: str
    id: str
    """With places, such as ``client/{client}``: the source's natural key."""
    run: bool = False
    """True when the source may change its mind: the id ends in ``@<run>``, so that each file's word has its rank."""
    time: str | None = None
    """The column of the record's time; none: when the file's word was given."""
    past: bool = False
    """True for what cannot lie ahead: a time of more than a day from now is a mistake."""
    when: Mapping[str, str] = Field(default_factory=dict)
    like: str | None = None
    """The type of a record before it whose ``data`` and ``merge`` it shares."""
    data: Mapping[str, str]
    """Field (dotted) -> column, derived value or ``@`` value."""
    merge: Mapping[str, str] = Field(default_factory=dict)
    """Field -> a column of JSON: what it holds is added to the field's other values. What both say is a mistake, but
    for what the row leaves to its default."""
    person: Mapping[str, tuple[str, str]] = Field(default_factory=dict)
    """Field -> the columns of a person's name and e-mail: the record holds the vault's ``person:<uuid>``."""
    note: Mapping[str, str] = Field(default_factory=dict)
    """Field -> the column of a free text: the record holds the name of its ciphertext in the vault."""


class Document(_Declared):
    """Rows that share ``key`` are the lines of one document, whose header is a record of its own. The first record of a
    row is the line.

    ``@version`` is the column ``version`` if there is one, else counted up whenever the document's content changes;
    ``@line`` is the column ``line``, else the row's place in the document; ``@lines`` and ``@digest`` count and digest
    the lines; ``@total`` sums the profile's amounts; ``@from`` and ``@to`` are the ends of its ``span``.
    """

    key: tuple[str, ...]
    version: str | None = None
    line: str | None = None
    span: tuple[str, str] | None = None
    """Start and end of a line, where the document's own period is that of its lines."""
    header: RecordRule


class Amount(_Declared):
    """The column whose exact sum the answer shows, by currency."""

    value: str
    currency: str


class Complete(_Declared):
    """What a complete file covers: from the earliest ``start`` to the latest ``end``."""

    start: str
    end: tuple[str, ...]
    """The first of these columns that is not empty."""
    whole_months: bool
    """True: widened to whole calendar months of the tenant."""


class Profile(_Declared):
    """One kind of table."""

    name: str = Field(pattern=r"^[a-z][a-z0-9-]{1,40}$")
    version: int = Field(ge=1)
    """Raised when the same file would become other records."""
    title: str
    about: str
    source: str
    """The source, unless the sender names another."""
    delimiter: str = Field(default=",", min_length=1, max_length=1)
    decimal_mark: Literal[".", ",", "either"] = "."
    """``either``: each figure by its own marks, as ``2.000,0`` and ``2,000.0``; one that can be read both ways is
    refused."""
    thousands_mark: Literal["", ",", ".", " ", "'"] = ""
    date_formats: tuple[str, ...] = ()
    time_formats: tuple[str, ...] = ()
    zone: str = "tenant"
    """Zone of dates and of times without an offset: ``tenant``, or an IANA name."""
    empty: tuple[str, ...] = ()
    """Texts that mean an empty cell."""
    columns: tuple[Column, ...] = Field(alias="column")
    derive: Mapping[str, Derived] = Field(default_factory=dict)
    identity: tuple[str, ...] = ()
    """For rows without a key: the columns that say *which* charge a row is (not how much). ``@key`` is their hash, and
    the occurrence of it in the file."""
    once: tuple[str, ...] = ()
    """Columns that two rows of a file share only if they say the same."""
    records: tuple[RecordRule, ...] = Field(alias="record")
    document: Document | None = None
    amount: Amount | None = None
    complete: Complete | None = None
    template: str
    """A small CSV that ingests without a reject."""

    @model_validator(mode="before")
    @classmethod
    def _likes_are_filled_in(cls, declared: dict[str, Any]) -> dict[str, Any]:
        rules = {rule["type"]: rule for rule in declared.get("record", ())}
        filled = [
            {**{key: rules[rule["like"]][key] for key in ("data", "merge") if key in rules[rule["like"]]}, **rule}
            if rule.get("like")
            else rule
            for rule in declared.get("record", ())
        ]
        return {**declared, "record": filled}

    @model_validator(mode="after")
    def _names_are_known(self) -> Self:
        known = {column.name for column in self.columns} | self.derive.keys() | ENGINE_VALUES
        if len(known) != len(self.columns) + len(self.derive) + len(ENGINE_VALUES):
            raise ValueError("a column or derived value is declared twice")
        for name in self._names():
            if name not in known:
                raise ValueError(f"{name!r} is neither a column nor a derived value")
        return self

    @model_validator(mode="after")
    def _headings_are_distinct(self) -> Self:
        owner: dict[str, str] = {}
        for column in self.columns:
            for name in (column.name, *column.aliases):
                if owner.setdefault(heading(name), column.name) != column.name:
                    raise ValueError(f"heading {name!r} means both {owner[heading(name)]!r} and {column.name!r}")
        return self

    @model_validator(mode="after")
    def _types_are_known(self) -> Self:
        for rule in self.rules():
            if rule.type not in CATALOGUE:
                raise ValueError(f"{rule.type!r} is no record type")
        return self

    def rules(self) -> tuple[RecordRule, ...]:
        """Every rule: those of a row, then the header's."""
        return (*self.records, self.document.header) if self.document else self.records

    @property
    def decides(self) -> bool:
        """True when its rows are decisions of the whole tenant, which no source's key may make."""
        return any(CATALOGUE[rule.type].kind is Kind.DECISION for rule in self.rules())

    def columns_behind(self, *names: str) -> frozenset[str]:
        """The columns that these columns, derived and ``@`` values are made of."""
        found: set[str] = set()
        for name in names:
            derived = self.derive.get(name)
            if derived is not None:
                found |= self.columns_behind(*_behind(derived))
            elif name == "@key":
                found |= self.columns_behind(*self.identity)
            elif not name.startswith("@"):
                found.add(name)
        return frozenset(found)

    def _names(self) -> list[str]:
        names: list[str] = [*self.identity, *self.once]
        for derived in self.derive.values():
            names += _behind(derived)
        for rule in self.rules():
            names += [*rule.data.values(), *rule.merge.values(), *places(rule.id), *rule.when, *rule.note.values()]
            names += [name for pair in rule.person.values() for name in pair]
            names += [rule.time] if rule.time else []
        if self.document:
            names += [*self.document.key, *filter(None, (self.document.version, self.document.line))]
            names += self.document.span or ()
        if self.amount:
            names += [self.amount.value, self.amount.currency]
        if self.complete:
            names += [self.complete.start, *self.complete.end]
        return names


def _behind(derived: Derived) -> list[str]:
    return [*derived.first, *places(derived.text or ""), *derived.times, *derived.when]


def places(text: str) -> list[str]:
    """The names in the braces of a text with places."""
    return re.findall(r"\{([^}:]+)(?::[^}]*)?\}", text)


class UnknownProfile(LookupError):
    """There is no profile by this name; the message lists those that there are."""


@lru_cache(maxsize=1)
def profiles() -> Mapping[str, Profile]:
    """Every profile, by name, as declared beside the code. A mistake in a declaration raises here, at start."""
    declared = {
        path.name.removesuffix(".toml"): tomllib.loads(path.read_text(encoding="utf-8"))
        for path in sorted(_FOLDER.iterdir(), key=lambda entry: entry.name)
        if path.name.endswith(".toml")
    }
    found = {}
    for name, said in declared.items():
        table = said.pop("table_of", None)
        shared = {key: declared[table][key] for key in _OF_THE_TABLE if key in declared[table]} if table else {}
        found[name] = Profile.model_validate(
            {**shared, **said, "derive": {**shared.get("derive", {}), **said.get("derive", {})}}
        )
        if found[name].name != name:
            raise ValueError(f"{name}.toml declares profile {found[name].name!r}")
    return found


def profile(name: str) -> Profile:
    """The profile by this name. Raises :class:`UnknownProfile`."""
    try:
        return profiles()[name]
    except KeyError:
        raise UnknownProfile(f"there is no profile {name!r}; there are {', '.join(profiles())}") from None


def template(name: str) -> str:
    """A small CSV to start from: a header and rows that ingest without a reject. Raises :class:`UnknownProfile`."""
    return profile(name).template


def heading(text: str) -> str:
    """A column's heading as it is compared: ``Client ID``, ``client_id`` and ``client-id`` are one."""
    return re.sub(r"[\s_\-]+", "", text).casefold()


class BadHeader(ValueError):
    """The first row does not name the columns that the profile needs; the file is refused whole."""

    def __init__(self, reason: str, fix: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.fix = fix


def match_header(declared: Profile, cells: Sequence[str]) -> dict[str, int]:
    """Column name -> its position in the file. Raises :class:`BadHeader`."""
    known = {heading(name): column.name for column in declared.columns for name in (column.name, *column.aliases)}
    at: dict[str, int] = {}
    for position, cell in enumerate(cells):
        name = known.get(heading(cell))
        if name is None:
            continue
        if name in at:
            raise BadHeader(
                f"columns {at[name] + 1} and {position + 1} both are {name}",
                "rename or remove one of the two columns",
            )
        at[name] = position
    missing = [column.name for column in declared.columns if column.required and column.name not in at]
    if missing:
        found = ", ".join(cell.strip() or "(empty)" for cell in cells[:60])
        raise BadHeader(
            f"profile {declared.name} needs the column{'s' * (len(missing) > 1)} {', '.join(missing)}; found: {found}",
            _separator_hint(declared, cells)
            or f"rename the columns in the first row, or start from `plumbline ingest template {declared.name}`",
        )
    return at


def _separator_hint(declared: Profile, cells: Sequence[str]) -> str | None:
    if len(cells) != 1:
        return None
    for mark, word in ((";", "semicolons"), ("\t", "tabs"), (",", "commas"), ("|", "bars")):
        if mark != declared.delimiter and mark in cells[0]:
            return f"the file is parted by {word}; save it as CSV with {declared.delimiter!r} between the cells"
    return None


def as_json(declared: Profile) -> dict[str, Any]:
    """A profile for the API: what a person needs in order to fill in a file."""
    return {
        "name": declared.name,
        "title": declared.title,
        "about": " ".join(declared.about.split()),
        "source": declared.source,
        "delimiter": declared.delimiter,
        "records": [rule.type for rule in declared.rules()],
        "complete": declared.complete is not None,
        "columns": [
            column.model_dump(include={"name", "aliases", "type", "required", "default", "choices", "private", "about"})
            for column in declared.columns
        ],
    }

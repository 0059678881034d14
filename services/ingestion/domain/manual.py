"""``docs/formats.md``, made from the profiles: ``python -m services.ingestion.domain.manual > docs/formats.md``."""

from __future__ import annotations

from services.ingestion.domain.profiles import Column, Profile, profiles

_HEAD = """\
# Formats

Made from `services/ingestion/profiles/*.toml` by `python -m services.ingestion.domain.manual > docs/formats.md`; a test
compares the two. To read another vendor's CSV, add a profile there: no code changes.

    plumbline ingest template NAME > mine.csv      # a file to start from
    plumbline ingest file mine.csv --profile NAME [--source VENDOR] [--complete]

## What holds for every file

- **CSV in UTF-8** (a byte order mark is fine), one header row, at most 64 MiB, 1,000 columns and 256 KiB a row.
- **Headings** may be written in any case and with spaces, `_` or `-`; the other names of a column are listed. Columns
  that a profile does not know are left alone, and the answer names them. If a needed column is missing, the file is
  refused whole and the answer lists the columns found.
- **A row that is wrong is quarantined** with its number (the header is row 1, as in a spreadsheet), its column, the
  reason and the fix; all others enter. Repair it there (`plumbline quarantine`), or mend the file and send it again.
- **The same file again stores nothing.** Each distinct content is a *run* with a number; what it says of something that
  an earlier run spoke of replaces it. `asserted_at` ranks files that arrive out of order: a later word outranks an
  earlier one, whichever comes first. Without it the time of the upload counts.
- **Decimals** are read exactly, up to 38 digits of which 18 are decimals, and never rounded. No thousands separators.
- **Dates** are `YYYY-MM-DD`; times may carry an offset (`2026-09-01T14:00:00Z`, `2026-09-01 16:00+02:00`). Without one
  they belong to the zone that the profile names. A local time that the clocks skip or pass twice is refused.
- **Types**: `hours` is a duration, as `1.25`, `1:15` or `1:15:00`; `list` is parted by `;`; `last day` is an inclusive
  end, as some vendors write it; `currency` is a code that ISO 4217 has; `rounding` is a mode and the decimals that
  stay, such as `half_up 2`; `json` is an object in JSON. `tiers`, `rates`, `works` and `shares` are told where they are
  used.
- **Figures beyond any sense are refused**: quantities over 10^18, amounts and prices over 10^15, a piece of work of
  more than 31 days.
- **Ends are exclusive**: September 2026 is `2026-09-01` to `2026-10-01`.
- **An empty cell is empty**, never zero.
- The file itself is kept whole, encrypted; each record names it and its row.
- `complete` says that the file holds everything of its months. It is withheld while a row of the file waits in
  quarantine, unless it is forced.
"""


def manual() -> str:
    """The whole page, in Markdown."""
    return "\n".join([_HEAD, *(_section(profile) for profile in profiles().values())])


def _section(profile: Profile) -> str:
    zone = "the tenant's" if profile.zone == "tenant" else f"`{profile.zone}`"
    empty = f" Also empty: {', '.join(f'`{word}`' for word in profile.empty)}." if profile.empty else ""
    complete = "; may be `complete`" if profile.complete else ""
    return "\n".join(
        [
            f"## `{profile.name}`: {profile.title}",
            "",
            profile.about.strip(),
            "",
            f"Records: {', '.join(f'`{name}`' for name in dict.fromkeys(rule.type for rule in profile.rules()))}. "
            f"Source: `{profile.source}` unless told{complete}. Zone of times without an offset: {zone}.{empty}",
            "",
            "| column | type | needed | meaning |",
            "|---|---|---|---|",
            *(_row(column) for column in profile.columns),
            "",
            "```csv",
            profile.template.strip(),
            "```",
            "",
        ]
    )


def _row(column: Column) -> str:
    about = column.about
    if column.choices:
        about += f" One of {', '.join(f'`{choice}`' for choice in column.choices)}."
    if column.aliases:
        about += f" Also: {', '.join(column.aliases)}."
    if column.private:
        about += " Goes to the vault."
    return f"| {column.name} | {column.type} | {'yes' if column.required else ''} | {about} |"


if __name__ == "__main__":
    print(manual(), end="")

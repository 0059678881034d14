"""Pins the example of each record type that has none yet: ``python -m tests.unit.events.pins``. A pin that is there is
never made anew: it says what the records of that shape in a log hash to, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from shared.events.catalogue import CATALOGUE, PARTITIONS
from shared.events.record import content_of
from shared.events.upcasters import upcast
from shared.kernel.identity import id_hash, partition_of

EXAMPLES = Path(__file__).parent / "v1"
PINS = EXAMPLES / "pins.json"


def pin(body: bytes) -> dict[str, Any]:
    """The hashes and the partition of one stored record."""
    fields = upcast(orjson.loads(body))
    row = CATALOGUE[fields["type"]]
    data = row.model.model_validate(fields["data"])
    key = fields["stream"] if row.key is None else row.key(fields["source"], data)
    return {
        "content_hash": str(content_of(body)),
        "id_hash": str(id_hash(fields["tenant"], fields["source"], fields["id"])),
        "partition": partition_of(fields["tenant"], key, PARTITIONS),
    }


def main() -> None:
    """Add the missing pins to ``v1/pins.json``."""
    pins = orjson.loads(PINS.read_bytes())
    for path in sorted(EXAMPLES.glob("*.json")):
        if path != PINS and path.stem not in pins:
            pins[path.stem] = pin(path.read_bytes().removesuffix(b"\n"))
            print(f"pinned {path.stem}")
    PINS.write_bytes(orjson.dumps(pins, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()

"""``plumbline rate``: one document in, lines with their arithmetic out; what is wrong is named with its path."""

from __future__ import annotations

import io
import json
import random
import subprocess
import sys
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from services.cli import main as front
from services.cli.rate import MAX_BYTES, MAX_DEPTH, WrongDocument, _answer

ROOT = Path(__file__).parents[3]
EXAMPLES = ROOT / "docs" / "examples" / "rate"
SCHEMA = json.loads((ROOT / "docs" / "schemas" / "rate.json").read_text())
DOCUMENT = jsonschema.Draft202012Validator(SCHEMA)
ANSWER = jsonschema.Draft202012Validator({**SCHEMA, "$ref": "#/$defs/RatingAnswer"})

# Each total is worked out by hand in docs/examples/rate/README.md.
TOTALS = {
    "block-tiers": "25.50",
    "cost-plus": "154.31",
    "flat-part-of-a-month": "75.00",
    "late-time": "350.00",
    "late-usage": "9.75",
    "late-usage-on-its-own-statement": "9.75",
    "minimum-with-discount": "300.00",
    "package": "12.00",
    "percentage": "7.55",
    "prepaid-hours": "420.00",
    "price-rise": "13.90",
    "prorated-seats": "51.67",
    "seats-in-tiers": "54.60",
    "tiers": "102.50",
    "time-and-materials": "445.00",
    "volume-tiers": "72.50",
}


class Ran:
    """A run of the command: its exit status and what it said."""

    def __init__(self, status: int, out: str, err: str) -> None:
        self.status, self.out, self.err = status, out, err

    @property
    def answer(self) -> dict[str, Any]:
        assert self.status == 0, self.err
        return dict(json.loads(self.out))

    @property
    def faults(self) -> dict[str, str]:
        """Field -> what is said of it."""
        assert (self.status, self.out) == (2, ""), self.out
        assert "Traceback" not in self.err
        said = self.err.splitlines()
        assert said[0].startswith("error: the document cannot be rated (")
        return dict(line.strip().split(": ", 1) for line in said[1:])


@pytest.fixture
def rate(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    """Runs the command; a dict or bytes goes to its standard input."""

    def run(document: Any, *options: str) -> Ran:
        if isinstance(document, dict):
            document = json.dumps(document).encode()
        name = str(document)
        if isinstance(document, bytes):
            monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(document)))
            name = "-"
        monkeypatch.setattr(sys, "argv", ["plumbline", "rate", *options, *([name] if document is not None else [])])
        with pytest.raises(SystemExit) as caught:
            front.main()
        said = capsys.readouterr()
        return Ran(int(caught.value.code or 0), said.out, said.err)

    return run


def example(name: str) -> dict[str, Any]:
    return dict(json.loads((EXAMPLES / f"{name}.json").read_text()))


def test_every_example_has_an_expected_total() -> None:
    assert sorted(path.stem for path in EXAMPLES.glob("*.json")) == sorted(TOTALS)


@pytest.mark.parametrize("name", sorted(TOTALS))
def test_an_example_comes_to_its_total(rate: Any, name: str) -> None:
    DOCUMENT.validate(example(name))
    answer = rate(EXAMPLES / f"{name}.json").answer
    assert Decimal(answer["total"]) == Decimal(TOTALS[name])
    assert sum(Decimal(line["total"]) for line in answer["lines"]) == Decimal(answer["total"])
    for line in answer["lines"]:
        amount, discounts, charges, total = (
            Decimal(line[name]) for name in ("amount", "discounts", "charges", "total")
        )
        assert total == amount - discounts + charges
        assert line["steps"]
    assert f"`{name}.json`" in (EXAMPLES / "README.md").read_text()


@pytest.mark.parametrize("name", sorted(TOTALS))
def test_the_answer_has_the_shape_that_is_documented(rate: Any, name: str) -> None:
    ANSWER.validate(rate(EXAMPLES / f"{name}.json").answer)


@pytest.mark.parametrize("name", sorted(TOTALS))
def test_the_order_of_what_was_measured_does_not_matter(rate: Any, name: str) -> None:
    document = example(name)
    for items in (*document.get("measured", {}).values(), document.get("billed", [])):
        if isinstance(items, list):
            random.Random(7).shuffle(items)
    assert rate(document).out == rate(EXAMPLES / f"{name}.json").out


@pytest.mark.parametrize("name", sorted(name for name in TOTALS if not name.startswith("late-")))
def test_what_was_billed_is_not_billed_again(rate: Any, name: str) -> None:
    lines = rate(EXAMPLES / f"{name}.json").answer["lines"]
    again = rate({**example(name), "billed": lines}).answer
    assert (again["lines"], again["total"]) == ([], "0")


def test_booked_as_it_was_each_line_corrects_its_statement(rate: Any) -> None:
    lines = rate(EXAMPLES / "late-usage-on-its-own-statement.json").answer["lines"]
    assert [(line["corrects"], line["component"], line["quantity"], line["total"]) for line in lines] == [
        ("A", "tier 1.usage", "2", "8"),
        ("A", "tier 2.usage", "1", "3.25"),
        ("B", "tier 1.usage", "-2", "-8"),
        ("B", "tier 2.usage", "2", "6.5"),
    ]


def test_explained_it_is_a_table_with_the_arithmetic_of_every_line(rate: Any) -> None:
    ran = rate(EXAMPLES / "minimum-with-discount.json", "--explain")
    assert ran.out.splitlines() == [
        "2026-06-01 to 2026-07-01, of the period 2026-06-01 to 2026-07-01",
        "COMPONENT  QUANTITY  UNIT PRICE  AMOUNT  DISCOUNTS  CHARGES   TOTAL",
        "usage            60        0.50   30.00     -23.00             7.00",
        "    used: sum of 1 record = 300",
        "    billable: 300 - 200 included - 40 free = 60",
        "    usage: 60 x 0.50 = 30.00  (half_up 2)",
        "    discount: 30.00 x 10 % = 3.00  (half_up 2)",
        "    discount: 20.00 off  (half_up 2)",
        "minimum           0                0.00              293.00  293.00",
        "    minimum: 300.00 - 7.00 = 293.00  (half_up 2)",
        "total 300.00 EUR",
    ]


def test_explained_hours_tell_what_became_of_each_entry(rate: Any) -> None:
    said = rate(EXAMPLES / "late-time.json", "--explain").out
    assert "    less billed: 770.00 due - 420.00 billed = 350.00" in said
    assert "entry T-2 rated, 0.00: 1.5 h from block A; 7.5 h from block B" in said
    assert "block B: 20 h, 20 drawn, 0 left" in said


def test_with_a_tax_rate_the_tax_is_told(rate: Any) -> None:
    answer = rate(EXAMPLES / "flat-part-of-a-month.json").answer
    assert answer["tax"] == {"rate_pct": "19", "base": "75", "tax": "14.25", "total": "89.25"}
    assert (
        "tax 19 % of 75.00 = 14.25; with tax 89.25 EUR" in rate(EXAMPLES / "flat-part-of-a-month.json", "--explain").out
    )


def test_for_programs_it_answers_as_every_command(rate: Any) -> None:
    ran = rate(EXAMPLES / "package.json", "--json", "--explain")
    assert json.loads(ran.out)["data"]["total"] == "12"


def test_the_schema_is_the_one_that_is_kept(rate: Any) -> None:
    ran = rate(None, "--schema")
    assert ran.out == (ROOT / "docs" / "schemas" / "rate.json").read_text(), "run `make schemas`"
    jsonschema.Draft202012Validator.check_schema(SCHEMA)


def test_it_asks_for_a_document(rate: Any) -> None:
    ran = rate(None)
    assert (ran.status, ran.err.splitlines()[0]) == (2, "error: which document?")


BASE: dict[str, Any] = {
    "terms": {"price": {"kind": "unit", "unit_amount": "4.20"}},
    "currency": "EUR",
    "period": {"from": "2026-06-01", "to": "2026-07-01"},
    "measured": {"counter": [{"quantity": "10"}]},
}


def changed(**fields: Any) -> dict[str, Any]:
    return {name: value for name, value in {**BASE, **fields}.items() if value is not None}


def price(**fields: Any) -> dict[str, Any]:
    return {"price": {**BASE["terms"]["price"], **fields}}


@pytest.mark.parametrize(
    ("document", "field", "said"),
    [
        (changed(currency=None), "currency", "is missing. Add it. Currency of every amount."),
        (changed(currency="eur"), "currency", 'is not a currency. Send an ISO 4217 code, such as "EUR".'),
        (changed(currency="XXX"), "currency", "XXX is no currency of ISO 4217"),
        (changed(terms=price(unit_amount="4,20")), "terms.price.unit_amount", "is not a decimal. Send digits"),
        (changed(terms=price(unit_amount="-1")), "terms.price.unit_amount", "is below 0. Send 0 or more."),
        (changed(terms=price(kind="units")), "terms.price.kind", "is not one of the allowed values. Send one of flat,"),
        (changed(terms={"price": {}}), "terms.price.kind", "is missing. Send one of flat, unit, graduated,"),
        (
            changed(terms=price(unit_amuont="1")),
            "terms.price.unit_amuont",
            "is not known here. Did you mean unit_amount?",
        ),
        (changed(terms=[]), "terms", "is empty. Send at least one, or leave it out."),
        (changed(terms="unit"), "terms", "is not an object"),
        (changed(parts={}), "parts", "is not known here. Did you mean part?"),
        (changed(period={"from": "2026-07-01", "to": "2026-06-01"}), "period.to", "does not lie after from."),
        (changed(period=None), "part", "is missing. Add the dates that are billed"),
        (changed(part={"from": "2026-05-01", "to": "2026-06-15"}), "part", "reaches beyond period."),
        (changed(period=None, part={"from": "2026-06-01", "to": "2026-08-01"}), "part", "is no part of one billing"),
        (changed(service={"start": "2026-07-01"}), "period", "lies outside the service."),
        (changed(terms={**price(), "trial_end": "2026-07-01"}), "period", "lies outside the service."),
        (
            changed(
                terms=[
                    {**price(), "effective_from": "2026-01-01", "effective_to": "2026-06-11"},
                    {**price(), "effective_from": "2026-06-21"},
                ]
            ),
            "part",
            "holds days without terms, from 2026-06-11 to 2026-06-21.",
        ),
        (
            changed(measured={"counter": [{"id": "a", "quantity": "1"}, {"id": "a", "quantity": "2"}]}),
            "measured.counter.1.id",
            "stands on another record too, which says otherwise: a. Send the one that holds",
        ),
        (
            changed(measured={"gauge": [{"at": "2026-06-05", "quantity": "1", "until": "2026-06-04"}]}),
            "measured.gauge.0.until",
            "does not lie after at.",
        ),
        (
            changed(
                terms={"price": {"kind": "flat", "amount": "9"}},
                measured={"entries": [{"id": "T", "worked_on": "2026-06-01", "hours": "1"}]},
            ),
            "measured.entries",
            "are hours, and the terms have a flat price and no labour.",
        ),
        (changed(service={"start": "2026-06-01", "end": "2026-05-01"}), "service.end", "does not lie after"),
        (changed(measured={}), "measured", "names no measure. Send one of gauge, counter,"),
        (changed(measured={"counter": [], "gauge": []}), "measured", "names gauge and counter."),
        (
            changed(measured={"counter": [{"at": "2026-06-31", "quantity": "1"}]}),
            "measured.counter.0.at",
            "is not a date",
        ),
        (
            changed(measured={"counter": [{"at": "2026-06-01T10:00:00", "quantity": "1"}]}),
            "measured.counter.0.at",
            "has no offset from UTC.",
        ),
        (
            changed(measured={"entries": [{"id": "T", "worked_on": "2026-06-01"}]}),
            "measured.entries.0",
            "has no duration",
        ),
        (changed(time_zone="Berlin"), "time_zone", "is not an IANA time zone"),
        (
            changed(billed=[{"component": "usage", "amount": "10", "total": "9"}]),
            "billed.0.total",
            "is not amount - discounts + charges, which is 10.",
        ),
        (
            changed(
                terms=[{**price(), "effective_from": f"2026-0{n}-01", "effective_to": "2026-08-01"} for n in (6, 7)]
            ),
            "terms.1.effective_from",
            "lies in the version that begins on 2026-06-01.",
        ),
        (
            changed(
                terms={"price": {"kind": "graduated", "tiers": [{"up_to": "8"}, {"up_to": "5"}]}},
            ),
            "terms.price.tiers.1.up_to",
            "tier 2 ends at 5",
        ),
        (
            changed(measured={"counter": [{"quantity": "1" * 80}]}),
            "measured.counter.0.quantity",
            "has too many digits.",
        ),
    ],
)
def test_a_field_that_is_wrong_is_named_with_the_reason_and_the_fix(
    rate: Any, document: dict[str, Any], field: str, said: str
) -> None:
    faults = rate(document).faults
    assert list(faults) == [field]
    assert faults[field].startswith(said)


def test_every_wrong_field_is_told(rate: Any) -> None:
    document = changed(currency="e", terms={"price": {"kind": "graduated", "tiers": [{"upto": "1"}]}, "billing": "x"})
    assert list(rate(document).faults) == ["currency", "terms.billing", "terms.price.tiers.0.upto"]
    told = json.loads(rate(document, "--json").err)
    assert [fault["field"] for fault in told["faults"]] == ["currency", "terms.billing", "terms.price.tiers.0.upto"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"currency": "\\ud800"}', "holds text that is not Unicode."),
        (b"{", "is not JSON: Expecting property name enclosed in double quotes, line 1 column 2."),
        (b"", "is not JSON: Expecting value, line 1 column 1."),
        (b"[]", "is not an object."),
        (b"\xff", "is not UTF-8 at byte 0."),
        (b'{"currency": NaN}', "holds NaN, which is no figure."),
        (b'{"a": {"b": 1, "b": 2}}', 'names "b" twice in one object.'),
        (b'{"a":' * (MAX_DEPTH + 1) + b"1" + b"}" * (MAX_DEPTH + 1), "is nested deeper than 32 levels."),
        (b'{"a":' * 200_000, "is nested deeper than 32 levels."),
    ],
)
def test_what_is_no_document_is_told_without_a_traceback(rate: Any, body: bytes, said: str) -> None:
    assert rate(body).faults["document"].startswith(said)


def places(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    if path:
        yield path
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in inside:
        yield from places(inner, (*path, key))


ODD = (None, True, -1, "", "x", [], {}, [[]], "1e30", "-5", "2026-06-31", "\ud800", "99999999999999999999", "week")


@pytest.mark.parametrize("name", sorted(TOTALS))
def test_whatever_stands_in_a_field_a_document_is_rated_or_refused_in_words(name: str) -> None:
    for path in places(example(name)):
        for odd in ODD:
            document: Any = example(name)
            holder = document
            for key in path[:-1]:
                holder = holder[key]
            holder[path[-1]] = odd
            try:
                _answer(json.dumps(document).encode(), name)
            except WrongDocument as refused:
                for wrong in refused.wrong:
                    assert "validation error" not in wrong.reason, (path, odd)
                    assert wrong.fix, (path, odd)


def test_a_document_is_at_most_8_mib(rate: Any) -> None:
    ran = rate(b" " * (MAX_BYTES + 1))
    assert ran.status == 2
    assert "over 8,388,608 bytes" in ran.err


def test_a_file_that_is_not_there_is_named(rate: Any, tmp_path: Path) -> None:
    ran = rate(tmp_path / "none.json")
    assert (ran.status, ran.err.splitlines()) == (
        2,
        ["error: No such file or directory", f"  where: {tmp_path / 'none.json'}"],
    )


@pytest.mark.parametrize(
    "document",
    [
        changed(measured="10", period="2026-06"),
        changed(measured={"amounts": [{"value": 10.0, "from": "2026-06-02"}]}),
        changed(terms={**price(), "rounding": {"line": "half_up 2"}, "period": "monthly", "refund": ["unused"]}),
        changed(terms={**price(), "rounding": {"line": ["half_up", 2]}, "day": 1}),
        changed(terms={**price(), "rounding": {"line": 2}}, tz="UTC"),
        changed(terms={"price": {"kind": "graduated", "tiers": [{"unit": "4.2"}]}}),
        changed(terms=[{**price(), "from": "2026-01-01"}]),
        changed(period={"unit": "month", "day": 1}, part="2026-06"),
        changed(period=None, part={"from": "2026-06-01", "to": "2026-07-01"}),
    ],
)
def test_spellings_of_the_field_are_understood(rate: Any, document: dict[str, Any]) -> None:
    assert rate(document).answer["total"] == "42"


def test_a_json_number_is_never_a_binary_float(rate: Any) -> None:
    body = json.dumps(changed()).replace('"4.20"', "4.005000000000000001").encode()
    assert rate(body).answer["lines"][0]["unit_price"] == "4.005000000000000001"


def test_the_part_is_that_of_the_service(rate: Any) -> None:
    document = changed(
        terms={"price": {"kind": "flat", "amount": "155"}, "last_day_billed": True},
        service={"start": "2026-05-09", "end": "2026-05-24"},
        period="2026-05",
        measured=None,
    )
    answer = rate(document).answer
    assert (answer["part"], answer["total"]) == ({"from": "2026-05-09", "to": "2026-05-25"}, "80")
    by_calendar = changed(
        terms={"price": {"kind": "flat", "amount": "155"}},
        service={"start": "2026-05-09"},
        period=None,
        part={"from": "2026-05-09", "to": "2026-06-01"},
        measured=None,
    )
    answer = rate(by_calendar).answer
    assert (answer["period"]["from"], answer["total"], answer["final"]) == ("2026-05-01", "115", True)


def test_a_trial_is_no_part_of_the_period_that_is_charged(rate: Any) -> None:
    document = changed(terms={"price": {"kind": "flat", "amount": "30"}, "trial_end": "2026-06-11"}, measured=None)
    answer = rate(document).answer
    assert (answer["part"]["from"], answer["total"]) == ("2026-06-11", "20")


def test_what_occurred_in_another_part_is_not_billed(rate: Any) -> None:
    instants = ("2026-05-31T21:59:59Z", "2026-05-31T22:00:00Z", "2026-06-30T21:59:59Z", "2026-06-30T22:00:00Z")
    amounts = [{"at": at, "quantity": str(10**n)} for n, at in enumerate(instants)]
    document = changed(terms=price(unit_amount="1"), time_zone="Europe/Berlin", measured={"counter": amounts})
    answer = rate(document).answer
    assert (answer["total"], answer["outside"]) == ("110", 2)
    assert "2 measured outside this part, not billed here" in rate(document, "--explain").out


def test_a_repeated_record_adds_nothing(rate: Any) -> None:
    amounts = [{"id": "a", "quantity": "5"}, {"quantity": "1"}, {"quantity": "1"}, {"id": "a", "quantity": "5"}]
    assert rate(changed(terms=price(unit_amount="1"), measured={"counter": amounts})).answer["total"] == "7"


def test_an_interim_part_is_not_final(rate: Any) -> None:
    document = changed(
        terms={**price(), "minimum_amount": "100"}, period=None, part={"from": "2026-06-01", "to": "2026-06-16"}
    )
    assert [(rate({**document, **end}).answer["total"]) for end in ({}, {"final": True})] == ["42", "50"]


def test_what_does_not_fit_the_terms_is_told(rate: Any) -> None:
    document = changed(
        terms={**price(), "convert": {"from_unit": "GiB", "to_unit": "TiB", "divide": "1024"}},
        measured={"unit": "GB", "counter": [{"quantity": "1"}]},
    )
    assert "GB" in rate(document).faults["document"]


def test_no_other_command_waits_for_the_engine() -> None:
    code = (
        "import sys, services.cli.rate\n"
        "assert not [name for name in sys.modules if name.startswith('shared.reconciliation')]"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
